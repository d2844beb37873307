"""What each level is like, looked up in levels that minigrid makes; and where minigrid surprises.

python tests/level_facts.py          # the tables that metarim_lite/envs/LEVELS.md ends with
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

from metarim_lite.envs import LevelBank, make_minigrid, supported
from metarim_lite.envs.generation import REFUSED, generate_levels
from metarim_lite.envs.missions import KINDS

LEVELS = Path(__file__).parents[1] / "metarim_lite" / "envs" / "LEVELS.md"
RULES = (
    "reach the goal",
    "done beside",
    "put near",
    "reach the match",
    "red, then blue door",
)  # see missions.NO_RULE ...


class LevelFacts(NamedTuple):
    """One row of the table of levels."""

    level: str
    size: str  # width x height in cells
    rooms: str  # columns x rows; empty where the level has no grid of rooms
    steps: str  # the step limit, or its range over the sampled seeds
    kinds: str  # instruction kinds, or what ends the episode
    quirks: tuple[str, ...]


def level_table(prefix: str = "", seeds: int = 20) -> list[LevelFacts]:
    """What every supported level is like, looked up in levels that minigrid makes with the first few seeds.

    >>> level_table("BabyAI-OneRoomS8")[0][:5]
    ('BabyAI-OneRoomS8-v0', '8x8', '1x1', '64', 'pick up')
    """
    return [_facts(level_id, seeds) for level_id in supported(prefix)]


def _facts(level_id: str, seeds: int) -> LevelFacts:
    env = make_minigrid(level_id)
    tables = LevelBank.of_levels(generate_levels(level_id, range(seeds)), level_id, range(seeds)).tables
    low, high = map(int, tables["max_steps"].aminmax())
    there = tables["done"] == 0  # (n, 4)
    used = there & (tables["first"] != 0)
    endings = [KINDS[k] for k in tables["kind"][used].unique().tolist()] or [RULES[int(tables["rule"][0])]]
    also = {"in order": there[:, 2:], "and": there[:, [1, 3]], "strict": tables["strict"]}
    return LevelFacts(
        level_id,
        f"{env.width}x{env.height}",
        f"{env.num_cols}x{env.num_rows}" if hasattr(env, "num_cols") else "",
        str(low) if low == high else f"{low}..{high}",
        ", ".join(endings + [word for word, where in also.items() if where.any()]),
        tuple(text for ids, text, _ in quirks() if level_id.startswith(ids)),
    )


@functools.cache
def quirks() -> tuple[tuple[tuple[str, ...], str, str], ...]:
    """The table of quirks in LEVELS.md: (beginnings of the levels' ids, the quirk, what is done here)."""
    table = LEVELS.read_text(encoding="utf-8").partition("quirk of minigrid")[2].partition("\n\n")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    return tuple((tuple(ids.split(", ")), text, here) for ids, text, here in rows)


def level_table_markdown(prefix: str = "", seeds: int = 20) -> str:
    """`level_table`, and what is refused, as Markdown tables for the documentation."""
    lines = ["| level | size | rooms | steps | ends by |", "|---|---|---|---|---|"]
    lines += ["| " + " | ".join(facts[:5]) + " |" for facts in level_table(prefix, seeds)]
    lines += ["", "| not supported | reason |", "|---|---|"]
    lines += [f"| {prefix}… | {reason} |" for prefix, reason in REFUSED.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(level_table_markdown(), end="")
