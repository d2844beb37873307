"""Which modules are active while a RIM agent plays: recorded for analysis/specialisation.py."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor

from ..analysis.specialisation import Told, one_step_each, phase, told
from ..envs import GridWorlds, LevelBank
from ..errors import UserError
from ..models import Agent
from ..training.rollouts import Player


def ahead(image: UInt8[Tensor, "B 7 7 3"]) -> Int[Tensor, "B"]:
    """Type of what is in the cell in front of the agent, who stands at (3, 6): empty, wall, key, ball, …, as minigrid
    numbers them."""
    return image[:, 3, 5, 0].long()


class Played(NamedTuple):
    """n episodes side by side, from their first step on; T is the length of the longest."""

    active: Bool[np.ndarray, "T n N"]
    seen: Int[np.ndarray, "T n"]
    """What was in view, as `look` told it."""
    mission: Int[np.ndarray, "n"]
    """Kind of the mission, a place in MISSION_KINDS."""
    playing: Bool[np.ndarray, "T n"]


@torch.no_grad()
def watch_modules(agent: Agent, bank: LevelBank, seed: int = 0, look: Callable[[Tensor], Tensor] = ahead) -> Played:
    """Play every level of a bank once, side by side, actions drawn as in training.

    Args:
        look: of the views [n,7,7,3] of a step, what is to be kept of them [n].

    Raises:
        UserError: an agent without modules.
    """
    if agent.config.controller != "rim":
        raise UserError(f"controller {agent.config.controller!r} has no modules to watch; give a RIM agent")
    device = next(agent.parameters()).device
    worlds = GridWorlds(bank, num_envs=len(bank), device=device)
    dice = torch.Generator(device=device).manual_seed(seed)
    player = Player(worlds, agent, dice, levels=torch.arange(len(bank), device=device))
    mission, playing, steps = worlds.mission_kind.clone(), player.resets.clone(), []
    while playing.any():
        seen = look(player.observation.image)
        out, *_, done = player.play(partial(agent, record=True))
        steps.append((out.diagnostics.active, seen, playing.clone()))
        playing &= ~done
    active, seen, played = (torch.stack(column).cpu().numpy() for column in zip(*steps, strict=True))
    return Played(active, seen, mission.cpu().numpy(), played)


def specialisation(played: Played, seed: int = 0) -> dict[str, Told]:
    """What the active set tells of mission, phase and the object ahead, from one step of each episode."""
    rng = np.random.default_rng(seed)
    at = one_step_each(played.playing, rng=rng)
    labels = {"mission": played.mission, "phase": phase(at[0], played.playing.sum(axis=0)), "ahead": played.seen[at]}
    return {name: told(played.active[at], label, rng=rng) for name, label in labels.items()}
