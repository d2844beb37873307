"""Statistics and plots: pure functions of recorded data."""

from .statistics import Estimate, mean_interval, wilson

__all__ = ["Estimate", "mean_interval", "wilson"]
