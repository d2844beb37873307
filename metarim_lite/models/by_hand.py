"""How a controller walks through time, and what it takes to differentiate that walk by hand.

Autograd records every small operation of every step and replays each one backward. `ByHand` makes a whole span one
node of the graph, for a span that knows its own derivative: `fused.RIMSpan` and `lstm.LSTMSpan`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor


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
    trail, said = [], []
    for t, inputs_t in enumerate(zip(*(x.unbind(0) for x in inputs), strict=True)):
        h, c, more = step(*cleared(h, c, resets, t), *inputs_t)
        trail.append(h)
        if keep:
            said.append(more)
    return trail, h, c, said


def cleared(h: Tensor, c: Tensor, resets: Bool[Tensor, "T B"] | None, t: int) -> tuple[Tensor, Tensor]:
    """h and c [...,B,H], or the gradients of both, with 0 where an episode begins at step t."""
    if resets is None:
        return h, c
    begins = resets[t].unsqueeze(-1)  # [B,1]
    return h.masked_fill(begins, 0), c.masked_fill(begins, 0)


class ByHand(torch.autograd.Function):
    """A span as one node of the graph: `ByHand.run(span, …)`, where the span has

    run(resets, keep, record, *tensors) -> outputs, h, c, what `backward` needs if it is to be kept, diagnostics
    backward(resets, tensors, kept, douts, dh, dc) -> the gradients of all tensors
    """

    @staticmethod
    def run(
        span: Any, resets: Bool[Tensor, "T B"] | None, record: bool, *tensors: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Sequence[Tensor]]:
        """Outputs, the last h and c, and diagnostics, none unless they are to be recorded."""
        if torch._C._are_functorch_transforms_active():  # torch.func transforms the plain steps, not our derivative
            outputs, h, c, _, seen = span.run(resets, False, record, *tensors)
        else:
            keep = torch.is_grad_enabled() and any(x.requires_grad for x in tensors)
            outputs, h, c, *seen = ByHand.apply(span, resets, keep, record, *tensors)
        return outputs, h, c, seen

    @staticmethod
    def forward(ctx: Any, span: Any, resets: Tensor | None, keep: bool, record: bool, *tensors: Tensor) -> Any:
        outputs, h, c, kept, seen = span.run(resets, keep, record, *(x.detach() for x in tensors))
        ctx.span, ctx.count = span, len(tensors)
        if keep:
            # Here, not on ctx, so that backward frees them, and refuses resets that were written over in the meantime.
            ctx.save_for_backward(resets, *tensors, *kept)
        ctx.mark_non_differentiable(*seen)
        return outputs, h, c, *seen

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        resets, *saved = ctx.saved_tensors
        tensors, kept, grads = saved[: ctx.count], saved[ctx.count :], grads[:3]
        if torch.is_grad_enabled():  # create_graph=True
            return None, None, None, None, *derive_again(ctx.span, resets, tensors, grads)
        return None, None, None, None, *ctx.span.backward(resets, tensors, kept, *grads)


def derive_again(span: Any, resets: Tensor | None, tensors: Sequence[Tensor], grads: Sequence[Tensor]) -> list[Any]:
    """Gradients that can be differentiated again: by autograd through the plain steps, with a graph of their own.

    It begins at views, since one tensor may have been made from another (h from C_out, a step before): we want each
    one's own share, and what flows on from there is not ours to add.
    """
    tensors = [x.view_as(x) for x in tensors]
    wanted, results = [x for x in tensors if x.requires_grad], span.run(resets, False, False, *tensors)[:3]
    found = iter(torch.autograd.grad(results, wanted, grads, create_graph=True, allow_unused=True))
    return [next(found) if x.requires_grad else None for x in tensors]


def mixed_precision(x: Tensor) -> bool:
    """Whether `torch.autocast` is on where x is. What is differentiated by hand cannot follow it."""
    return x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)
