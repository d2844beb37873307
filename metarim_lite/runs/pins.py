"""config.json of a run: its settings, and what they leave unsaid, so that the file alone tells what was run.

    pinned      what the names in the settings stood for: the method's time scales, controller, …
    versions    of the packages that began the run, then of those that went on with it, where they are others

A config that has names to spell out has a method `pinned()`, which gives a nested dict. Where it spells out a table of
the settings, such as `timescales`, which only names what is changed, the pinned values are what counts.
"""

from __future__ import annotations

import json
import logging
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from ..config import from_dict, to_dict
from ..errors import UserError
from ..files import read_file, write_json

log = logging.getLogger(__name__)
C = TypeVar("C")
PACKAGES = ("metarim-lite", "torch", "minigrid")
BESIDES = ("pinned", "versions")


def pinned(config: Any) -> dict[str, Any]:
    """What the names in a config stand for now; {} where they say all."""
    return config.pinned() if hasattr(config, "pinned") else {}


def read_config(cls: type[C], path: Path) -> tuple[C, dict[str, Any]]:
    """The settings in a config.json, and what it says besides; {} for one of an older version.

    Raises:
        UserError: it is something else.
    """
    try:
        values = dict(json.loads(read_file(path)))
        besides = {key: values.pop(key) for key in BESIDES if key in values}
        config = from_dict(cls, values)
        over(to_dict(config), besides.get("pinned", {}))
        [dict(made_by) for made_by in besides.get("versions", [])]
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{str(path)!r} is not the config of such a run ({error}); choose another folder") from None
    return config, besides


def write_settings(path: Path, config: Any) -> None:
    """Write a config.json, over that of the same run if it is there. Other versions than before are told and noted."""
    made_by = read_config(type(config), path)[1].get("versions", []) if path.exists() else []
    here = {package: version(package) for package in PACKAGES}
    if made_by and made_by[-1] != here:
        others = [f"{p} {made_by[-1].get(p)}, now {v}" for p, v in here.items() if made_by[-1].get(p) != v]
        log.warning("the run in %s was made by %s: what follows may differ", path.parent, "; ".join(others))
    if not made_by or made_by[-1] != here:
        made_by = [*made_by, here]
    values = {**to_dict(config), "pinned": pinned(config), "versions": made_by}
    write_json(path, values)


def compared(config: Any, besides: dict[str, Any] | None = None) -> dict[str, str]:
    """All that decides a run, by dotted name, each as JSON: its settings, with what is pinned in their place. What was
    not pinned, by an older version, is what the names stand for now.
    """
    pins = over(pinned(config), (besides or {}).get("pinned", {}))
    return flat(over(to_dict(config), pins))


def check_redefined(folder: Path, config: Any, theirs: Any, besides: dict[str, Any]) -> None:
    """A run that goes on must be the run that was begun. What a name stands for may have changed since, with a newer
    version or because somebody redefined it. To go on with either meaning without a word would be wrong for one of the
    two, so it is refused, and the sentence says which settings, spelled out, make it the run that was begun.

    Raises:
        UserError: a name of these settings stands for something else than when the run began.
    """
    now, then = flat(pinned(config)), flat(besides.get("pinned", {}))
    mine, kept = flat(to_dict(config)), flat(to_dict(theirs))
    if not _named_alike(mine, kept):
        return
    changed = [key for key in now if now[key] != then.get(key, now[key]) and mine.get(key) == kept.get(key)]
    if not changed:
        return
    how = "define it as it was"
    if all(key in mine and then[key] != "null" for key in changed):
        how = "set " + " and ".join(f"{key} = {then[key]}" for key in changed) + " to go on with it as it began"
    differences = " and ".join(f"its {key} was {then[key]} when the run began, is {now[key]} now" for key in changed)
    raise UserError(
        f"the method of the run in {str(folder)!r} was redefined: {differences}; {how}, or choose another folder"
    )


def _named_alike(mine: dict[str, str], kept: dict[str, str]) -> bool:
    """Whether both configs name the same method: another method is another run, not a redefined one."""
    return all(mine[key] == kept.get(key) for key in mine if key.split(".")[-1] == "method")


def over(values: dict[str, Any], pins: dict[str, Any]) -> dict[str, Any]:
    """`values` with `pins` in place of their own, table by table."""
    both = {k for k, v in pins.items() if isinstance(v, dict) and isinstance(values.get(k), dict)}
    return values | {k: over(values[k], v) if k in both else v for k, v in pins.items()}


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings by dotted name, each as JSON."""
    found: dict[str, str] = {}
    for key, value in settings.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: json.dumps(value)}
    return found
