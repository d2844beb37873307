"""What every controller hands around: its state, and what it did.

Agent, training and lens hold "a controller" and never ask which: an `LSTM` and a `RIM` take
`(inputs [T,B,D], state, resets [T,B])` and return `(outputs [T,B,output_size], state, diagnostics)`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .checks import check_span


class ControllerState(NamedTuple):
    """What a controller remembers between spans. The batch is always the first axis.

    LSTM: h, c [B,H].  RIM: h, c [B,N,H]; with GRU modules c is [B,N,0], since a GRU has no cell state.
    """

    h: Float[Tensor, "B *size"]
    c: Float[Tensor, "B *size"]


class Diagnostics(NamedTuple):
    """What a RIM did, detached from the graph: at each step of a span, or (without T) at one step.

    active: the k modules that won the competition for the input.
    input_attention: each module's weight on the real input (all elements together, mean over heads); the rest lies on
        null, unless the modules share out elements. Inactive modules have one too: it is what made them lose.
    communication: weight of reader (second last axis) on the module it reads (last axis); rows of modules that did
        not read are zero.
    """

    active: Bool[Tensor, "T B N"]
    input_attention: Float[Tensor, "T B N"]
    communication: Float[Tensor, "T B A N N"]

    @classmethod
    def of_steps(cls, steps: Iterable[Diagnostics]) -> Diagnostics:
        return cls(*(torch.stack(x).detach() for x in zip(*steps, strict=True)))


class Controller(nn.Module):
    """What an `LSTM` and a `RIM` have in common: which state they go on from, and what they refuse to read."""

    input_size: int
    """D."""
    output_size: int
    state_sizes: tuple[tuple[int, ...], tuple[int, ...]]
    """Of h and of c, without the batch."""
    input_dims: tuple[int, ...] = (3,)
    """How many axes inputs may have."""

    def initial_state(self, batch: int) -> ControllerState:
        """The cleared state of so many sequences: zeros, where the parameters are and of their type."""
        like = next(self.parameters())
        zeros = (torch.zeros(batch, *size, device=like.device, dtype=like.dtype) for size in self.state_sizes)
        return ControllerState(*zeros)

    def begin(
        self, inputs: Float[Tensor, "T B *E D"], state: ControllerState | None, resets: Bool[Tensor, "T B"] | None
    ) -> ControllerState:
        """The state that a span begins from.

        Raises:
            UserError: inputs, state or resets that do not fit.
        """
        check_span(self, inputs, state, resets)
        return self.initial_state(inputs.shape[1]) if state is None else state


def count_parameters(module: nn.Module) -> int:
    """How many numbers a module learns."""
    return sum(p.numel() for p in module.parameters())
