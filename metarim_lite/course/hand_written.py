"""A policy written by hand, as an agent: to be evaluated, recorded and watched like those that learned."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from ..envs.cells import ACTIONS
from ..envs.missions import decode_mission
from ..models import AgentOutput

Policy = Callable[[Tensor, int, str, dict[str, Any]], int]


class HandWritten(torch.nn.Module):
    """Asks `policy(image, direction, mission, memory)` in every world, at every step.

    >>> import metarim_lite as ml
    >>> bank = ml.LevelBank.generate("BabyAI-GoToLocal-v0", seeds=range(10))
    >>> forward = HandWritten(lambda image, direction, mission, memory: 2)
    >>> ml.evaluate(forward, bank, episodes=10).episodes
    10

    `memory` is a dict, empty where an episode begins. It is kept here, not in a state that is passed on: one agent
    plays one set of worlds at a time.
    """

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy, self.memories = policy, []

    def forward(self, observation: Any, state: None = None, resets: Bool[Tensor, "T B"] | None = None, **_: Any):
        T, B = observation.direction.shape
        logits = torch.zeros(T, B, len(ACTIONS))
        for t in range(T):
            for b in range(B):
                if len(self.memories) != B:
                    self.memories = [{} for _ in range(B)]
                if resets is not None and resets[t, b]:
                    self.memories[b] = {}
                mission = _words(tuple(observation.mission[t, b].tolist()))
                seen = observation.image[t, b].cpu(), int(observation.direction[t, b])
                logits[t, b, int(self.policy(*seen, mission, self.memories[b]))] = 100.0  # as good as certain
        return AgentOutput(logits, torch.zeros(T, B), None), None

    def initial_state(self, B: int) -> None:
        self.memories = [{} for _ in range(B)]


@lru_cache(maxsize=1024)
def _words(tokens: tuple[int, ...]) -> str:
    return decode_mission(torch.tensor(tokens))
