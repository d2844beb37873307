"""What every controller hands around: its state, its diagnostics, and interventions on its modules.

Agent, training and lens hold "a controller" and never ask which: an `LSTM` and a `RIM` take
`(inputs [T,B,D], state, resets [T,B])` and return `(outputs [T,B,output_size], state, diagnostics)`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import UserError


class ControllerState(NamedTuple):
    """What a controller remembers between spans. The batch is always the first axis.

    LSTM: h, c [B,H].  RIM: h, c [B,N,H]; with GRU modules c is [B,N,0], since a GRU has no cell state.
    """

    h: Tensor
    c: Tensor


class Diagnostics(NamedTuple):
    """What a RIM did at every step, detached from the graph.

    active: bool [T,B,N], the k modules that won the competition for the input.
    input_attention: [T,B,N], each module's weight on the real input (all elements together, mean over
        heads); the rest lies on null, unless the modules share out elements. Inactive modules have one too: it is
        what made them lose.
    communication: [T,B,A,N,N], weight of reader (second last axis) on the module it reads (last axis);
        rows of modules that did not read are zero.
    """

    active: Tensor
    input_attention: Tensor
    communication: Tensor


class Interventions(NamedTuple):
    """Experiments on single modules, given by index; hand them to `forward`, no surgery needed.

    off: a lesion, as if the module had been cut out. It is never active, no module reads it (its weight in
        communication is 0), its state is cleared and stays zero, so that the heads read zeros from it.
        The others compete for the k places; if fewer than k are left, all of them are active.
    frozen: the module competes as usual but neither h nor c changes, even where it wins. Others read the
        state it was frozen in. A reset still clears it.
    forced: always among the k active ones; the rest compete for the remaining places.
    """

    off: tuple[int, ...] = ()
    frozen: tuple[int, ...] = ()
    forced: tuple[int, ...] = ()

    def check(self, num_modules: int, active: int) -> None:
        """Raises UserError for a module that does not exist, or forced modules that cannot all be active."""
        for kind, modules in self._asdict().items():
            if not isinstance(modules, (tuple, list, set, frozenset, range)):
                raise UserError(f"{kind}={modules!r} must be a tuple of module indices: write {kind}=(2,) for module 2")
            for n in modules:
                if isinstance(n, bool) or not isinstance(n, Integral):
                    raise UserError(f"{kind}={modules!r} holds {n!r}; a module is named by its index, a whole number")
                if not 0 <= n < num_modules:
                    raise UserError(
                        f"{kind}={tuple(modules)} names module {n}, but there are {num_modules} modules: "
                        f"use indices from 0 to {num_modules - 1}"
                    )
        if len(set(self.forced)) > active:
            raise UserError(
                f"forced={tuple(self.forced)} asks for {len(set(self.forced))} modules, but only {active} "
                f"are active at a step: force at most {active}"
            )
        if len(set(self.off)) == num_modules:
            raise UserError(f"off={tuple(self.off)} leaves no module at all: keep at least one")
        both = sorted(set(self.off) & set(self.forced))
        if both:
            raise UserError(f"module {both[0]} is both off and forced: choose one of the two")

    def masks(self, num_modules: int, active: int, like: Tensor) -> Masks:
        """These interventions as tensors of `like`'s device and type; `NO_MASKS` if there are none.

        Raises:
            UserError: see `check`.
        """
        if self == Interventions():
            return NO_MASKS
        self.check(num_modules, active)
        rivalry = like.new_zeros(num_modules, 1)
        rivalry[list(self.forced)], rivalry[list(self.off)] = math.inf, -math.inf
        alive = rivalry[:, 0] != -math.inf
        thawed = torch.ones_like(alive)
        thawed[list(self.frozen)] = False
        return Masks(rivalry, alive, thawed)


class Masks(NamedTuple):
    """Interventions as tensors, made once per span. None where nobody intervenes."""

    rivalry: Tensor | None  # [N,1]: +inf for forced modules, -inf for those switched off, else 0
    alive: Tensor | None  # bool [N]: not switched off
    thawed: Tensor | None  # bool [N]: not frozen


NO_MASKS = Masks(None, None, None)


def count_parameters(module: nn.Module) -> int:
    """How many numbers a module learns."""
    return sum(p.numel() for p in module.parameters())


def check_sizes(**sizes: int) -> None:
    """Raises UserError unless every size is a positive whole number."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size <= 0:
            raise UserError(f"{name}={size!r} must be a positive whole number: use 1 or more")


