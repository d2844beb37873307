"""A Trace: everything that happened in one episode, recorded once, drawn as often as you like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..config import as_whole
from ..envs import LevelBank
from ..errors import UserError
from .interventions import Intervention, mission_at
from .recording import play


@dataclass(frozen=True, eq=False)
class Trace:
    """One episode of one agent in one world: T steps, N modules, A communication heads, L mission tokens.

    Example:
        >>> trace = Trace.record(agent, bank, level=3, seed=0)
        >>> trace.to_html("replay.html")
        >>> trace.active.mean(axis=0)            # how often each module was active

    An agent without modules (LSTM) leaves `active`, `input_attention` and `communication` None.
    """

    level: str
    """Name of the level, as in minigrid."""
    index: int
    """Which level of the bank."""
    seed: int
    """Seed of the random numbers that draw the actions."""
    mission: str
    """What the world judges."""
    controller: str
    greedy: bool
    interventions: tuple[Intervention, ...]
    worlds: tuple[Any, ...]
    """T + 1 copies of the world, one before each step and one after the last."""
    images: np.ndarray
    """uint8 [T+1, 7, 7, 3], the views, as in minigrid."""
    directions: np.ndarray
    """int64 [T+1], the compass."""
    mission_tokens: np.ndarray
    """int64 [T, L], the mission the agent was told."""
    probabilities: np.ndarray
    """float32 [T, 7], of the actions left, right, forward, pickup, drop, toggle, done."""
    actions: np.ndarray
    """int64 [T]"""
    values: np.ndarray
    """float32 [T], the critic's estimate of the discounted reward to come."""
    rewards: np.ndarray
    """float32 [T]"""
    success: bool
    truncated: bool
    hidden_norms: np.ndarray
    """float32 [T, N], Euclidean length of each module's hidden state after step t (LSTM: N = 1)."""
    active: np.ndarray | None = None
    """bool [T, N]"""
    input_attention: np.ndarray | None = None
    """float32 [T, N], weight on the real input, not on null."""
    communication: np.ndarray | None = None
    """float32 [T, A, N, N]; [t, a, n, m] is how much module n reads from module m in head a."""
    agent: Any = None
    """Who played; None: nobody who could play again."""

    @classmethod
    def record(
        cls,
        agent: torch.nn.Module,
        bank: LevelBank,
        level: int = 0,
        seed: int = 0,
        interventions: Sequence[Intervention] = (),
        greedy: bool = False,
    ) -> Trace:
        """Play level number `level` of `bank` to its end and record it.

        Each step uses up one uniform number, whatever happens, and the action is where it falls among the
        cumulated probabilities. So a second recording with an intervention meets the same luck.

        Args:
            agent: an Agent, on any device.
            bank: where the level comes from; `level` counts from 0 within it.
            seed: of the random numbers that draw the actions.
            interventions: ModulesOff, ModulesFrozen, ModulesForced, ModulesDeaf, SwapMission, EditCell.
            greedy: take the most probable action instead of drawing one.

        Raises UserError when the bank has no such level or an intervention does not fit the agent.
        """
        return cls(**play(agent, bank, level, seed, interventions, greedy))

    @property
    def num_steps(self) -> int:
        """T"""
        return len(self.actions)

    def told(self, t: int) -> str:
        """The mission as the agent was told it at step t."""
        self._check_step(t, self.num_steps - 1)
        return mission_at(self.interventions, t) or self.mission

    def frame(self, t: int, tile_size: int | None = None) -> np.ndarray:
        """uint8 [h, w, 3]: the world before step t; t = T is the world after the last step.

        `tile_size` is in pixels; None makes the picture about 350 pixels wide.
        """
        self._check_step(t, self.num_steps)
        if tile_size is None:
            tile_size = max(12, min(32, 352 // self.worlds[t].bank.width))
        return np.asarray(self.worlds[t].frame(0, tile_size=tile_size))

    def _check_step(self, t: int, last: int) -> None:
        if as_whole(t) is None or not 0 <= t <= last:
            raise UserError(f"there is no step {t!r} in this episode; use 0 to {last}")

    def to_html(self, path: str | Path, beside: Trace | None = None) -> Path:
        """Write a page that replays the episode, and that of `beside` next to it; it needs no server and no network.
        Returns its path."""
        from .html import write_replay

        return write_replay(self, path, beside)

    def _repr_svg_(self) -> str:
        from .drawing import step_svg

        return step_svg(self, 0)

    def __repr__(self) -> str:
        end = "success" if self.success else "no success"
        return f"Trace({self.level}, level {self.index}, “{self.mission}”, {self.num_steps} steps, {end})"
