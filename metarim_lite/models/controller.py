"""What every controller hands around, and how it walks through time.

Agent, training and lens hold "a controller" and never ask which: an `LSTM` and a `RIM` take
`(inputs [T,B,D], state, resets [T,B])` and return `(outputs [T,B,output_size], state, diagnostics)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


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


def count_parameters(module: nn.Module) -> int:
    """How many numbers a module learns."""
    return sum(p.numel() for p in module.parameters())


def mixed_precision(x: Tensor) -> bool:
    """Whether `torch.autocast` is on where x is. What is differentiated by hand cannot follow it."""
    return x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)


def walk(
    step: Callable, h: Tensor, c: Tensor, inputs: Sequence[Tensor], resets: Bool[Tensor, "T B"] | None, keep: bool
) -> tuple[list[Tensor], Tensor, Tensor, list[Any]]:
    """A step T times; where an episode begins the state is cleared before it.

    Args:
        step: (h, c, each input of this step) -> (h, c, anything else it has to say).
        h, c: [...,B,H].  inputs: each [T,...].
        keep: keep what else each step says. If nobody needs it, it should not take up memory for T steps.

    Returns:
        h after each step, the last h and c, and what was kept.
    """
    # `unbind` before the loop: x[t] inside it would make backward fill a tensor of full size at each step.
    begins = [None] * len(inputs[0]) if resets is None else resets.unsqueeze(-1).unbind(0)  # T x [B,1]
    trail, said = [], []
    for now, *inputs_t in zip(begins, *(x.unbind(0) for x in inputs), strict=True):
        if now is not None:
            h, c = h.masked_fill(now, 0), c.masked_fill(now, 0)
        h, c, more = step(h, c, *inputs_t)
        trail.append(h)
        if keep:
            said.append(more)
    return trail, h, c, said


def derive_again(run: Callable, tensors: Sequence[Tensor], grads: Sequence[Tensor]) -> list[Tensor | None]:
    """The gradients of tensors by autograd through `run`, with a graph of their own: for `create_graph=True`, where a
    derivative written by hand is not enough."""
    # Views, since one of them may have been made from another (h from C_out, a step before): we want each one's own
    # share, and what flows on from there is not ours to add.
    tensors = [x.view_as(x) for x in tensors]
    wanted = [x for x in tensors if x.requires_grad]
    found = iter(torch.autograd.grad(run(*tensors), wanted, grads, create_graph=True, allow_unused=True))
    return [next(found) if x.requires_grad else None for x in tensors]
