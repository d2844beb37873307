"""Training by CUDA graphs (see recording.py): recorded are whole rollouts, and whole updates, from the rows that they
read to Adam's step. That changes speed, not results.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import recording
from .ppo import PPOConfig, Spans
from .rollouts import Rollout
from .timescales import Clock, Loss, Named


class Recorder(recording.Recorder):
    """A recorder that knows players and clocks. Where nothing can be recorded, both work as they are."""

    work = "training"

    def collect(self, player: Any, agent: Any, T: int, span: int) -> Rollout:
        """`player.collect(agent, T, span)`, recorded. What moves in a player goes in and comes out."""

        def play(moving: Any) -> tuple[Rollout, Any]:
            player.put(moving)
            return player.collect(agent, T, span), player.moving()

        rollout, moving = self((player, agent, T, span), play, player.moving())
        player.put(moving)
        return rollout

    def clock(self, *args: Any) -> Clock:
        """A `Clock` whose updates are recorded, where there are graphs."""
        return RecordedClock(self, *args) if self.records else Clock(*args)


class RecordedClock(Clock):
    """A clock whose updates are recorded, one graph for each size of minibatch and set of groups that move."""

    def __init__(self, recorder: Recorder, *args: Any) -> None:
        self.recorder = recorder
        super().__init__(*args)

    def make_optimizer(self, rates: list[dict[str, Any]]) -> torch.optim.Adam:
        """The same Adam, which counts its steps on the GPU."""
        return torch.optim.Adam(rates, eps=1e-5, fused=True, capturable=True)

    def cut(self, rollout: Rollout, config: PPOConfig) -> Spans:
        return self.recorder.hold(self, super().cut(rollout, config))

    def learn(self, agent: Any, spans: Spans, rows: Tensor, config: PPOConfig, loss: Loss, number: int) -> Named:
        groups = tuple(group for group in self.by_group if number % self.seldom.get(group, 1) == 0)
        rates = tuple(group["lr"] for group in self.optimizer.param_groups)

        def update(rows: Tensor) -> Named:
            return Clock.learn(self, agent, spans, rows, config, loss, number)

        return self.recorder((self, agent, config, loss, groups, rates), update, rows)
