"""How good is an agent? Each level played once, with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..analysis import Estimate, mean_interval, wilson
from ..config import seed_number, whole_number
from ..envs import GridWorlds, LevelBank
from ..errors import UserError
from ..machine import check_device
from .rollouts import Player


@dataclass(frozen=True)
class Evaluation:
    """Success, reward and length of the episodes played, each as value [low, high] at 95 %."""

    success: Estimate
    reward: Estimate
    length: Estimate
    """Steps per episode."""
    episodes: int
    successes: np.ndarray
    """bool [episodes]: which levels of the bank, in order, were solved."""
    seen: float | None = None
    """Share of these levels that are identical to a training level; None: the bank does not know (see banks.py)."""

    def __str__(self) -> str:
        numbers = f"success {self.success}, reward {self.reward}, {self.length.value:.1f} steps"
        return f"{numbers}, {self.episodes} episodes" + (f", {self.note}" if self.note else "")

    @property
    def note(self) -> str:
        """What has to be said beside the figures; empty: nothing."""
        return f"{self.seen:.1%} of them in levels identical to training levels" if self.seen else ""


@torch.no_grad()
def evaluate(
    agent: Any, bank: LevelBank, episodes: int = 1000, *,
    seed: int = 0, greedy: bool = False, device: str | torch.device | None = None, batch: int = 1024,
) -> Evaluation:  # fmt: skip
    """Play the first `episodes` levels of `bank` once each.

    Args:
        agent: an `Agent`, or anything that is called like one and has `initial_state`.
        bank: levels the agent was not trained on.
        episodes: how many; at most `len(bank)`, so that no level counts twice.
        seed: seeds the dice from which actions are drawn.
        greedy: take the likeliest action instead of drawing one.
        device: where to play; default: where the agent is.
        batch: worlds played at once.

    Raises:
        UserError: fewer levels than episodes, no episode, no such device.
    """
    batch, episodes = whole_number("batch", batch, at_least=1), whole_number("episodes", episodes)
    if not 1 <= episodes <= len(bank):
        raise UserError(f"{episodes} episodes asked of {len(bank)} levels, each played once; ask for 1 to {len(bank)}")
    if device is None:
        parameters = agent.parameters() if isinstance(agent, torch.nn.Module) else ()
        device = next((p.device for p in parameters), torch.device("cpu"))
    device = check_device(device)
    generator = torch.Generator(device=device).manual_seed(seed_number(seed))
    parts = [
        _play(agent, bank, torch.arange(first, min(first + batch, episodes), device=device), generator, greedy)
        for first in range(0, episodes, batch)
    ]
    success, reward, length = (torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True))
    means = wilson(int(success.sum()), episodes), mean_interval(reward), mean_interval(length)
    return Evaluation(*means, episodes, successes=success, seen=bank.select(range(episodes)).share_seen)


def _play(agent: Any, bank: LevelBank, levels: torch.Tensor, generator: torch.Generator, greedy: bool):
    """The first episode of each of these levels: success, reward, length, each [B]."""
    worlds = GridWorlds(bank, num_envs=len(levels), device=levels.device, autoreset=True)
    player = Player(worlds, agent, generator, levels=levels)
    playing = torch.ones_like(levels, dtype=torch.bool)
    success, length = torch.zeros_like(playing), torch.zeros_like(levels)
    reward = torch.zeros_like(levels, dtype=torch.float32)
    while playing.any():
        *_, step, done = player.play(agent, greedy)
        success |= step.success & playing
        reward += step.reward * playing
        length += playing
        playing &= ~done
    return success, reward, length
