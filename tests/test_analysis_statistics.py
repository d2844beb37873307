"""Intervals against closed forms and simulation."""

import numpy as np
import pytest

from metarim_lite.analysis import mean_interval, wilson
from metarim_lite.errors import UserError


def test_wilson_solves_its_defining_equation():
    """The ends of Wilson's interval are the p with |p̂ − p| = z·sqrt(p(1 − p)/n)."""
    e = wilson(37, 50)
    for p in (e.low, e.high):
        assert abs(e.value - p) == pytest.approx(1.959963984540054 * np.sqrt(p * (1 - p) / 50), rel=1e-9)


def test_wilson_never_leaves_the_unit_interval_and_is_not_a_point_at_the_ends():
    none, every = wilson(0, 20), wilson(20, 20)
    assert none.low == 0 and 0 < none.high < 0.2
    assert every.high == 1 and 0.8 < every.low < 1


def test_wilson_covers_the_truth_about_95_percent_of_the_time():
    """Coverage jumps about with p, as it must for counts, so it is averaged over p."""
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.05, 0.95, size=4000)
    intervals = [wilson(int(s), 60) for s in rng.binomial(60, truth)]
    inside = [e.low <= p <= e.high for e, p in zip(intervals, truth, strict=True)]
    assert 0.94 < np.mean(inside) < 0.965


def test_bootstrap_interval_matches_the_normal_one_on_a_large_sample():
    values = np.random.default_rng(1).normal(3.0, 2.0, size=2000)
    e = mean_interval(values)
    half = 1.96 * values.std() / np.sqrt(values.size)
    assert e.value == pytest.approx(values.mean())
    assert e.high - e.low == pytest.approx(2 * half, rel=0.15)


@pytest.mark.parametrize("successes, trials", [(1, 0), (3, 2), (-1, 5)])
def test_impossible_counts_are_refused(successes, trials):
    with pytest.raises(UserError, match="impossible"):
        wilson(successes, trials)


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(UserError):
        mean_interval(np.array([1.0, np.nan]))
