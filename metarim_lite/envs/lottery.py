"""Which level a world plays in its e-th episode: a hash of (seed, world, e).

A world may also visit a task (a level id) for some episodes in a row. Then a hash of (seed, world, visit) draws a level
whose task it is, so that tasks come up as often as without visits, and the other hash one of that task's levels.

So a draw needs no generator and no memory, and depends neither on the device nor on the other worlds.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

_GOLDEN = 0x1E3779B97F4A7C15  # an odd number with irregular bits


def make_salt(seed: int, num_envs: int, device: torch.device, first: int = 0) -> Int[Tensor, "B"]:
    """What distinguishes the draws of each world."""
    key = _scramble(torch.full((num_envs,), seed, device=device) * _GOLDEN)
    return _scramble(key + torch.arange(first, first + num_envs, device=device))


def draw(salt: Int[Tensor, "m"], episode: Int[Tensor, "m"], count: int | Int[Tensor, "m"]) -> Int[Tensor, "m"]:
    """Which of `count` things each world's episode is about: a hash, so that it needs no generator and no memory."""
    return (_scramble(salt + episode * _GOLDEN) & 0x7FFFFFFFFFFFFFFF) % count


class Lottery(NamedTuple):
    """Draws levels of a bank.

    Example:
        >>> lottery = make_lottery(bank.task, visits=4)
        >>> levels = lottery.draw(salt, episode)
    """

    visits: int
    """Episodes of a visit."""
    task: Int[Tensor, "n"]
    """Which task each level is of."""
    by_task: Int[Tensor, "n"]
    """The levels, task by task."""
    first: Int[Tensor, "tasks"]
    """Where each task begins in `by_task`."""
    count: Int[Tensor, "tasks"]
    """How many levels each task has."""

    def draw(self, salt: Int[Tensor, "m"], episode: Int[Tensor, "m"]) -> Int[Tensor, "m"]:
        """The level of each world's episode (numbered from 0)."""
        if self.visits == 1:
            return draw(salt, episode, len(self.task))
        visit = episode.div(self.visits, rounding_mode="floor")
        task = self.task[draw(_scramble(salt), visit, len(self.task))]
        return self.by_task[self.first[task] + draw(salt, episode, self.count[task])]


def make_lottery(task: Int[Tensor, "n"], visits: int, device: torch.device) -> Lottery:
    """A lottery of the levels of these tasks, numbered from 0 on."""
    count = task.bincount()
    parts = (task, task.argsort(stable=True), count.cumsum(0) - count, count)
    return Lottery(visits, *(part.to(device) for part in parts))


def _scramble(z: Int[Tensor, "m"]) -> Int[Tensor, "m"]:
    """Mix the bits of numbers: a product modulo 2^64 between two shifts."""
    z = (z ^ (z >> 29)) * -4658895280553007687
    return z ^ (z >> 32)
