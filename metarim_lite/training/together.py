"""An agent that several processes train together: what each of them does otherwise than one alone (see processes.py).

Each plays its share of the worlds and holds their sequences, and takes the step that one process with all the worlds
would take, up to the order of floating-point sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..processes import moments, my_part, place, sum_gradients
from .ppo import PPOConfig, Spans, cut_into_spans, minibatch_rows
from .rollouts import Rollout
from .timescales import Clock, Loss, Named


def throw_all_dice(logits: Tensor, generator: torch.Generator) -> Tensor:
    """As `throw_dice`: all throw the dice of all worlds, and each takes its own."""
    rank, size = place()
    return logits.new_empty(size, *logits.shape).exponential_(generator=generator)[rank]


class SharedClock(Clock):
    """A clock whose minibatches are drawn alike by all, from the sequences of all; each learns from those it holds."""

    def cut(self, rollout: Rollout, config: PPOConfig) -> Spans:
        self.worlds = rollout.resets.shape[1]
        return cut_into_spans(rollout, self.span, config, scaled=_standardised_over_all)

    def minibatch_rows(self, spans: Spans, config: PPOConfig, generator: torch.Generator) -> Iterator[Tensor]:
        return minibatch_rows(spans.resets.shape[1] * place().size, config, generator)

    def learn(self, agent: Any, spans: Spans, rows: Tensor, config: PPOConfig, loss: Loss, number: int) -> Named:
        """As `Clock.learn`. What it returns is to be averaged over processes, but for `ratio_error`."""
        mine, share = my_part(rows, self.worlds)
        value, watched = loss(agent, spans.pick(mine), config)
        weighed = {name: x if name == "ratio_error" else share * place().size * x for name, x in watched.items()}
        return weighed | self.descend(share * value, config.max_grad_norm, number)

    def backward(self, loss: Tensor) -> None:
        super().backward(loss)
        sum_gradients(self.parameters)


def _standardised_over_all(x: Tensor) -> Tensor:
    mean, deviation = moments(x)
    return (x - mean) / (deviation + 1e-8)
