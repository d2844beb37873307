"""Success while training, without favour to short episodes.

Worlds begin together, and whoever succeeds ends early. So of the episodes that *end* in a stretch of time too many are
short ones, and successful: an agent that has learnt nothing seems to solve all it tries. Here episodes count by when
they *began*. Let M be the longest step limit of the levels. Once M steps have passed since a step, every episode that
began at it has ended, whatever became of it; only then do they all count, at once. So which episodes a report is about
was settled when they began, and chance may not choose. The price is that reports are M steps late.

(Of B worlds, those with short episodes begin more of them. This does no harm: whether a world begins another one is
known before that one is played, so by Wald's identity E[successes] = E[episodes] · P(success).)
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..envs.missions import MISSION_KINDS

SUMS = ("count", "success", "reward", "length")
UNIT = 2**24  # rewards are summed as whole numbers of 1/2^24, which add up to the same in any order, on a GPU too


class Counter:
    """Sums over the episodes of B worlds, kept until all that began at the same step have ended.

    Attributes:
        length: int64 [B], steps that each world's episode has lasted so far.
        waiting: int64 [M, kinds, sums]: row i is about the episodes that began M - 1 - i steps ago.

    Args:
        step_limit: M, steps after which any episode is over.
    """

    def __init__(self, num_envs: int, step_limit: int, device: torch.device) -> None:
        self.length = torch.zeros(num_envs, dtype=torch.int64, device=device)
        self.waiting = torch.zeros(step_limit, len(MISSION_KINDS), len(SUMS), dtype=torch.int64, device=device)

    def add(
        self, dones: Bool[Tensor, "T B"], success: Bool[Tensor, "T B"], rewards: Float[Tensor, "T B"],
        kinds: Int[Tensor, "T B"],
    ) -> dict[str, Tensor]:  # fmt: skip
        """What happened in the next T steps; returns sums over the episodes that began M or more steps ago.

        Args:
            rewards: of an episode that of its last step counts; in these worlds all others are 0.
            kinds: number of each world's mission in MISSION_KINDS, before the step.

        Returns:
            count, success, reward, length; count/KIND and success/KIND of missions (0-dim tensors).
        """
        T, M = dones.shape[0], len(self.waiting)
        now = torch.arange(1, T + 1, device=dones.device).unsqueeze(1)  # (T, 1): steps played after step t
        ended = torch.where(dones, now, -self.length).cummax(0).values  # (T, B): when the world's last episode ended
        before = torch.cat([-self.length.unsqueeze(0), ended[:-1]])  # (T, B): the same, before step t
        length = now - before
        table = torch.cat([self.waiting, self.waiting.new_zeros(T, *self.waiting.shape[1:])])  # (M+T, kinds, sums)
        row = (before + M - 1) * len(MISSION_KINDS) + kinds  # an episode that began i steps from now is row i + M - 1
        numbers = (torch.ones_like(length), success, (rewards * UNIT).round(), length)
        for column, x in enumerate(numbers):
            flat = (row * len(SUMS) + column).flatten()
            table.view(-1).index_add_(0, flat, (x * dones).long().flatten())
        self.length, self.waiting = T - ended[-1], table[T:].clone()
        return _named(table[:T].sum(0))


def _named(sums: Int[Tensor, "kinds sums"]) -> dict[str, Tensor]:
    found = dict(zip(SUMS, sums.sum(0).unbind(), strict=True))
    found["reward"] = found["reward"].float() / UNIT
    for name in ("count", "success"):
        of_kind = sums[:, SUMS.index(name)].unbind()
        found |= {f"{name}/{kind}": x for kind, x in zip(MISSION_KINDS, of_kind, strict=True)}
    return found


def per_episode(sums: dict[str, Tensor]) -> dict[str, float]:
    """From sums, as `Counter.add` returns them: episodes, and the mean of the rest where there are some; for all
    missions together, then for each kind.
    """
    found: dict[str, float] = {"episodes": 0}
    for name, total in sums.items():
        what, _, kind = name.partition("/")
        of_kind = f"/{kind}" if kind else ""
        if count := int(sums["count" + of_kind]):
            found |= {"episodes" + of_kind: count} if what == "count" else {name: float(total) / count}
    return found
