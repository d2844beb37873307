"""Statistics and plots: pure functions of recorded data."""

from .comparison import comparison_table
from .statistics import (
    Estimate,
    interquartile_mean,
    mean_interval,
    performance_profile,
    probability_of_improvement,
    stratified_bootstrap,
    wilson,
)

__all__ = [
    "Estimate",
    "comparison_table",
    "interquartile_mean",
    "mean_interval",
    "performance_profile",
    "probability_of_improvement",
    "stratified_bootstrap",
    "wilson",
]
