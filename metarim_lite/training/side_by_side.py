"""Worlds of several tasks in one batch, each task with its own fixed number of worlds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..envs import GridWorlds, Observation, Step


class SideBySide:
    """Several `GridWorlds` that step as one: the first worlds of the batch play the first bank, and so on.

    It offers what a `Player` needs. Each part keeps its number of worlds, so the share of a task in every batch is
    exact, however long its episodes are.

    Arguments:
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
            prefix = f"{n}."
            part.load_state_dict({k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)})


def _joined(records: Sequence[Any]) -> Any:
    """NamedTuples of tensors [b_1, …], [b_2, …], … as one of [b_1 + b_2 + …, …]."""
    columns = zip(*records, strict=True)
    return type(records[0])(*(torch.cat(c) if isinstance(c[0], Tensor) else _joined(c) for c in columns))
