"""Experiments on single modules of a RIM, during one span: cut out, frozen, always active, or deaf to the others.

`metarim_lite.lens` asks "what if, from step 30 on?": its `ModulesOff` and its like have a first step, and from there
on become the `Interventions` that a controller is handed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..config import as_whole
from ..errors import UserError
from .attention import choose_active


class Interventions(NamedTuple):
    """Experiments on single modules, given by index; hand them to `forward`, no surgery needed.

    off: a lesion, as if the module had been cut out. It is never active, no module reads it (its weight in
        communication is 0), its state is cleared and stays zero, so that the heads read zeros from it.
        The others compete for the k places; if fewer than k are left, all of them are active.
    frozen: the module competes as usual but neither h nor c changes, even where it wins. Others read the
        state it was frozen in. A reset still clears it.
    forced: always among the k active ones; the rest compete for the remaining places.
    deaf: it reads nothing from the others (its weights in communication are 0), and no message is added to its state.
    """

    off: tuple[int, ...] = ()
    frozen: tuple[int, ...] = ()
    forced: tuple[int, ...] = ()
    deaf: tuple[int, ...] = ()

    def check(self, num_modules: int, active: int) -> None:
        """Raises UserError for a module that does not exist, or forced modules that cannot all be active."""
        for kind, modules in self._asdict().items():
            listed = isinstance(modules, (tuple, list, set, frozenset, range))
            if not listed or any(as_whole(n) is None for n in modules):
                raise UserError(f"{kind}={modules!r} must be a tuple of whole numbers: write {kind}=(2,) for module 2")
            if missing := set(modules) - set(range(num_modules)):
                there = f"there are {num_modules} modules: use indices from 0 to {num_modules - 1}"
                raise UserError(f"{kind}={tuple(modules)} names module {min(missing)}, but {there}")
        off, forced = set(self.off), set(self.forced)
        if len(forced) > active:
            asked = f"forced={tuple(self.forced)} asks for {len(forced)} modules"
            raise UserError(f"{asked}, but only {active} are active at a step: force at most {active}")
        if len(off) == num_modules:
            raise UserError(f"off={tuple(self.off)} leaves no module at all: keep at least one")
        if off & forced:
            raise UserError(f"module {min(off & forced)} is both off and forced: choose one of the two")

    def masks(self, num_modules: int, active: int, like: Tensor) -> Masks:
        """These interventions as tensors of `like`'s device and type.

        Raises:
            UserError: see `check`.
        """
        self.check(num_modules, active)
        masks = Masks(like.new_zeros(num_modules, 1), *like.new_ones(3, num_modules, dtype=torch.bool))
        masks.rivalry[list(self.forced)], masks.rivalry[list(self.off)] = math.inf, -math.inf
        for modules, mask in ((self.off, masks.alive), (self.frozen, masks.thawed), (self.deaf, masks.hears)):
            mask[list(modules)] = False
        return masks


class Masks(NamedTuple):
    """Interventions as tensors, made once per span."""

    rivalry: Float[Tensor, "N 1"]  # +inf for forced modules, -inf for those switched off, else 0
    alive: Bool[Tensor, "N"]  # not switched off
    thawed: Bool[Tensor, "N"]  # not frozen
    hears: Bool[Tensor, "N"]  # not deaf

    def choose(self, eagerness: Float[Tensor, "N B"], k: int) -> Bool[Tensor, "N B"]:
        """Who is active: the k most eager, forced modules before all others, of those that are alive."""
        finite = eagerness.nan_to_num(torch.finfo(eagerness.dtype).min)  # so that rivalry lies beyond all of them
        return choose_active(torch.where(self.rivalry == 0, finite, self.rivalry), k) & self.alive.unsqueeze(-1)

    def thaw(self, chosen: Bool[Tensor, "N B"]) -> Bool[Tensor, "N B"]:
        """The chosen ones without those that are frozen."""
        return chosen & self.thawed.unsqueeze(-1)

    def silence(self, heard: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """What was heard [N,B,·], and with which weights [B,A,N,N]: nothing by those that are deaf.
        (No message comes of hearing zeros, whatever the output gate.)"""
        return torch.where(self.hears[:, None, None], heard, 0), torch.where(self.hears[:, None], weights, 0)
