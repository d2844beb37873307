"""Which modules are active while a RIM agent plays: recorded for analysis/specialisation.py."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int

from ..analysis.specialisation import Told, one_step_each, phase, told
from ..envs import GridWorlds, LevelBank
from ..errors import UserError
from ..models import Agent
from ..training.rollouts import Player

AHEAD = (3, 5)  # of the view [7, 7]: the cell in front of the agent, who stands at (3, 6)


class Played(NamedTuple):
    """n episodes side by side, from their first step on; T is the length of the longest."""

    active: Bool[np.ndarray, "T n N"]
    ahead: Int[np.ndarray, "T n"]
    """Type of what is in the cell in front of the agent, as minigrid numbers it: empty, wall, key, ball, …"""
    mission: Int[np.ndarray, "n"]
    """Kind of the mission, a place in MISSION_KINDS."""
    playing: Bool[np.ndarray, "T n"]


@torch.no_grad()
def watch_modules(agent: Agent, bank: LevelBank, seed: int = 0) -> Played:
    """Play every level of a bank once, actions drawn as in training.

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
        ahead = player.observation.image[:, *AHEAD, 0].long()
        out, *_, done = player.play(partial(agent, record=True))
        steps.append((out.diagnostics.active, ahead, playing.clone()))
        playing &= ~done
    active, ahead, played = (torch.stack(column).cpu().numpy() for column in zip(*steps, strict=True))
    return Played(active, ahead, mission.cpu().numpy(), played)


def specialisation(played: Played, seed: int = 0) -> dict[str, Told]:
    """What the active set tells of mission, phase and the object ahead, from one step of each episode."""
    rng = np.random.default_rng(seed)
    at = one_step_each(played.playing, rng=rng)
    labels = {"mission": played.mission, "phase": phase(at[0], played.playing.sum(axis=0)), "ahead": played.ahead[at]}
    return {name: told(played.active[at], label, rng=rng) for name, label in labels.items()}
