"""Moments that look the same: what no policy without a memory can tell apart."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def kinds(moments: Int[Tensor, "M F"]) -> Int[Tensor, "M"]:
    """A number for each moment, equal where all F numbers are."""
    return torch.unique(moments, dim=0, return_inverse=True)[1]


def aliased(
    views: Int[Tensor, "M 7 7 3"], missions: Int[Tensor, "M L"], actions: Int[Tensor, "M"]
) -> Bool[Tensor, "M M"]:
    """Which moments are aliased: the same view, the same mission, and another right action."""
    seen = kinds(torch.cat([views.flatten(1).long(), missions.long()], 1))
    return (seen[:, None] == seen[None]) & (actions[:, None] != actions[None])
