"""Worlds that step by a CUDA graph (see metarim_lite/recording.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from ..recording import record
from .simulation import Step

if TYPE_CHECKING:
    from .engine import GridWorlds


class RecordedWorlds:
    """What `GridWorlds.record` gives: the same worlds, stepped by a graph.

    `reset`, `renew`, `edit` and `load_state_dict` of the worlds change what the graph works on, and so may be called
    at any time. A fork of the worlds is other memory: record it anew.
    """

    def __init__(self, worlds: GridWorlds) -> None:
        self.worlds = worlds
        self._actions = torch.zeros(worlds.num_envs, dtype=torch.int64, device=worlds.device)
        start = worlds.state_dict()
        if not start["begun"]:
            worlds.reset()
        self._replay = record("steps of worlds", lambda: worlds.step(self._actions), worlds.device)
        worlds.load_state_dict(start)

    def step(self, actions: Int[Tensor, "B"]) -> Step:
        """`GridWorlds.step`. On a GPU all that it gives holds until the next call, which overwrites it: clone what is
        to be kept.

        Raises:
            UserError: what `GridWorlds.step` raises.
        """
        self.worlds.check_actions(actions)
        self._actions.copy_(actions)
        return self._replay()
