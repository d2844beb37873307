"""Frozen dataclass configs from plain dicts and TOML, and back: unknown keys raise, nested configs nest."""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
import types
import typing
from pathlib import Path
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
    return cls(**{key: _coerce(f"{cls.__name__}.{key}", hints[key], value) for key, value in values.items()})


PLAIN = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def _coerce(name: str, hint: Any, value: Any) -> Any:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        if value is None:
            return None
        hint = next(h for h in typing.get_args(hint) if h is not type(None))
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, {} if value is None else value)  # type: ignore[arg-type]
    if hint in PLAIN:
        _check_plain(name, hint, value)
        return hint(value)
    if typing.get_origin(hint) is tuple and not isinstance(value, (list, tuple)):
        raise UserError(f"{name} is {value!r}; it must be a list")
    return _tuples(value)


def _check_plain(name: str, hint: Any, value: Any) -> None:
    fits = isinstance(value, (int, float) if hint is float else hint)
    if not fits or (isinstance(value, bool) and hint is not bool) or (hint is float and not math.isfinite(value)):
        raise UserError(f"{name} is {value!r}; it must be {PLAIN[hint]}")


def check_kinds(config: Any) -> None:
    """Raises UserError unless each plain or nested field of a dataclass is of its annotation's kind, and finite."""
    for name, hint in typing.get_type_hints(type(config)).items():
        named, value = f"{type(config).__name__}.{name}", getattr(config, name)
        if isinstance(hint, types.UnionType):
            if value is None:
                continue
            hint = next(h for h in typing.get_args(hint) if h is not type(None))
        if hint in PLAIN:
            _check_plain(named, hint, value)
        elif dataclasses.is_dataclass(hint) and not isinstance(value, hint):
            raise UserError(f"{named} is {value!r}; it must be a {hint.__name__}")


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(part) for key, part in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value


def overlay(config: C, values: dict[str, Any]) -> C:
    """`config` with `values` in place of its own, table by table.

    Raises:
        UserError: as `from_dict`.
    """

    def over(base: Any, new: Any) -> Any:
        both = isinstance(base, dict) and isinstance(new, dict)
        return {**base, **{key: over(base.get(key), value) for key, value in new.items()}} if both else new

    return from_dict(type(config), over(to_dict(config), values))


def read_toml(path: str | Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        UserError: it cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text())
    except OSError as error:
        raise UserError(f"cannot read the config {str(path)!r} ({error.strerror}); name a TOML file") from None
    except ValueError as error:
        raise UserError(
            f"the config {str(path)!r} is not TOML ({error}); write it as config.toml of a run is"
        ) from None


def to_toml(config: Any) -> str:
    """A config as TOML, which `read_toml` and `from_dict` turn back into it. None is left out: TOML has none."""
    return _table(to_dict(config), "").lstrip()


def _table(values: dict[str, Any], name: str) -> str:
    lines = [f"{k} = {_toml(v)}\n" for k, v in values.items() if v is not None and not isinstance(v, dict)]
    tables = [_table(v, f"{name}.{k}" if name else k) for k, v in values.items() if isinstance(v, dict)]
    return (f"\n[{name}]\n" if name else "") + "".join(lines + tables)


def _toml(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def to_dict(config: Any) -> dict[str, Any]:
    """The inverse of `from_dict`: nested plain dicts, ready for JSON."""
    return dataclasses.asdict(config)
