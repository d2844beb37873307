"""When are two levels the same? A number for each, that does not know the seed."""

from __future__ import annotations

import zlib

import torch
from jaxtyping import Int
from torch import Tensor

from .tables import PADDING

ROWS = 2048  # levels hashed at a time, to bound memory


def fingerprints(tables: dict[str, Tensor]) -> Int[Tensor, "n"]:
    """A number for each level of a bank's tables: equal where the levels are, and as good as surely only there.

    Levels are equal where everything in the tables is: grid and what lies in it, agent, mission, how it ends, step
    limit. How large the other levels of the bank are does not matter.

        fingerprint = Σ over entries e of  _mix(value of e − padding) · c(name of the table, place of e)   mod 2^64
    """
    n = len(tables["size"])
    total = torch.zeros(n, dtype=torch.int64)
    for name, table in tables.items():
        for rows in range(0, n, ROWS):
            part = table[rows : rows + ROWS].long() - PADDING.get(name, 0)
            total[rows : rows + ROWS] += (_mix(part) * _weights(name, part.shape[1:])).reshape(len(part), -1).sum(1)
    return total


def _weights(name: str, shape: torch.Size) -> Int[Tensor, "..."]:
    """An odd number for each place in a table, the same in tables of any width."""
    place = torch.full(shape, zlib.crc32(name.encode()), dtype=torch.int64)
    for axis, size in enumerate(shape):
        along = torch.arange(1, size + 1).view(-1, *[1] * (len(shape) - axis - 1))
        place = _mix(place + along)
    return _mix(place) | 1


def _mix(z: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
    """Scatter the bits of numbers, no two alike; 0 stays 0."""
    z = (
        z ^ (z >> 32 & 0xFFFFFFFF)
    ) * -4658895280553007687  # the mask: >> alone repeats the sign, and z and ~z would meet
    return z ^ (z >> 29 & 0x7FFFFFFFF)
