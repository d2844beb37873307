"""Frozen dataclass configs: fields that declare their bounds; from plain dicts and TOML, and back.

    @dataclass(frozen=True)
    class PPOConfig:
        epochs: int = bounded(2, at_least=1)
        clip: float = bounded(0.2, above=0)

        def __post_init__(self) -> None:
            check(self)

Unknown keys raise, nested configs nest. Numpy's numbers are accepted, and kept as Python's own: JSON has no others.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tomllib
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from .errors import UserError, unknown
from .files import user_path

C = TypeVar("C")


def from_dict(cls: type[C], values: dict[str, Any]) -> C:
    """Build the dataclass `cls` from `values` (as read from JSON or TOML).

    Lists become tuples, nested dicts become nested dataclasses. The dataclass's own `__post_init__`
    checks the values; this function checks the keys. Settings of older versions, which `cls.REMOVED` names, are
    passed over.

    Raises:
        UserError: a key that `cls` does not have (with the nearest names), or a value of the wrong shape.
    """
    if not isinstance(values, dict):
        raise UserError(f"{cls.__name__} needs a table of settings, got {values!r}")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in fields and key not in getattr(cls, "REMOVED", ()):
            raise unknown(f"{cls.__name__} setting", key, fields)
    values = {key: value for key, value in values.items() if key in fields}
    return cls(**{key: _coerce(f"{cls.__name__}.{key}", hints[key], value) for key, value in values.items()})


KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def _coerce(name: str, hint: Any, value: Any) -> Any:
    hint, optional = _without_none(hint)
    if optional and value is None:
        return None
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, {} if value is None else value)  # type: ignore[arg-type]
    if hint in KINDS:
        return _of_kind(name, hint, value)
    if typing.get_origin(hint) is tuple and not isinstance(value, (list, tuple)):
        raise UserError(f"{name} is {value!r}; it must be a list")
    return _tuples(value)


def _without_none(hint: Any) -> tuple[Any, bool]:
    """`int | None` as (int, True); any other hint as (itself, False)."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return next(h for h in typing.get_args(hint) if h is not type(None)), True
    return hint, False


def _of_kind(name: str, kind: type, value: Any, must: str = "") -> Any:
    """`value` as an int, float, str or bool of Python's own; `must` says what it must be, if not just of that kind."""
    value = _python(value)
    fits = isinstance(value, (int, float) if kind is float else kind)
    if not fits or (isinstance(value, bool) and kind is not bool) or (kind is float and not _is_finite(value)):
        raise UserError(f"{name} is {value!r}; it must {must or 'be ' + KINDS[kind]}")
    return kind(value)


def _is_finite(number: float) -> bool:
    return abs(number) <= sys.float_info.max  # math.isfinite fails for a whole number that is larger than any float


def _python(value: Any) -> Any:
    """Numpy's numbers and tensors of one number, also inside tuples, as Python's own."""
    if isinstance(value, tuple) and type(value) is tuple:
        return tuple(map(_python, value))
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


@dataclass(frozen=True)
class Bounds:
    """What a field may hold. Of a tuple of numbers, each; of a tuple of pairs, the second of each."""

    at_least: float | None = None
    above: float | None = None
    below: float | None = None
    at_most: float | None = None
    one_of: tuple[str, ...] = ()
    zero: str = ""
    """What 0 stands for, if it is no amount."""

    def admit(self, value: Any) -> bool:
        return (
            (not self.one_of or value in self.one_of)
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
            and (self.at_most is None or value <= self.at_most)
        )

    def in_words(self, kind: type) -> str:
        """As in "it must be a whole number of at least 1"."""
        low = self.above if self.at_least is None else self.at_least
        high = self.below if self.at_most is None else self.at_most
        if self.zero:
            return f"be 0, for {self.zero}, or more"
        if kind is int and high is None:
            return f"be a whole number of at least {_limit(low)}"
        if kind is int:
            return f"be a whole number from {_limit(low)} to {_limit(high)}"
        if high is None:
            return f"be greater than {_limit(low)}" if self.at_least is None else f"be {_limit(low)} or more"
        if self.above is not None and self.at_most is not None:
            return f"be greater than {_limit(low)} and at most {_limit(high)}"
        return f"lie between {_limit(low)} and {_limit(high)}"


def _limit(x: Any) -> str:
    return f"2^{x.bit_length()} - 1" if isinstance(x, int) and x > 2**31 and (x & (x + 1)) == 0 else f"{x:g}"


def bounded(default: Any, **bounds: Any) -> Any:
    """A field of a config with a default and `Bounds`, which `check` looks at."""
    return dataclasses.field(default=default, metadata={"bounds": Bounds(**bounds)})


