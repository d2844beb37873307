"""The levels that lessons play, made ahead: `python -m metarim_lite.course.banks`. Binder does so when it builds its
image, so that nobody waits for them there.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from ..envs import LevelBank, supported
from ..files import read_text
from ..training import HELD_OUT_SEEDS, TrainConfig
from .build import repository

PATIENCE = 2.0  # seconds for a thousand levels; of levels that take longer only a thousand are made ahead
SEEDS = 1000


def levels_of_lessons(root: Path) -> list[str]:
    """Ids of levels that the sources of lessons and solutions name, and the level of a training that names none."""
    sources = [path for folder in ("notebooks", "solutions") for path in (root / folder / "_source").glob("*.py")]
    named = {found for path in sources for found in re.findall(r"(?:BabyAI|MiniGrid)-\w+-v\d", read_text(path))}
    return sorted((named | {TrainConfig.level}) & set(supported()))


def make_banks(root: Path) -> None:
    """Put into the cache, for each level of the lessons, levels to train on and levels to be judged on."""
    for level in levels_of_lessons(root):
        began = time.perf_counter()
        LevelBank.generate(level, seeds=range(SEEDS))
        quick = time.perf_counter() - began < PATIENCE
        LevelBank.generate(level, seeds=range(HELD_OUT_SEEDS, HELD_OUT_SEEDS + SEEDS))
        if quick:
            LevelBank.generate(level, seeds=range(TrainConfig.train_levels))
        print(f"{level}: {time.perf_counter() - began:.1f} s", flush=True)


if __name__ == "__main__":
    make_banks(repository())
