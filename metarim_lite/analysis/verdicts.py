"""From a difference with its interval to a verdict: "supported", "not supported" or "undecided". Pure functions.

A claim says that something is larger by at least `smallest`, the smallest difference that matters. An interval that
excludes 0 shows a difference; only one that excludes `smallest` shows that there is none that matters; and one that
excludes neither shows nothing. All other rules are made of this one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..errors import UserError
from .statistics import Estimate

SUPPORTED, NOT_SUPPORTED, UNDECIDED = VERDICTS = ("supported", "not supported", "undecided")
OPPOSITE = {SUPPORTED: NOT_SUPPORTED, NOT_SUPPORTED: SUPPORTED, UNDECIDED: UNDECIDED}
RULES = {
    "more": "Supported: the interval of A - B lies above 0, and A - B is at least {smallest}. Not supported: the "
    "interval lies below {smallest}. Else undecided.",
    "no less": "Supported: the interval of B - A lies below {smallest}. Not supported: the interval of B - A lies "
    "above 0, and B - A is at least {smallest}. Else undecided.",
    "differs": "Supported: the interval of A - B does not hold 0, and A - B is at least {smallest} in size. Not "
    "supported: the interval lies between -{smallest} and {smallest}. Else undecided.",
    "explains": "A is what is said to explain the gain of B over C. Not supported if there is no gain to explain: the "
    "interval of B - C lies below {smallest}; or if B has more than A: the interval of B - A lies above 0, and B - A "
    "is at least {smallest}. Supported if the gain is there (the interval of B - C above 0, B - C at least {smallest}) "
    "and A has it: the interval of B - A lies below {smallest}. Else undecided.",
    "gains more": "With (A - C) - (B - D) in the place of A - B, supported: its interval lies above 0, and it is at "
    "least {smallest}. Not supported: its interval lies below {smallest}. Else undecided.",
}
"""Each rule in words. A and B are what is compared, C and D what stands beside them."""


def verdict(effect: Estimate, smallest: float) -> str:
    """On "A is larger than B by something that matters", from A - B.

    >>> verdict(Estimate(0.2, 0.1, 0.3), 0.05), verdict(Estimate(0.0, -0.04, 0.04), 0.05)
    ('supported', 'not supported')

    Raises:
        UserError: numbers that are none, or a smallest difference that is not above 0.
    """
    if any(map(math.isnan, effect)) or not smallest > 0:
        raise UserError(f"no verdict on {effect} with a smallest difference of {smallest}; give numbers, and one > 0")
    there = effect.low > 0 and effect.value >= smallest
    excluded = effect.high < smallest
    if there == excluded:  # both, when an odd bootstrap interval does not hold its own value: that decides nothing
        return UNDECIDED
    return SUPPORTED if there else NOT_SUPPORTED


def no_less(effect: Estimate, smallest: float) -> str:
    """On "A is not smaller than B by anything that matters", from A - B."""
    return OPPOSITE[verdict(negative(effect), smallest)]


def differs(effect: Estimate, smallest: float) -> str:
    """On "A and B differ by something that matters, whichever is larger", from A - B."""
    return any_of([verdict(effect, smallest), verdict(negative(effect), smallest)])


def explains(gain: Estimate, rest: Estimate, smallest: float) -> str:
    """On "A alone explains the gain of B over C", from the gain B - C, and the rest of it that A leaves open, B - A."""
    return all_of([verdict(gain, smallest), OPPOSITE[verdict(rest, smallest)]])


def all_of(verdicts: Sequence[str]) -> str:
    """On a claim that several things hold: one that does not hold is enough against it."""
    if NOT_SUPPORTED in verdicts:
        return NOT_SUPPORTED
    return SUPPORTED if verdicts and set(verdicts) == {SUPPORTED} else UNDECIDED


def any_of(verdicts: Sequence[str]) -> str:
    """On a claim that one of several things holds."""
    return OPPOSITE[all_of([OPPOSITE[v] for v in verdicts])]


def negative(effect: Estimate) -> Estimate:
    """The same difference the other way round."""
    return Estimate(-effect.value, -effect.high, -effect.low)