def check_bound(cell_clip: float | None) -> None:
    """Raises UserError unless it is None or a number above 0."""
    if cell_clip is not None and not _above_0(cell_clip):
        raise UserError(f"cell_clip={cell_clip!r} must be a number above 0, or None for cells without a bound")


def check_scale(message_scale: float) -> None:
    """Raises UserError unless it is a number above 0."""
    if not _above_0(message_scale):
        raise UserError(f"message_scale={message_scale!r} must be a number above 0: 1 is the usual spread")


def _above_0(x: Any) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool) and 0 < x < math.inf


def mixed_precision(x: Tensor) -> bool:
    """Whether `torch.autocast` is on where x is. What is differentiated by hand cannot follow it."""
    return x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)


def check_span(
    inputs: Tensor,
    state: ControllerState | None,
    resets: Tensor | None,
    like: Tensor,
    input_size: int,
    sizes: tuple[tuple[int, ...], tuple[int, ...]],
    dims: tuple[int, ...] = (3,),
) -> None:
    """Refuses what is no span: inputs are [T,B,(E,)input_size] of a parameter's type, resets [T,B], h and c [B,*sizes].

    Raises:
        UserError: naming what is wrong.
    """
    if (
        not isinstance(inputs, Tensor)
        or inputs.dim() not in dims
        or inputs.shape[-1] != input_size
        or 0 in inputs.shape
    ):
        wanted = " or ".join("[T,B,E,D]" if d == 4 else "[T,B,D]" for d in dims)
        got = f"have shape {list(inputs.shape)}" if hasattr(inputs, "shape") else f"are {inputs!r}"
        raise UserError(
            f"inputs {got}, expected a tensor {wanted} with D={input_size} and no axis of length 0: time comes first, "
            "batch second"
        )
    if inputs.dtype != like.dtype and not mixed_precision(inputs):
        raise UserError(
            f"inputs are {inputs.dtype}, the controller's parameters {like.dtype}: convert one of them with .to(...)"
        )
    if inputs.device != like.device:
        raise UserError(
            f"inputs are on {inputs.device}, the controller on {like.device}: move one of them with .to(...)"
        )
    if resets is not None and not is_tensor_of(resets, inputs.shape[:2], (torch.bool,), inputs.device):
        raise UserError(
            f"resets are {described(resets)}, expected torch.bool {list(inputs.shape[:2])} on {inputs.device}: one "
            "flag per step and sequence"
        )
    if state is not None:
        wanted = [[inputs.shape[1], *size] for size in sizes]
        parts = list(state) if isinstance(state, tuple) else [state]
        types = (inputs.dtype, like.dtype)
        if len(parts) != 2 or not all(
            is_tensor_of(x, shape, types, inputs.device) for x, shape in zip(parts, wanted, strict=True)
        ):
            raise UserError(
                f"the state is {', '.join(map(described, parts))}; expected h and c of {like.dtype} {wanted} on "
                f"{inputs.device}: hand on the state of a span of as many sequences, or None for the cleared one"
            )


def is_tensor_of(x: Any, shape: Sequence[int], dtypes: tuple[torch.dtype, ...], device: torch.device) -> bool:
    """Whether x is a tensor of this shape and one of these types, on this device."""
    return isinstance(x, Tensor) and list(x.shape) == list(shape) and x.dtype in dtypes and x.device == device


def described(x: Any) -> str:
    """A tensor's type, shape and device, for a message; the type of anything else."""
    return f"{x.dtype} {list(x.shape)} on {x.device}" if isinstance(x, Tensor) else type(x).__name__
