"""What watching costs: the same training with `watch` and without, in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

from ..envs import LevelBank
from ..lens.watching import watch
from ..runs.loop import looping
from ..training import TrainConfig
from ..training.fitting import fitted
from ..training.trainer import Trainer, next_report
from . import in_pairs, row

LEVEL = "BabyAI-GoToLocal-v0"
FRAMES = 256 * 40 * 40  # 40 ticks: 8 reports


def bench_watch(rounds: int = 2, **changes: Any) -> Iterator[dict[str, Any]]:
    """Rows of `metarim bench watch`: frames per second of CPU time, which other programs on the machine disturb little,
    from the first tick to the last picture. The ratio is the median over rounds; `spread` holds the least and the
    largest.

    Each training is short, so that the first episode and the last, which are always drawn, weigh more than usual.

    Args:
        changes: of the config.
    """
    bank = LevelBank.generate(LEVEL, seeds=range(2000))
    for method in ("meta-rim", "lstm"):
        config = TrainConfig(**{"method": method, "level": LEVEL, "frames": FRAMES} | changes)
        ours, theirs, ratios = in_pairs(_watched(config, bank), _unwatched(config, bank), rounds)
        found = row("watch", f"GoToLocal, {method}, watched", "per CPU second", ours, "ours: not watched", theirs)
        yield found | {"ratio": round(median(ratios), 3), "spread": [round(min(ratios), 3), round(max(ratios), 3)]}


def _watched(config: TrainConfig, bank: LevelBank) -> Callable[[], float]:
    def measure() -> float:
        watching = watch(config, bank=bank)
        began, first = time.process_time(), watching.trainer.counters["frames"]
        watching.wait()
        speed = (watching.trainer.counters["frames"] - first) / (time.process_time() - began)
        watching.close()
        return speed

    return measure


def _unwatched(config: TrainConfig, bank: LevelBank) -> Callable[[], float]:
    def measure() -> float:
        trainer = Trainer(fitted(config), bank)
        began = time.process_time()
        with looping(trainer, "frames", "frames", config.frames, config.method, False, None) as loop:
            while trainer.counters["frames"] < config.frames:
                next_report(trainer, None, loop)
        return trainer.counters["frames"] / (time.process_time() - began)

    return measure
