"""Step our worlds and minigrid's side by side, and report every difference."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from ..envs import GridWorlds, Observation
from ..envs.generation import check_level_id, make_minigrid, supported
from ..envs.levels import LevelBank
from ..envs.missions import decode_mission
from ..errors import UserError
from ..machine import in_processes
from .bot import Planner
from .oracle import Oracle

# Random actions that get something done: more walking, more picking up and toggling than "done".
RANDOM_ACTIONS = (0.13, 0.13, 0.3, 0.15, 0.12, 0.15, 0.02)

# Who chooses in world b: PLAYERS[b % 4]; None is chance alone.
PLAYERS = (None, Oracle, None, Planner)


class LevelComparison(NamedTuple):
    """What was compared. `differences` is empty when both agreed everywhere."""

    level: str
    steps: int
    episodes: int  # that ended
    successes: int
    differences: tuple[str, ...]  # one sentence each


def compare_minigrid(
    levels: str | Sequence[str] = "all",
    steps: int = 100_000,
    seed: int = 0,
    worlds: int = 8,
    workers: int = 1,
    progress: bool = False,
) -> list[LevelComparison]:
    """Play the same levels with the same actions in our worlds and in minigrid's environments.

    Half of the worlds act at random. Random actions seldom reach success, so a quarter is played by minigrid's bot,
    which explores, and a quarter by an oracle, which knows the whole map, both with a random action now and then.
    Compared at every step: image, direction, mission, reward, terminated, truncated; and the observation of every
    reset.

    Args:
        levels: ids, or "all" for every supported one, or a prefix such as "BabyAI-".
        steps: compared steps in all, shared equally by the levels.
        worlds: worlds per level. Fewer play longer episodes within the same number of steps.
        workers: processes.

    Raises:
        UserError: unknown or unsupported level, no levels, a number below 1.
    """
    if isinstance(levels, str):
        ids = supported("" if levels == "all" else levels) or (levels,)
    else:
        ids = tuple(levels)
    for level_id in ids:
        check_level_id(level_id)
    if not ids or steps < 1 or worlds < 2 or workers < 1:
        raise UserError(f"nothing to compare: {len(ids)} levels, {steps} steps, {worlds} worlds, {workers} workers")
    compare = functools.partial(_compare_levels, steps=-(-steps // len(ids)), seed=seed, num_worlds=worlds)
    return in_processes(compare, ids, workers, "compared" if progress else None, chunk=1)


def _compare_levels(ids: Sequence[str], **how: int) -> list[LevelComparison]:
    return [compare_level(level_id, **how) for level_id in ids]


def compare_level(level_id: str, steps: int, seed: int = 0, num_worlds: int = 16) -> LevelComparison:
    """`compare_minigrid` for one level."""
    generator = np.random.default_rng(seed)
    first_seed = int(generator.integers(0, 1_000_000))
    episodes_needed = max(num_worlds, steps // 30)  # more levels than will be played
    bank = LevelBank.generate(level_id, range(first_seed, first_seed + min(episodes_needed, 500)), cache=False)
    worlds = GridWorlds(bank, num_worlds, seed=seed)
    observation = worlds.reset()
    twins = [_Twin(level_id, bank, PLAYERS[b % 4]) for b in range(num_worlds)]
    differences: list[str] = []
    levels = worlds.levels.tolist()
    for b, twin in enumerate(twins):
        twin.reset(levels[b])
        differences += twin.differing(observation, b, "after reset")

    compared = episodes = successes = 0
    while compared < steps:
        random = generator.choice(7, size=num_worlds, p=RANDOM_ACTIONS)
        meddle = generator.random(num_worlds) < 0.04
        actions = [twin.choose(int(random[b]), bool(meddle[b]), generator) for b, twin in enumerate(twins)]
        step = worlds.step(torch.tensor(actions))
        levels = worlds.levels.tolist()
        rewards, terminated, truncated = step.reward.tolist(), step.terminated.tolist(), step.truncated.tolist()
        success = step.success.tolist()
        for b, twin in enumerate(twins):
            reward, *ends = twin.step(actions[b])
            when = f"after {twin.count} steps of seed {twin.seed}, action {actions[b]}"
            ours = (rewards[b], terminated[b], truncated[b], success[b])
            theirs = (float(np.float32(reward)), *ends, reward > 0)
            if ours != theirs:
                differences.append(
                    f"{level_id} {when}: (reward, terminated, truncated, success) {ours}, minigrid {theirs}"
                )
            if any(ends):
                episodes += 1
                successes += reward > 0
                twin.reset(levels[b])
                when = f"at the reset to seed {twin.seed}"
            differences += twin.differing(step.observation, b, when)
        compared += num_worlds
    return LevelComparison(level_id, compared, episodes, successes, tuple(differences))


class _Twin:
    """minigrid's environment beside one of our worlds, and whoever chooses the actions of both."""

    def __init__(self, level_id: str, bank: LevelBank, player: Any):
        self.env, self.bank, self.level_id = make_minigrid(level_id), bank, level_id
        self.player = player
        self.planner: Oracle | Planner | None = None
        self.last: int | None = None
        self.count = self.seed = 0
        self.observation: dict[str, Any] = {}

    def reset(self, level: int) -> None:
        self.seed = int(self.bank.seeds[level])
        self.observation, _ = self.env.reset(seed=self.seed)
        self.count, self.last = 0, None
        self.planner = self.player and self.player(self.env)

    def choose(self, random: int, meddle: bool, generator: np.random.Generator) -> int:
        if self.player and self.planner is None and generator.random() < 0.1:
            self.planner, self.last = self.player(self.env), None  # perhaps a fresh one knows how to go on
        if self.planner is not None:
            action = self.planner.plan(self.last)
            if action is None:
                self.planner = None
            elif not meddle:
                return action
        return random

    def step(self, action: int) -> tuple[float, bool, bool]:
        self.observation, reward, terminated, truncated, _ = self.env.step(action)
        self.last = action
        self.count += 1
        return reward, terminated, truncated

    def differing(self, observation: Observation, b: int, when: str) -> list[str]:
        ours = {
            "image": observation.image[b].numpy(),
            "direction": int(observation.direction[b]),
            "mission": decode_mission(observation.mission[b]),
        }
        return [
            f"{self.level_id} {when}: {part} differs"
            for part, value in ours.items()
            if not np.array_equal(value, self.observation[part])
        ]
