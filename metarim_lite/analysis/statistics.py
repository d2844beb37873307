"""Intervals for success rates, means and comparisons of methods: pure functions of recorded numbers.

A method is judged by its runs, several seeds on each of several levels: interquartile mean, interval by stratified
bootstrap, probability of improvement (Agarwal et al. 2021, "Deep RL at the edge of the statistical precipice").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ..errors import UserError

Z95 = 1.959963984540054  # 97.5 % quantile of the normal distribution


class Estimate(NamedTuple):
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def wilson(successes: int, trials: int) -> Estimate:
    """Success rate with Wilson's score interval, which stays inside [0, 1] and works at 0 % and 100 %.

    Raises:
        UserError: no trials, or more successes than trials.
    """
    if trials < 1 or not 0 <= successes <= trials or successes != int(successes):
        raise UserError(
            f"{successes} successes in {trials} trials is impossible; need whole numbers, 0 <= successes <= trials, "
            "trials >= 1"
        )
    p, z2 = successes / trials, Z95**2
    centre = (p + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z95 * math.sqrt(p * (1 - p) / trials + z2 / (4 * trials**2)) / (1 + z2 / trials)
    return Estimate(p, max(0.0, centre - half), min(1.0, centre + half))


def mean_interval(values: np.ndarray, seed: int = 0, draws: int = 1000) -> Estimate:
    """Mean with a percentile-bootstrap interval over `values` [n].

    Raises:
        UserError: `values` is empty or not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all() or draws < 1:
        raise UserError(f"need a non-empty list of finite numbers and draws >= 1, got {values!r} and draws={draws}")
    rng = np.random.default_rng(seed)
    means = values[rng.integers(values.size, size=(draws, values.size))].mean(axis=1)  # (draws, n) -> (draws,)
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(float(values.mean()), float(low), float(high))


def interquartile_mean(*scores: np.ndarray) -> np.ndarray:
    """Mean of the middle half of the runs, over all levels pooled: a few lucky or failed seeds do not decide it.

    A quarter of the runs, rounded down, is dropped at each end (as in rliable), so fewer than 4 give the mean.

    Args:
        scores: one array [..., runs] for each level; leading axes are kept.

    Raises:
        UserError: no scores, or some that are not finite.
    """
    if not scores or not all(np.size(group) and np.isfinite(group).all() for group in scores):
        raise UserError(f"scores of runs must be lists of finite numbers, at least one, got {scores!r}")
    pooled = np.sort(np.concatenate(scores, axis=-1), axis=-1)  # [..., runs of all levels]
    cut = pooled.shape[-1] // 4
    return pooled[..., cut : pooled.shape[-1] - cut].mean(axis=-1)


def stratified_bootstrap(
    statistic: Callable[..., np.ndarray], *scores: np.ndarray, rng: np.random.Generator, draws: int = 2000
) -> Estimate:
    """A statistic of several groups of runs, with a percentile interval from resampling runs inside each group.

    >>> rng = np.random.default_rng(0)
    >>> stratified_bootstrap(interquartile_mean, goto_scores, pickup_scores, rng=rng)

    Args:
        statistic: takes the groups as arrays [..., runs], gives [...].
        scores: the groups: the runs on each level, [runs] each, not all of equal length perhaps. ∞ may stand for
            a run that never got there, if the statistic knows what to do with it.
        rng: the dice.
        draws: resamplings.

    Raises:
        UserError: no group, one of fewer than 2 runs (resampling it would give an interval of width 0), or values
            that are no numbers.
    """
    groups = [np.asarray(group, dtype=np.float64) for group in scores]
    for group in groups:
        if group.ndim != 1 or np.isnan(group).any():
            raise UserError(f"scores of runs must be lists of finite numbers, or ∞, got {group.tolist()!r}")
    if not groups or min(map(len, groups)) < 2:
        raise UserError(f"an interval needs at least 2 runs in each group, got {[len(g) for g in groups]}; add seeds")
    resampled = [group[rng.integers(len(group), size=(draws, len(group)))] for group in groups]  # [draws, runs] each
    found = statistic(*resampled)
    # Between a number and ∞ nothing can be interpolated.
    how = "linear" if np.isfinite(found).all() else "inverted_cdf"
    low, high = np.quantile(found, [0.025, 0.975], method=how)
    return Estimate(float(statistic(*groups)), float(low), float(high))


def probability_of_improvement(
    ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], *, rng: np.random.Generator, draws: int = 2000
) -> Estimate:
    """How likely a run of ours beats a run of theirs on the same level, averaged over levels; a tie counts half.

    On one level this is Mann and Whitney's U, divided by the number of pairs. 0.5 means no difference.

    Args:
        ours, theirs: for each level, in the same order, the scores of the runs [runs]; numbers of runs may differ.
        rng: the dice of the stratified bootstrap.

    Raises:
        UserError: not the same number of levels, or what `stratified_bootstrap` refuses.
    """
    levels = len(ours)
    if levels != len(theirs):
        raise UserError(
            f"scores on {levels} levels cannot be compared with scores on {len(theirs)}; give the same levels"
        )

    def improvement(*groups: np.ndarray) -> np.ndarray:
        wins = []
        for x, y in zip(groups[:levels], groups[levels:], strict=True):
            x, y = x[..., :, None], y[..., None, :]  # every run of ours against every run of theirs
            wins.append(((x > y) + 0.5 * (x == y)).mean(axis=(-2, -1)))  # [..., ours, theirs] -> [...]
        return np.mean(wins, axis=0)

    return stratified_bootstrap(improvement, *ours, *theirs, rng=rng, draws=draws)


def performance_profile(
    thresholds: Sequence[float], *scores: np.ndarray, rng: np.random.Generator, draws: int = 2000
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share of runs whose score is above each threshold, averaged over levels: all runs at a glance, lucky and failed.

    (value, low, high), each [thresholds]; the band holds 95 % of resamplings, at each threshold by itself. A method
    whose profile is nowhere lower than another's is better by any statistic that only asks for ranks.

    Args:
        thresholds: of the score.
        scores: for each level, the scores of the runs [runs].
        rng: the dice of the stratified bootstrap.

    Raises:
        UserError: what `stratified_bootstrap` refuses.
    """

    def share(threshold: float) -> Callable[..., np.ndarray]:
        return lambda *groups: np.mean([(group > threshold).mean(axis=-1) for group in groups], axis=0)

    found = [stratified_bootstrap(share(threshold), *scores, rng=rng, draws=draws) for threshold in thresholds]
    value, low, high = np.array(found).reshape(-1, 3).T
    return value, low, high
