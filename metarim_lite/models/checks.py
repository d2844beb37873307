"""What is refused, and how it is said: one sentence that names the value, what was expected and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..config import Bounds, checked
from ..errors import UserError
from .by_hand import mixed_precision

SWITCHES = {
    "cell": ("lstm", "gru"),
    "inactive_offer": ("old", "candidate"),
    "output_gate": ("none", "gated", "bounded"),
    "softmax_over": ("null", "modules"),
    "kernel": ("plain", "fused", "compiled"),
}
SIZES = (
    "input_size", "hidden_size", "num_modules", "active", "key_size", "value_size", "input_heads", "comm_key_size",
    "comm_value_size", "comm_heads",
)  # fmt: skip
BOUNDS = {
    **{name: (int, Bounds(at_least=1)) for name in SIZES},
    "message_scale": (float, Bounds(above=0)),
    "cell_clip": (float | None, Bounds(above=0)),  # None: cells without a bound
    **{name: (str, Bounds(one_of=known)) for name, known in SWITCHES.items()},
}
"""Of the arguments of controllers: what kind each is of, and within which bounds."""


def check_arguments(controller: Any) -> None:
    """Sizes, switches and bounds of a controller, which are its attributes, are what they may be, and Python's own.

    Raises:
        UserError: naming the first that is not.
    """
    given = {name: value for name, value in vars(controller).items() if name in BOUNDS}
    for name, value in given.items():
        kind, bounds = BOUNDS[name]
        setattr(controller, name, checked(f"{type(controller).__name__}.{name}", kind, value, bounds))
    if "active" in given:
        check_active(given["active"], given["num_modules"])
    clip, cell = given["cell_clip"], given.get("cell", "lstm")
    if clip is not None and cell != "lstm":
        raise UserError(f"cell_clip={clip!r} bounds the cells of LSTM modules; with cell={cell!r} use None")


def check_active(k: int, N: int) -> None:
    """Raises UserError where more modules would be active than there are."""
    if k > N:
        raise UserError(f"active={k} is more than num_modules={N}: choose k between 1 and {N}")


def check_span(controller: Any, inputs: Tensor, state: Any, resets: Tensor | None) -> None:
    """Refuses what is no span of a controller: inputs are [T,B,(E,)D] of its parameters' type, resets [T,B], h and c of
    its state's sizes, batch first.

    Raises:
        UserError: naming what is wrong.
    """
    like, D, dims = next(controller.parameters()), controller.input_size, controller.input_dims
    is_span = isinstance(inputs, Tensor) and inputs.dim() in dims and inputs.shape[-1] == D
    fits = is_span and 0 not in inputs.shape and inputs.device == like.device
    if not fits or (inputs.dtype != like.dtype and not mixed_precision(inputs)):
        wanted = " or ".join("[T,B,E,D]" if d == 4 else "[T,B,D]" for d in dims)
        wanted = f"expected a tensor {wanted} with D={D} and no axis of length 0, like the controller's parameters"
        told = f"inputs are {described(inputs)}, {wanted} {like.dtype} on {like.device}"
        raise UserError(f"{told}: time comes first, batch second")
    (T, B), device = inputs.shape[:2], inputs.device
    if resets is not None and not is_tensor_of(resets, (T, B), (torch.bool,), device):
        wanted = f"torch.bool [{T}, {B}] on {device}: one flag per step and sequence"
        raise UserError(f"resets are {described(resets)}, expected {wanted}")
    parts = list(state) if isinstance(state, tuple) else [state]
    wanted = [[B, *size] for size in controller.state_sizes]
    fit = [is_tensor_of(x, shape, (inputs.dtype, like.dtype), device) for x, shape in zip(parts, wanted, strict=False)]
    if state is not None and not (len(parts) == 2 and all(fit)):
        told = f"the state is {', '.join(map(described, parts))}; expected h and c of {like.dtype} {wanted} on {device}"
        raise UserError(f"{told}: hand on the state of a span of as many sequences, or None for the cleared one")


def is_tensor_of(x: Any, shape: Sequence[int], dtypes: tuple[torch.dtype, ...], device: torch.device) -> bool:
    """Whether x is a tensor of this shape and one of these types, on this device."""
    return isinstance(x, Tensor) and list(x.shape) == list(shape) and x.dtype in dtypes and x.device == device


def described(x: Any) -> str:
    """A tensor's type, shape and device, for a message; the type of anything else."""
    return f"{x.dtype} {list(x.shape)} on {x.device}" if isinstance(x, Tensor) else type(x).__name__
