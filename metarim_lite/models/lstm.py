"""The baseline: one LSTM behind the same interface as a RIM."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..errors import UserError
from .by_hand import ByHand, cleared, mixed_precision, walk
from .checks import check_arguments
from .controller import Controller, ControllerState, count_parameters
from .fused import sigmoid_backward, tanh_backward
from .interventions import Interventions
from .rim import RIM


class LSTM(Controller):
    """`nn.LSTM` with episodes: resets clear the state in the middle of a span.

    >>> lstm = LSTM(input_size=128, hidden_size=192)
    >>> outputs, state, _ = lstm(torch.randn(20, 8, 128))    # [T,B,D]
    >>> outputs.shape
    torch.Size([20, 8, 192])

    Args:
        input_size: D.  hidden_size: H.
        cell_clip: bound on the numbers in the cell, as of a RIM's modules; None: none.
        kernel: changes speed, not results. "fused": PyTorch's own kernel where no episode begins inside the
            span and the cell has no bound, else a loop differentiated by hand. "plain": autograd through that
            loop, which, unlike PyTorch's kernel on a CPU, can be differentiated twice, and, unlike ours, in batches
            (`is_grads_batched`); spans under `torch.autocast` are run so. "compiled": as "fused"; there is nothing
            left to compile.

    Raises:
        UserError: a size or bound that is not positive, an unknown kernel.
    """

    def __init__(
        self, input_size: int, hidden_size: int = 192, *, cell_clip: float | None = None, kernel: str = "fused"
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.output_size = input_size, hidden_size, hidden_size
        self.cell_clip, self.kernel = cell_clip, kernel
        check_arguments(self)
        self.state_sizes = (hidden_size,), (hidden_size,)
        self.lstm = nn.LSTM(self.input_size, self.hidden_size)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """All weights are "modules": an LSTM has no attention."""
        return {"modules": list(self.parameters()), "attention": []}

    def forward(
        self, inputs: Float[Tensor, "T B D"], state: ControllerState | None = None,
        resets: Bool[Tensor, "T B"] | None = None, *, interventions: Interventions | None = None, record: bool = True,
    ) -> tuple[Float[Tensor, "T B H"], ControllerState, None]:  # fmt: skip
        """Run a span: outputs, the state after it, and None (no diagnostics).

        Raises:
            UserError: interventions are given; an LSTM has no modules to intervene on. Inputs, state or resets that
                do not fit.
        """
        h, c = self.begin(inputs, state, resets)
        if interventions is not None and interventions != Interventions():
            raise UserError("interventions need modules, and an LSTM has none: use a RIM controller")
        # Under autocast, too: nn.LSTM fails there on CPUs that do not know half precision.
        plain = self.kernel == "plain" or torch._C._are_functorch_transforms_active() or mixed_precision(inputs)
        if not plain and self.cell_clip is None and not begins_inside(resets):
            h, c = (x.unsqueeze(0).contiguous() for x in cleared(h, c, resets, 0))
            outputs, (h, c) = self.lstm(inputs, (h, c))
            return outputs, ControllerState(h[0], c[0]), None
        weights = self.lstm
        driven = nn.functional.linear(inputs, weights.weight_ih_l0, weights.bias_ih_l0 + weights.bias_hh_l0)
        span, tensors = LSTMSpan(self.cell_clip), (h, c, driven, weights.weight_hh_l0.t())
        walked = span.run(resets, False, False, *tensors) if plain else ByHand.run(span, resets, False, *tensors)
        outputs, h, c, *_ = walked
        return outputs, ControllerState(h, c), None


def begins_inside(resets: Tensor | None) -> bool:
    """Whether an episode may begin after step 0. On an accelerator we do not wait for the answer: yes."""
    if resets is None or len(resets) == 1:
        return False
    return resets.device.type != "cpu" or bool(resets[1:].any())


class LSTMSpan(NamedTuple):
    """The LSTM's equations, step by step, and the way back: see `ByHand`. h, c [B,H]; driven [T,B,4H], gates from the
    input; W [H,4H]."""

    cell_clip: float | None

    def run(
        self, resets: Tensor | None, keep: bool, record: bool, h: Tensor, c: Tensor, driven: Tensor, W: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, list[Tensor], tuple]:
        H = h.shape[-1]

        def step(h: Tensor, c: Tensor, driven: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
            z = torch.addmm(driven, h, W)  # [B,4H], PyTorch's order i, f, g, o
            i_f, g, o = z[:, : 2 * H].sigmoid(), z[:, 2 * H : 3 * H].tanh(), z[:, 3 * H :].sigmoid()
            i, f = i_f.split(H, -1)
            new_c = f * c + i * g
            if self.cell_clip is not None:
                new_c = new_c.clamp(-self.cell_clip, self.cell_clip)
            tanh_c = new_c.tanh()
            return o * tanh_c, new_c, (h, c, i, f, g, o, tanh_c)

        trail, h, c, kept = walk(step, h, c, (driven,), resets, keep)
        return torch.stack(trail), h, c, [x for step in kept for x in step], ()

    def backward(
        self, resets: Tensor | None, tensors: list[Tensor], kept: list[Tensor], douts: Tensor, dh: Tensor, dc: Tensor
    ) -> tuple[Tensor, ...]:
        _, _, driven, W = tensors
        ddriven, W_T = torch.empty_like(driven), W.t().contiguous()
        for t in reversed(range(len(driven))):
            c, i, f, g, o, tanh_c = kept[7 * t + 1 : 7 * t + 7]
            dh = dh + douts[t]
            dc = dc + tanh_backward(dh * o, tanh_c)
            if self.cell_clip is not None:
                dc = dc * ((f * c + i * g).abs() <= self.cell_clip)
            di, df = sigmoid_backward(dc * g, i), sigmoid_backward(dc * c, f)
            dg, do = tanh_backward(dc * i, g), sigmoid_backward(dh * tanh_c, o)
            torch.cat((di, df, dg, do), -1, out=ddriven[t])
            dh, dc = ddriven[t] @ W_T, dc * f
            dh, dc = cleared(dh, dc, resets, t)
        h = torch.stack(kept[::7])  # [T,B,H]
        return dh, dc, ddriven, h.flatten(0, 1).t() @ ddriven.flatten(0, 1)


def matched_lstm_size(input_size: int, *args: Any, **sizes: Any) -> int:
    """The hidden size of the LSTM whose parameter count is nearest to that of `RIM(input_size, ...)`.

    Takes the arguments of `RIM`. An LSTM of size H on inputs of size D has 4H(D + H + 2) parameters.
    """
    with torch.device("meta"):
        wanted = count_parameters(RIM(input_size, *args, **sizes))
    root = (math.sqrt((input_size + 2) ** 2 + wanted) - (input_size + 2)) / 2
    candidates = (max(1, math.floor(root)), max(1, math.ceil(root)))
    return min(candidates, key=lambda h: abs(4 * h * (input_size + h + 2) - wanted))
