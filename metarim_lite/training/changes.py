"""What a run changes of its method's time scales: what it names, and nothing else."""

from __future__ import annotations

import dataclasses
from typing import Any, get_type_hints

from ..config import check, from_dict
from ..errors import UserError
from .timescales import TimeScales

_NAMES = tuple(f.name for f in dataclasses.fields(TimeScales))


def _over(self: Any, scales: TimeScales) -> TimeScales:
    """These changes laid over `scales`.

    Raises:
        UserError: the two together make no time scales.
    """
    return dataclasses.replace(scales, **{n: v for n in _NAMES if (v := getattr(self, n)) is not None})


_KINDS = get_type_hints(TimeScales)
# Every field of TimeScales once more, or None: the method's own. It inherits for the fields' documentation alone.
ScaleChanges = dataclasses.make_dataclass(
    "ScaleChanges",
    [(name, _KINDS[name] | None, None) for name in _NAMES],
    bases=(TimeScales,),
    frozen=True,
    namespace={"__doc__": "Changes to a method's time scales.", "__post_init__": check, "over": _over},
)
ScaleChanges.__module__ = __name__


def changes_from(given: Any) -> ScaleChanges:
    """Changes from whatever says them: `ScaleChanges`, a dict of fields, None, or `TimeScales`, of which the
    fields that differ from `TimeScales()` count.

    Raises:
        UserError: an unknown field, or something else.
    """
    if isinstance(given, ScaleChanges):
        return given
    if isinstance(given, TimeScales):
        usual = TimeScales()
        given = {n: v for n in _NAMES if (v := getattr(given, n)) != getattr(usual, n)}
    if not isinstance(given, dict | None):
        raise UserError(f"timescales is {given!r}; give a dict of the fields to change, such as dict(fast_lr=1e-3)")
    return from_dict(ScaleChanges, given or {})