def check(config: Any) -> None:
    """What a config's `__post_init__` calls first: each field is of its annotation's kind, finite, within its bounds.

    Raises:
        UserError: naming the first field that is not, its value, and what it must be.
    """
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        name, value = f"{type(config).__name__}.{field.name}", getattr(config, field.name)
        bounds = field.metadata.get("bounds", Bounds())
        object.__setattr__(config, field.name, checked(name, hints[field.name], value, bounds))


def config_of(kind: type[C], given: C | None) -> C:
    """The config that was given, or all defaults.

    Raises:
        UserError: something else was given, such as the name of a method.
    """
    if given is not None and not isinstance(given, kind):
        raise UserError(f"config is {given!r}; give a {kind.__name__} with the fields to change, or leave it out")
    return kind() if given is None else given


def checked(name: str, hint: Any, value: Any, bounds: Bounds) -> Any:
    """`value` as a field of this annotation and these bounds holds it.

    Raises:
        UserError: it is something else, or out of bounds.
    """
    hint, optional = _without_none(hint)
    if optional and value is None:
        return None
    if dataclasses.is_dataclass(hint) and not isinstance(value, hint):
        raise UserError(f"{name} is {value!r}; it must be a {hint.__name__}")
    if bounds.one_of and not bounds.admit(value):
        raise unknown(name.split(".")[-1].replace("_", " "), value, bounds.one_of)
    if typing.get_origin(hint) is tuple:
        each = typing.get_args(hint)[0]
        if typing.get_origin(each) is tuple:
            return _checked_pairs(name, *typing.get_args(each), value, bounds)
        if bounds != Bounds():
            return _checked_tuple(name, each, value, bounds)
    if hint not in KINDS:
        return _python(value)
    whole = hint is int and bounds != Bounds() and not bounds.zero
    value = _of_kind(name, hint, value, bounds.in_words(int) if whole else "")
    if not bounds.admit(value):
        raise UserError(f"{name} is {value!r}; it must {bounds.in_words(hint)}")
    return value


def _checked_tuple(name: str, kind: type, value: Any, bounds: Bounds) -> tuple[Any, ...]:
    """One or more numbers, each within the bounds."""
    value = _python(value)
    if isinstance(value, kind) and not isinstance(value, bool) and bounds.admit(value):
        raise UserError(f"{name} is {value!r}; it must be a tuple: write ({value},)")
    fits = isinstance(value, tuple) and len(value) > 0
    if not fits or not all(isinstance(x, kind) and not isinstance(x, bool) and bounds.admit(x) for x in value):
        one = bounds.in_words(kind).replace("be a whole number", "whole numbers")
        raise UserError(f"{name} is {value!r}; it must be a tuple of one or more {one}")
    return value


def _checked_pairs(name: str, first: type, second: type, value: Any, bounds: Bounds) -> tuple[tuple[Any, Any], ...]:
    """Any number of pairs, such as (("attention", 4),), of which the second is within the bounds."""
    if not isinstance(value, tuple) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
        raise UserError(f"{name} is {value!r}; it must be a tuple of pairs: write (('attention', 1),), say")
    return tuple((checked(name, first, a, Bounds()), checked(name, second, b, bounds)) for a, b in value)


def as_whole(value: Any) -> int | None:
    """The whole number that `value` is, be it numpy's or a tensor's; None: it is none, as fractions and bools."""
    value = _python(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def whole_number(name: str, value: Any, **bounds: Any) -> int:
    """An argument of a function that must be a whole number, as Python's own; numpy's are accepted, bools are not.

    >>> whole_number("episodes", np.int64(3), at_least=1)
    3

    Args:
        bounds: as of `Bounds`.

    Raises:
        UserError: it is something else, or out of bounds.
    """
    given, value, limits = value, as_whole(value), Bounds(**bounds)
    if value is not None and limits.admit(value):
        return value
    words = limits.in_words(int) if bounds else "be a whole number"
    raise UserError(f"{name} must {words}, got {given!r}")


def whole_numbers(name: str, values: Any) -> Tensor:
    """Whole numbers of any kind and in any container that torch reads, as int64.

    Raises:
        UserError: fractions, which torch would cut off, or true and false.
    """
    if isinstance(values, Tensor):
        whole = not (values.is_floating_point() or values.is_complex() or values.dtype == torch.bool)
    else:
        values = np.asarray(values)
        whole = values.dtype.kind in "iu" or values.size == 0
    if not whole:
        raise UserError(f"{name} must be whole numbers, got {values.dtype} {tuple(values.shape)}")
    return torch.as_tensor(values).long()


def seed_number(value: Any) -> int:
    """What a generator of torch takes as its seed.

    Raises:
        UserError: as `whole_number`.
    """
    return whole_number("seed", value, at_least=-(2**63), at_most=2**63 - 1)


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
    file = user_path(path)
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))  # some editors begin with a byte-order mark
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
