"""Worlds of several tasks in one batch, each task with its own fixed number of worlds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..envs import GridWorlds, LevelBank, Observation, Step
from ..errors import UserError
from ..processes import share_of
from ..runs.checkpoints import part_of


def cut_into_tasks(bank: LevelBank, tasks: int) -> list[LevelBank]:
    """A bank for each task: one per level id if there are several, else `tasks` blocks of equal size.

    The blocks are ours: levels are put in order of their missions ("go to a blue box", "go to a blue key", …) and
    cut, so that a task asks for like things. Where all missions are the same, a task is just a group of rooms.

    Raises:
        UserError: there are fewer levels than tasks, or a level id without levels.
    """
    if len(bank.level_ids) == 1:
        kind = torch.unique(bank.tables["mission"], dim=0, return_inverse=True)[1]  # in dictionary order of tokens
        rows = kind.argsort(stable=True).tensor_split(tasks)
    else:
        rows = [(bank.task == i).nonzero()[:, 0] for i in range(len(bank.level_ids))]
    if min(map(len, rows)) == 0:
        raise UserError(f"{bank!r} leaves one of {len(rows)} tasks without levels; use more levels or fewer tasks")
    return [bank.select(r) for r in rows]


def task_worlds(bank: LevelBank, tasks: int, num_envs: int, device: Any, seed: int, visits: int = 1) -> SideBySide:
    """As many worlds for each task, side by side, so that a world stays in its task. Of several processes each holds
    its share of the tasks. There `visits` says only when memory is cleared: a world has but one task to visit.

    Raises:
        UserError: worlds or tasks cannot be shared out equally (or see `cut_into_tasks`).
    """
    banks = cut_into_tasks(bank, tasks)
    if num_envs % len(banks):
        raise UserError(f"{num_envs} worlds cannot be shared by {len(banks)} tasks equally; use a multiple")
    share = num_envs // len(banks)
    mine = share_of(len(banks), "tasks")
    parts = [GridWorlds(banks[i], share, device, seed * len(banks) + i, visits=visits) for i in mine]
    return SideBySide(parts, bank.step_limit)


class SideBySide:
    """Several `GridWorlds` that step as one: the first worlds of the batch play the first bank, and so on.

    It offers what a `Player` needs. Each part keeps its number of worlds, so the share of a task in every batch is
    exact, however long its episodes are.

    Args:
        step_limit: the longest of all, where these parts are some of many.
    """

    def __init__(self, parts: Sequence[GridWorlds], step_limit: int | None = None) -> None:
        self.parts = list(parts)
        self.sizes = [part.num_envs for part in parts]
        self.num_envs, self.device = sum(self.sizes), parts[0].device
        self.bank = max((part.bank for part in parts), key=lambda bank: bank.max_mission_length)
        """The bank with the longest missions: a Player asks it how many tokens to keep."""
        self.step_limit = step_limit or max(part.step_limit for part in parts)

    def reset(self) -> Observation:
        return _joined([part.reset() for part in self.parts])

    def step(self, actions: Tensor) -> Step:
        pairs = zip(self.parts, actions.split(self.sizes), strict=True)
        return _joined([part.step(chosen) for part, chosen in pairs])

    @property
    def mission_kind(self) -> Tensor:
        return torch.cat([part.mission_kind for part in self.parts])

    @property
    def visit_begins(self) -> Tensor:
        return torch.cat([part.visit_begins for part in self.parts])

    def state_dict(self) -> dict[str, Tensor]:
        return {f"{n}.{k}": v for n, part in enumerate(self.parts) for k, v in part.state_dict().items()}

    def load_state_dict(self, saved: dict[str, Tensor]) -> None:
        for n, part in enumerate(self.parts):
            part.load_state_dict(part_of(saved, f"{n}."))


def _joined(records: Sequence[Any]) -> Any:
    """NamedTuples of tensors [b_1, …], [b_2, …], … as one of [b_1 + b_2 + …, …]."""
    columns = zip(*records, strict=True)
    return type(records[0])(*(torch.cat(c) if isinstance(c[0], Tensor) else _joined(c) for c in columns))
