"""Reading frozen dataclass configs from plain dicts: unknown keys raise, nested configs nest."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, TypeVar

from .errors import UserError, unknown

C = TypeVar("C")


def from_dict(cls: type[C], values: dict[str, Any]) -> C:
    """Build the dataclass `cls` from `values` (as read from JSON or TOML).

    Lists become tuples, nested dicts become nested dataclasses. The dataclass's own `__post_init__`
    checks the values; this function checks the keys.

    Raises:
        UserError: a key that `cls` does not have (with the nearest names), or a value of the wrong shape.
    """
    if not isinstance(values, dict):
        raise UserError(f"{cls.__name__} needs a table of settings, got {values!r}")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in fields:
            raise unknown(f"{cls.__name__} setting", key, fields)
    return cls(**{key: _coerce(hints[key], value) for key, value in values.items()})


def _coerce(hint: Any, value: Any) -> Any:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        if value is None:
            return None
        hint = next(h for h in typing.get_args(hint) if h is not type(None))
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return from_dict(hint, value)  # type: ignore[arg-type]
    return tuple(value) if isinstance(value, list) else value


def to_dict(config: Any) -> dict[str, Any]:
    """The inverse of `from_dict`: nested plain dicts, ready for JSON."""
    return dataclasses.asdict(config)
