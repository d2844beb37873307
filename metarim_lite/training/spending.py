"""What a method spends: steps played for each clock, and optimizer steps of each group.

Two methods differ in what they learn only where they spend alike; this file says what each spends.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from .ppo import PPOConfig
from .timescales import TimeScales


class Spending(NamedTuple):
    """What some ticks cost."""

    frames: dict[str, int]
    """Steps played for each clock, over all worlds; per task "fast" is the support, "slow" the query."""
    updates: dict[str, int]
    """Optimizer steps of each group (or part of one). Per task these are the slow loop's."""
    inner_steps: int
    """Gradient steps of each task's copy (per-task), those that a slow update repeats apart."""


def spending(
    scales: TimeScales, ppo: PPOConfig, steps: int, ticks: int, num_envs: int = 1, groups: Collection[str] | None = None
) -> Spending:
    """What the first `ticks` ticks cost.

    Args:
        steps: of each world in the rollout of a fast tick (`TrainConfig.steps`).
        groups: those that have parameters; None: all that are named.
    """
    spent = Spending({}, {}, 0)
    for tick in range(min(ticks, scales.slow_every + 1)):  # ticks repeat with this period, where they differ at all
        clock, times = scales.clock_of_tick(tick), len(range(tick, ticks, scales.slow_every + 1))
        per_task = scales.adaptation == "per-task"
        for name in ("fast", "slow") if per_task else (clock,):
            played = times * num_envs * scales.steps_of_tick(name, steps)
            spent.frames[name] = spent.frames.get(name, 0) + played
        moved = (*scales.slow, *(scales.fast if scales.learn_start else ())) if per_task else getattr(scales, clock)
        count = ppo.epochs * scales.minibatches(clock, ppo.minibatches)
        for group in moved:
            if groups is None or group in groups:
                own = count if clock == "slow" else len(range(0, count, dict(scales.seldom).get(group, 1)))
                spent.updates[group] = spent.updates.get(group, 0) + times * own
        spent = spent._replace(inner_steps=spent.inner_steps + times * scales.inner_steps * per_task)
    return spent
