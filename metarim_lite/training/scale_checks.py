"""Which time scales make sense: what the fields of `TimeScales` must be to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import UserError, unknown
from ..models import GROUPS

if TYPE_CHECKING:
    from .timescales import TimeScales

LARGEST_RATE = 1000.0  # a step of Adam moves every weight by its rate: beyond this numbers overflow, not only learning


def check_scales(scales: TimeScales) -> None:
    """
    Raises:
        UserError: a group is on no clock or on several, a rate or a beat is none, or two fields exclude each other.
    """
    for name, example in (("slower", 0.1), ("seldom", 4)):
        pairs = getattr(scales, name)
        if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
            raise UserError(f"TimeScales.{name} is {pairs!r}; write (('attention', {example}),), say")
    _check_groups(scales)
    _check_adaptation(scales)
    for group, factor in scales.slower:
        number = isinstance(factor, (int, float)) and not isinstance(factor, bool)
        if group not in scales.fast or not number or not 0 < factor * scales.fast_lr <= LARGEST_RATE:
            raise UserError(
                f"TimeScales.slower has ({group!r}, {factor!r}); name a group of the fast clock and a factor > 0 "
                f"that gives a rate of at most {LARGEST_RATE:g}"
            )
    for group, n in scales.seldom:
        if group not in scales.fast or type(n) is not int or n < 1:
            raise UserError(
                f"TimeScales.seldom has ({group!r}, {n!r}); name a group of the fast clock and a whole number"
            )


def _check_groups(scales: TimeScales) -> None:
    """Every group is named exactly once."""
    named = [*scales.fast, *scales.slow, *scales.frozen]
    for group in [*named, *(g for g, _ in (*scales.slower, *scales.seldom))]:
        if str(group).split(".")[0] not in GROUPS:
            raise unknown("parameter group", group, GROUPS)
    for group in dict.fromkeys([*GROUPS, *named]):
        if named.count(group) != 1:
            where = "on no clock" if group not in named else f"named {named.count(group)} times"
            raise UserError(f"parameter group {group!r} is {where}; name it once, in fast, slow or frozen")


def _check_adaptation(scales: TimeScales) -> None:
    """What only one of the two forms of adaptation has."""
    if scales.adaptation == "online" and scales.meta_gradient != "first-order":
        raise UserError(
            "meta_gradient 'through-adaptation' needs adaptation='per-task'; the online form is first-order"
        )
    lacks = "no fast updates in minibatches"
    for name, instead in (("slower", "one rate α"), ("seldom", lacks), ("fast_minibatches", lacks)):
        if scales.adaptation == "per-task" and (value := getattr(scales, name)):
            raise UserError(f"TimeScales.{name} is {value!r}; per-task adaptation has {instead}, leave it out")
