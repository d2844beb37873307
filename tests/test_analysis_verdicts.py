"""Verdicts, from numbers made by hand."""

import math

import pytest

import metarim_lite as ml
from metarim_lite.analysis import Estimate
from metarim_lite.analysis.verdicts import RULES, all_of, any_of, differs, explains, no_less, verdict

SMALLEST = 0.05
YES, NO, OPEN = "supported", "not supported", "undecided"
LARGE = Estimate(0.20, 0.10, 0.30)
NONE = Estimate(0.00, -0.04, 0.04)
VAGUE = Estimate(0.10, -0.10, 0.30)
LESS = Estimate(-0.20, -0.30, -0.10)


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        (0.20, 0.10, 0.30, YES),
        (0.05, 0.01, 0.09, YES),  # just as large as matters
        (0.04, 0.01, 0.07, OPEN),  # there, but perhaps too small to matter
        (0.03, 0.01, 0.045, NO),  # there, and surely too small
        (0.10, -0.01, 0.21, OPEN),  # large, but perhaps chance
        (0.10, 0.00, 0.20, OPEN),  # an interval that begins at 0 does not exclude it
        (0.00, -0.04, 0.04, NO),
        (0.00, -0.05, 0.05, OPEN),  # an interval that ends at the smallest difference does not exclude it
        (-0.20, -0.30, -0.10, NO),
        (0.06, 0.01, 0.04, OPEN),  # an interval beside its own value decides nothing
    ],
)
def test_a_difference_is_there_excluded_or_open(value, low, high, expected):
    assert verdict(Estimate(value, low, high), SMALLEST) == expected


@pytest.mark.parametrize(("effect", "expected"), [(LARGE, YES), (NONE, YES), (VAGUE, OPEN), (LESS, NO),
                                                  (Estimate(-0.03, -0.045, -0.01), YES)])  # fmt: skip
def test_no_less_is_denied_by_what_matters_alone(effect, expected):
    assert no_less(effect, SMALLEST) == expected


@pytest.mark.parametrize(("effect", "expected"), [(LARGE, YES), (LESS, YES), (NONE, NO), (VAGUE, OPEN)])
def test_a_difference_may_go_either_way(effect, expected):
    assert differs(effect, SMALLEST) == expected


@pytest.mark.parametrize(
    ("gain", "rest", "expected"),
    [
        (LARGE, NONE, YES),
        (LARGE, LESS, YES),  # it gives more than what it explains
        (LARGE, LARGE, NO),  # much is left unexplained
        (LARGE, VAGUE, OPEN),
        (NONE, NONE, NO),  # there is no gain to explain
        (LESS, NONE, NO),
        (VAGUE, NONE, OPEN),
        (VAGUE, LARGE, NO),
    ],
)
def test_a_gain_is_explained_where_it_is_there_and_nothing_that_matters_is_left_of_it(gain, rest, expected):
    assert explains(gain, rest, SMALLEST) == expected


def test_several_parts():
    assert [all_of(of) for of in ([YES, YES], [YES, OPEN], [NO, OPEN], [])] == [YES, OPEN, NO, OPEN]
    assert [any_of(of) for of in ([YES, NO], [NO, OPEN], [NO, NO], [])] == [YES, OPEN, NO, OPEN]


def test_numbers_that_are_none_get_no_verdict():
    for effect, smallest in ((Estimate(math.nan, 0, 1), 0.05), (LARGE, 0.0), (LARGE, math.nan)):
        with pytest.raises(ml.UserError, match="no verdict"):
            verdict(effect, smallest)


def test_rules_in_words_name_the_smallest_difference():
    for words in RULES.values():
        assert "0.05" in words.format(smallest=0.05) and "Else undecided" in words
