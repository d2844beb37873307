"""Levels to learn from and levels to be judged on.

Training levels have seeds from 0 on, held-out levels from HELD_OUT_SEEDS on. But another seed may give the same level:
small rooms with one object come in a few hundred forms. So held-out levels that are identical to a training level are
passed over. Where too many are, all stay as they come, and the share of them goes with the figure. Held-out levels
identical to each other stay in any case: so often do they come up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ..config import whole_number
from ..envs import LevelBank
from ..errors import UserError

HELD_OUT_SEEDS = 1_000_000  # held-out levels have seeds from here on, training levels from 0 on
LOOK = 4  # times as many seeds as levels are wanted may be looked at


def make_bank(levels: Sequence[str], seeds: range, progress: bool = False) -> LevelBank:
    """One bank of these levels, each with these seeds."""
    if not levels:
        raise UserError("no level to train on; name at least one, such as BabyAI-GoToLocal-v0")
    return LevelBank.concat([LevelBank.generate(level, seeds=seeds, progress=progress) for level in levels])


def held_out_bank(
    levels: Sequence[str], count: int, train_levels: int | LevelBank = 0, progress: bool = False
) -> LevelBank:
    """`count` levels of each id to be judged on, one id after the other, in the order of their seeds.

    They are the first that training does not have. Where LOOK times as many seeds give too few of these, they are the
    first as they come, and the bank's `seen` says which of them training had.

    Args:
        count: at least 1; the few seeds with which minigrid never finishes a level are missing.
        train_levels: what the agent was trained on: so many seeds, from 0 on, of each of these ids, or a bank; 0: none
            of these ids, so that nothing is compared and `seen` stays None.

    Raises:
        UserError: no level ids, unknown ones, no levels.
    """
    count = whole_number("count", count)
    if not isinstance(train_levels, LevelBank):
        train_levels = whole_number("train_levels", train_levels)
        if not train_levels:
            return make_bank(levels, range(HELD_OUT_SEEDS, HELD_OUT_SEEDS + count), progress)
        train_levels = make_bank(levels, range(train_levels), progress)
    known = train_levels.fingerprints().unique()
    return LevelBank.concat([_new_levels(level, count, known, progress) for level in levels])


def _new_levels(level: str, count: int, known: torch.Tensor, progress: bool) -> LevelBank:
    begin, end = HELD_OUT_SEEDS, HELD_OUT_SEEDS + LOOK * count
    bank = first = mark_seen(make_bank((level,), range(begin, begin + count), progress), known)
    begin, count = begin + count, len(first)
    if int((~first.seen).sum()) * LOOK < count:  # hopeless: do not make the others
        return first
    while (missing := count - int((~bank.seen).sum())) > 0 and begin < end:
        more = range(begin, min(begin + 2 * missing, end))
        bank = LevelBank.concat([bank, mark_seen(make_bank((level,), more, progress), known)])
        begin = more.stop
    return first if missing > 0 else bank.select((~bank.seen).nonzero()[:count, 0])


def mark_seen(bank: LevelBank, known: torch.Tensor) -> LevelBank:
    """The bank, knowing which of its levels have one of these fingerprints (int64 [m])."""
    return replace(bank, seen=torch.isin(bank.fingerprints(), known))
