"""The policy as a field: what the agent would do, and what it expects, at every free cell and in every direction.

An agent's choice depends on what it sees and on what it remembers. The field holds the memory still, puts the agent
everywhere, and asks; then it asks again with a cleared memory. Where the two differ, the memory speaks. At step 0 they
do not: nothing is remembered yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..envs import GridWorlds, Observation, encode_mission
from ..envs.cells import GROUND, TYPE, flat_index, solidity
from ..envs.state import State
from ..errors import UserError
from ..models import act
from .interventions import in_force, mission_at

CLOSE = 1e-3  # probabilities of the same agent at the same step differ by rounding alone
WITH_MEMORY, CLEARED = 0, 1


@dataclass(frozen=True, eq=False)
class PolicyField:
    """What an agent would do at each of n places, with its memory as it is at a step and with a cleared one.

    Attributes:
        places: (x, y, direction); direction 0 right, 1 down, 2 left, 3 up.
        probabilities: [WITH_MEMORY] and [CLEARED], of left, right, forward, pickup, drop, toggle, done.
        values: the critic's estimate there.
        here: number of the place where the agent is.
        size: width and height of the level in cells.
    """

    trace: Any
    t: int
    places: Int[np.ndarray, "n 3"]
    probabilities: Float[np.ndarray, "2 n 7"]
    values: Float[np.ndarray, "2 n"]
    here: int
    size: tuple[int, int]

    @property
    def actions(self) -> Int[np.ndarray, "2 n"]:
        """The likeliest action."""
        return self.probabilities.argmax(-1)

    @property
    def changed(self) -> Bool[np.ndarray, "n"]:
        """Where the memory changes the likeliest action."""
        return self.actions[WITH_MEMORY] != self.actions[CLEARED]

    @property
    def distance(self) -> Float[np.ndarray, "n"]:
        """How much probability the memory moves from one action to another: total variation, between 0 and 1."""
        return 0.5 * np.abs(self.probabilities[WITH_MEMORY] - self.probabilities[CLEARED]).sum(-1)

    def __str__(self) -> str:
        if self.t == 0:
            return "At step 0 nothing is remembered yet: both fields are the same."
        value = np.abs(self.values[WITH_MEMORY] - self.values[CLEARED]).mean()
        return (
            f"At step {self.t} the memory changes the likeliest action in {self.changed.sum()} of {len(self.places)} "
            f"places; in the mean it moves {self.distance.mean():.0%} of the probability and {value:.2f} of the value."
        )


@torch.no_grad()
def policy_field(agent: torch.nn.Module, trace: Any, t: int) -> PolicyField:
    """The field of the agent that played `trace`, in the world and with the memory of step t.

    All places are asked at once. Everything but the agent's place is as at step t: doors, objects, what it carries, the
    mission it is told, and interventions that are in force.

    Example:
        >>> print(policy_field(agent, trace, t=10))

    Args:
        agent: the one that played.
        t: a step, 0 … T - 1. What the agent sees at it is not in its memory yet.

    Raises:
        UserError: there is no such step, or another agent played.
    """
    told, device = trace.told(t), trace.worlds[t].device  # `told` refuses steps that there are not
    memory = remembered(agent, trace, t)
    worlds = trace.worlds[t]
    places = free_places(worlds)
    seen = standing(worlds, places).observe()
    if mission_at(trace.interventions, t) is not None:
        seen = seen._replace(mission=encode_mission(told).to(device).expand(len(places), -1))
    twice = Observation(*(torch.cat([x, x]) for x in seen))  # (2n, …): with memory, and without
    cleared = torch.arange(2 * len(places), device=device) >= len(places)
    if memory is not None:
        empty = agent.initial_state(len(places))
        memory = type(memory)(*(torch.cat([m.expand_as(e), e]) for m, e in zip(memory, empty, strict=True)))
    out, _ = act(agent, twice, memory, cleared | (t == 0), interventions=in_force(trace.interventions, t))
    here = places.tolist().index(list(worlds.agent_place(0)))
    chances = out.logits.double().softmax(-1).float().unflatten(0, (2, -1)).cpu().numpy()
    _check_same_agent(chances[WITH_MEMORY, here], trace, t)
    width, height = worlds.bank.tables["size"][int(worlds.state.level[0])].tolist()
    values = out.value.unflatten(0, (2, -1)).cpu().numpy()
    return PolicyField(trace, t, places.cpu().numpy(), chances, values, here, (width, height))


def remembered(agent: torch.nn.Module, trace: Any, t: int) -> Any:
    """The agent's memory before step t of a trace, read from what it saw until then; None at step 0.

    Raises:
        UserError: another agent played.
    """
    memory, device = None, trace.worlds[0].device
    for s in range(t):
        image, direction, mission = (
            torch.as_tensor(x[s : s + 1], device=device) for x in (trace.images, trace.directions, trace.mission_tokens)
        )
        starts = torch.tensor([s == 0], device=device)
        options = {"interventions": in_force(trace.interventions, s)}
        out, memory = act(agent, Observation(image, direction, mission), memory, starts, **options)
        _check_same_agent(out.logits[0].double().softmax(-1).cpu().numpy(), trace, s)
    return memory


def free_places(worlds: GridWorlds) -> Int[Tensor, "n 3"]:
    """(x, y, direction) of everywhere an agent could stand in world 0, but for what ends the episode (goal, lava)."""
    width, height = worlds.bank.tables["size"][int(worlds.state.level[0])].tolist()
    x, y = torch.meshgrid(torch.arange(width), torch.arange(height), indexing="ij")
    cells = worlds.state.grid[0].cpu()[flat_index(x, y, worlds.bank.width)]  # (w, h)
    ends = ((cells & 255) == TYPE["goal"]) | ((cells & 255) == TYPE["lava"])
    free = ((solidity(cells) == GROUND) & ~ends).nonzero()  # (cells, 2)
    turned = torch.arange(4).repeat(len(free))
    return torch.cat([free.repeat_interleave(4, 0), turned[:, None]], 1).to(worlds.device)


def standing(worlds: GridWorlds, places: Int[Tensor, "n 3"]) -> GridWorlds:
    """n copies of world 0, with the agent at these places."""
    copies = GridWorlds(worlds.bank, len(places), worlds.device, autoreset=False)
    copies.reset(levels=worlds.levels[:1].expand(len(places)))
    for name in State._fields:
        original = getattr(worlds.state, name)
        getattr(copies.state, name).copy_(original[:1] if name == "grid" else original[..., :1])
    x, y, direction = places.unbind(1)
    copies.state.position.copy_(flat_index(x, y, worlds.bank.width))
    copies.state.direction.copy_(direction)
    return copies


def _check_same_agent(chances: Float[np.ndarray, "7"], trace: Any, t: int) -> None:
    apart = float(np.abs(chances - trace.probabilities[t]).max())
    if not apart < CLOSE:
        raise UserError(
            f"this agent did not play this episode: at step {t} a probability differs by {apart:.3f}; give the agent "
            "that the trace was recorded with"
        )
