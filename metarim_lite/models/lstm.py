"""The baseline: one LSTM behind the same interface as a RIM."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import UserError
from .controller import ControllerState, Interventions, check_sizes, check_span


class LSTM(nn.Module):
    """`nn.LSTM` with episodes: resets clear the state in the middle of a span.

    >>> lstm = LSTM(input_size=128, hidden_size=192)
    >>> outputs, state, _ = lstm(torch.randn(20, 8, 128))    # [T,B,D]
    >>> outputs.shape
    torch.Size([20, 8, 192])

    Raises:
        UserError: a size that is not positive.
    """

    def __init__(self, input_size: int, hidden_size: int = 192):
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size, self.output_size = input_size, hidden_size, hidden_size
        self.lstm = nn.LSTM(input_size, hidden_size)

    def initial_state(
        self, batch: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> ControllerState:
        """The cleared state: h and c [B,H] of zeros."""
        weight = self.lstm.weight_hh_l0
        zeros = torch.zeros(batch, self.hidden_size, device=device or weight.device, dtype=dtype or weight.dtype)
        return ControllerState(zeros, zeros.clone())

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """All weights are "modules": an LSTM has no attention."""
        return {"modules": list(self.parameters()), "attention": []}

    def forward(
        self,
        inputs: Tensor,
        state: ControllerState | None = None,
        resets: Tensor | None = None,
        *,
        interventions: Interventions | None = None,
        record: bool = True,
    ) -> tuple[Tensor, ControllerState, None]:
        """Run a span: inputs [T,B,D], resets bool [T,B] -> outputs [T,B,H], state, None (no diagnostics).

        Raises:
            UserError: interventions are given; an LSTM has no modules to intervene on.
        """
        check_span(inputs, resets, self.input_size, dims=(3,))
        if interventions is not None and interventions != Interventions():
            raise UserError("interventions need modules, and an LSTM has none: use a RIM controller")
        h, c = self.initial_state(inputs.shape[1], inputs.device, inputs.dtype) if state is None else state
        if resets is None:
            outputs, (h, c) = self.lstm(inputs, (h.unsqueeze(0), c.unsqueeze(0)))
            return outputs, ControllerState(h[0], c[0]), None
        # The fused kernel runs from one reset to the next.
        begins = [0] + [t for t in range(1, len(inputs)) if resets[t].any()]
        pieces = []
        for start, stop in zip(begins, begins[1:] + [len(inputs)], strict=True):
            keep = resets[start].logical_not().unsqueeze(-1)  # [B,1]
            out, (h, c) = self.lstm(inputs[start:stop], ((h * keep).unsqueeze(0), (c * keep).unsqueeze(0)))
            h, c = h[0], c[0]
            pieces.append(out)
        return torch.cat(pieces), ControllerState(h, c), None
