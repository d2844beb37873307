"""Agents and levels by name, for the widgets that let one choose."""

from __future__ import annotations

from typing import Any

import torch

from ..envs import LevelBank
from ..errors import unknown
from ..runs import load_agent, shipped_agents
from ..training.banks import held_out_bank
from .trace import Trace

LEVELS = (
    "BabyAI-GoToRedBallGrey-v0", "BabyAI-GoToLocal-v0", "BabyAI-PickupLoc-v0", "BabyAI-PutNextLocal-v0",
    "BabyAI-GoToObjMaze-v0", "BabyAI-GoTo-v0", "BabyAI-UnlockLocal-v0",
)  # fmt: skip
USUAL = "meta-rim-gotolocal"  # among the shipped agents


def levels_with(level: str) -> tuple[str, ...]:
    """The levels to choose from, `level` first where it is none of them."""
    return LEVELS if level in LEVELS else (level, *LEVELS)


class Agents:
    """Agents to choose from: those given by name, and the shipped ones, loaded when first asked for."""

    def __init__(self, given: dict[str, torch.nn.Module] | None = None) -> None:
        self.loaded: dict[str, torch.nn.Module] = dict(given or {})
        self.names = tuple(dict.fromkeys([*self.loaded, *shipped_agents()]))
        self.first = next(iter(self.loaded), USUAL)
        """Whom to ask where nobody was chosen."""

    def get(self, name: str) -> torch.nn.Module:
        """Raises UserError when there is no such agent."""
        if name not in self.names:
            raise unknown("agent", name, self.names)
        if name not in self.loaded:
            self.loaded[name] = load_agent(name)
        return self.loaded[name]


def recorded(agent: Any, level: str, seed: int) -> Trace:
    """The agent's episode in the level that minigrid makes from `seed`, with dice of that seed."""
    return Trace.record(agent, LevelBank.generate(level, seeds=[seed]), 0, seed=seed)


def held_out(level: str, count: int) -> LevelBank:
    return held_out_bank((level,), count)
