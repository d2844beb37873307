"""What a method spends: steps played for each clock, and optimizer steps of each group.

Two methods differ in what they learn only where they spend alike; this file says what each spends.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from .ppo import PPOConfig
from .timescales import TimeScales

USUAL = 240  # steps a world in which methods are compared: whole cycles of every method of ours at 40 steps a rollout


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

    Arguments:
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


def clocks_in_words(scales: TimeScales, ppo: PPOConfig, steps: int, groups: Collection[str]) -> str:
    """The clocks, and what they spend in 240 steps of each world, for a reader."""
    cycle = scales.slow_every + 1
    spent = spending(scales, ppo, steps, cycle, groups=groups)
    share = USUAL / sum(spent.frames.values())
    clocks = []
    for name, span in (("fast", scales.fast_span), ("slow", scales.slow_span)):
        if name in spent.frames:
            on_it = ", ".join(g for g in getattr(scales, name) if g in groups)
            clocks.append(f"{name} clock {on_it} (spans of {span}, {share * spent.frames[name]:.4g} steps)")
    updates = ", ".join(f"{group} {share * count:.4g}" for group, count in spent.updates.items())
    inner = f"; {share * spent.inner_steps:.4g} steps of each task's copy" if spent.inner_steps else ""
    memory = "an episode" if scales.memory == "episode" else f"{scales.task_episodes} episodes of a task"
    return f"{'; '.join(clocks)}; memory of {memory}; in {USUAL} steps a world, updates of {updates}{inner}"


def spent_in_words(counters: dict[str, float]) -> str:
    """What a run has spent, from its counters."""
    frames = ", ".join(f"{k.split('/')[1]} {v:,}" for k, v in counters.items() if k.startswith("frames/"))
    updates = ", ".join(f"{k.split('/')[1]} {v:,}" for k, v in counters.items() if k.startswith("updates/"))
    inner = f"; steps of each task's copy {counters['inner_steps']:,}" if counters.get("inner_steps") else ""
    return f"frames by clock: {frames}; updates by group: {updates}{inner}"
