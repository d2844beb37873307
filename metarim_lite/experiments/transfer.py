"""From easy to hard: an agent on levels that it was never trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..config import whole_number
from ..training.banks import held_out_bank
from ..training.evaluation import Evaluation, evaluate
from .stages import check_tasks

GO_TO_LADDER = (
    "BabyAI-GoToObj-v0",
    "BabyAI-GoToLocalS8N2-v0",
    "BabyAI-GoToLocal-v0",
    "BabyAI-GoToObjMazeS4R2-v0",
    "BabyAI-GoToObjMazeS4-v0",
    "BabyAI-GoToObjMaze-v0",
)
"""One family from easy to hard: one object, one distractor, many distractors; mazes, small and large."""


def transfer(
    agent: Any,
    levels: Sequence[str] = GO_TO_LADDER,
    episodes: int = 500,
    *,
    seed: int = 0,
    train_levels: Mapping[str, int] | None = None,
    progress: bool = False,
) -> dict[str, Evaluation]:
    """Play held-out levels of each id, without any training (zero-shot).

    Args:
        agent: an `Agent`.
        levels: level ids, say from easy to hard; the first may be the one it was trained on, for comparison.
        episodes: levels played of each id, once each.
        seed: seeds the agent's dice.
        train_levels: level id -> how many of its levels (seeds 0, 1, …) the agent was trained on, for ids that it was
            trained on; levels identical to one of these are left out (see training/banks.py).
        progress: show bars while levels are generated.

    Raises:
        UserError: no levels, one named twice, an unknown one, or no episodes.
    """
    check_tasks(levels)
    trained, episodes = train_levels or {}, whole_number("episodes", episodes)
    banks = [held_out_bank((level,), max(1, episodes), trained.get(level, 0), progress) for level in levels]
    return {
        level: evaluate(agent, bank, min(episodes, len(bank)), seed=seed)
        for level, bank in zip(levels, banks, strict=True)
    }


def transfer_table(results: dict[str, Evaluation]) -> str:
    """Success, reward and length on each level with 95 % intervals, in Markdown."""
    lines = ["| level | success | reward | steps | episodes |", "|---|---|---|---|---|"]
    for level, e in results.items():
        length = f"{e.length.value:.1f} [{e.length.low:.1f}, {e.length.high:.1f}]"
        level += f" ({e.note})" if e.note else ""
        lines.append(f"| {level} | {e.success} | {e.reward} | {length} | {e.episodes} |")
    return "\n".join(lines)
