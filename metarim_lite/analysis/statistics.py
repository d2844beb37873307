"""Intervals for success rates and means: pure functions of recorded numbers."""

from __future__ import annotations

import math
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
    if trials < 1 or not 0 <= successes <= trials:
        raise UserError(
            f"{successes} successes in {trials} trials is impossible; need 0 <= successes <= trials, trials >= 1"
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
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise UserError(f"need a non-empty list of finite numbers, got shape {values.shape}")
    rng = np.random.default_rng(seed)
    means = values[rng.integers(values.size, size=(draws, values.size))].mean(axis=1)  # (draws, n) -> (draws,)
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(float(values.mean()), float(low), float(high))
