"""Which level a world plays in its e-th episode: a hash of (seed, world, e).

So a draw needs no generator and no memory, and depends neither on the device nor on the other worlds.
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

_GOLDEN = 0x1E3779B97F4A7C15  # an odd number with irregular bits


def make_salt(seed: int, num_envs: int, device: torch.device, first: int = 0) -> Int[Tensor, "B"]:
    """What distinguishes the draws of each world."""
    key = _scramble(torch.full((num_envs,), seed, device=device) * _GOLDEN)
    return _scramble(key + torch.arange(first, first + num_envs, device=device))


def draw(salt: Int[Tensor, "m"], episode: Int[Tensor, "m"], count: int) -> Int[Tensor, "m"]:
    """Which of `count` things each world's episode is about: a hash, so that it needs no generator and no memory."""
    return (_scramble(salt + episode * _GOLDEN) & 0x7FFFFFFFFFFFFFFF) % count


def _scramble(z: Int[Tensor, "m"]) -> Int[Tensor, "m"]:
    """Mix the bits of numbers: a product modulo 2^64 between two shifts."""
    z = (z ^ (z >> 29)) * -4658895280553007687
    return z ^ (z >> 32)
