"""One step of B worlds, and what is seen after it: two pure functions of the state."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from .cells import TYPE, kind
from .rules import Features, Places, act, minigrid_rules, verify
from .state import Starts, State
from .vision import Vision, make_image, view_cells


class Observation(NamedTuple):
    """What the agents see. A later step never changes it."""

    image: UInt8[Tensor, "B 7 7 3"]  # image[b, i, j]: column i, row j; (type, colour, state) as in minigrid
    direction: Int[Tensor, "B"]  # 0 right, 1 down, 2 left, 3 up
    mission: Int[Tensor, "B L"]  # tokens, 0 for padding; see `encode_mission`


class Step(NamedTuple):
    """What a step gives. With autoreset, the observation belongs to the next episode where one ended."""

    observation: Observation
    reward: Float[Tensor, "B"]  # 1 - 0.9 * steps / max_steps on success, else 0
    terminated: Bool[Tensor, "B"]  # mission complete, or failed
    truncated: Bool[Tensor, "B"]  # step limit reached
    success: Bool[Tensor, "B"]


class Tables(NamedTuple):
    """What never changes while worlds run."""

    places: Places
    vision: Vision
    starts: Starts


def advance(s: State, actions: Int[Tensor, "B"], tables: Tables, features: Features) -> tuple[Tensor, ...]:
    """One action in each world. Changes `s.grid` in place and nothing else.

    Returns:
        the new values of the registers position ... gone, [6, B]; the complete atoms, [n, B];
        reward, terminated, truncated, success, [B].
    """
    after, deed = act(s, actions, tables.places, features, tables.starts.contents)
    done, success, failed = verify(after, deed, s.carrying, tables.places, features)
    if features.rules:
        won, ended = minigrid_rules(after, deed, tables.places)
        success, failed = success | won, failed | ended
    if features.exits:
        onto = kind(deed.faced)
        success = success | (deed.entered & (onto == TYPE["goal"]))
        failed = failed | (deed.entered & (onto == TYPE["lava"]))
    changed = torch.stack([after.position, after.direction, after.carrying, after.steps, after.origin, after.gone])
    reward = success_reward(success, after.steps, s.max_steps)
    return changed, done, reward, success | failed, after.steps >= s.max_steps, success


def success_reward(success: Bool[Tensor, "B"], steps: Tensor, max_steps: Tensor) -> Float[Tensor, "B"]:
    """minigrid's reward: 1 - 0.9 * steps / max_steps for success, else 0. Computed in double precision, as there."""
    wide = torch.float32 if steps.device.type == "mps" else torch.float64
    return ((1 - 0.9 * (steps.to(wide) / max_steps)) * success).float()


def look(s: State, tables: Tables, features: Features) -> Observation:
    """What the agents see."""
    see_through = s.see_through.bool() if features.see_through else None
    agent = tables.places.base + s.position
    cells, lit = view_cells(s.grid, agent, s.direction, tables.vision, see_through)
    image = make_image(cells, lit, s.carrying, tables.vision)
    return Observation(image, s.direction.clone(), tables.starts.mission.index_select(0, s.level).long())
