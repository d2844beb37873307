"""Which level a world plays in its e-th episode: a hash of (seed, world, e).

A world may also visit a task (a level id) for some episodes in a row. Then a hash of (seed, world, visit) draws a level
whose task it is, so that tasks come up as often as without visits, and the other hash one of that task's levels.

So a draw needs no generator and no memory, and depends neither on the device nor on the other worlds.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    """Draws levels for B worlds, each from a range of its own.

    Example:
        >>> lottery = make_lottery([bank.task], [make_salt(seed, B, device)], visits=4)
        >>> levels = lottery.draw(torch.arange(B), episode)
    """

    worlds: Int[Tensor, "3 B"]
    """Of each world its salt, the first of its levels, and how many are its own."""
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

    def draw(self, rows: Int[Tensor, "m"] | slice, episode: Int[Tensor, "m"]) -> Int[Tensor, "m"]:
        """The level of the episode (numbered from 0) of each of these worlds."""
        salt, begin, own = self.worlds[:, rows].unbind(0)
        if self.visits == 1:
            return begin + draw(salt, episode, own)
        visit = episode.div(self.visits, rounding_mode="floor")
        task = self.task[begin + draw(_scramble(salt), visit, own)]
        return self.by_task[self.first[task] + draw(salt, episode, self.count[task])]


def make_lottery(tasks: Sequence[Int[Tensor, "n"]], salts: Sequence[Int[Tensor, "B"]], visits: int) -> Lottery:
    """A lottery of several banks, whose levels are numbered on: the first worlds draw from the first bank, and so on.

    Args:
        tasks: of the levels of each bank, numbered from 0 on.
        salts: of the worlds that draw from each bank.
    """
    worlds, renumbered, levels, seen = [], [], 0, 0
    for task, salt in zip(tasks, salts, strict=True):
        worlds.append(torch.stack([salt, torch.full_like(salt, levels), torch.full_like(salt, len(task))]))
        renumbered.append(task + seen)
        levels, seen = levels + len(task), seen + int(task.max()) + 1
    task = torch.cat(renumbered)
    count = task.bincount()
    parts = (task, task.argsort(stable=True), count.cumsum(0) - count, count)
    return Lottery(torch.cat(worlds, 1), visits, *(part.to(worlds[0].device) for part in parts))


def _scramble(z: Int[Tensor, "m"]) -> Int[Tensor, "m"]:
    """Mix the bits of numbers: a product modulo 2^64 between two shifts."""
    z = (z ^ (z >> 29)) * -4658895280553007687
    return z ^ (z >> 32)
