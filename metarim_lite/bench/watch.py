"""What watching costs: the same training with `watch` and without, in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from ..envs import LevelBank
from ..lens.watching import watch
from ..training import TrainConfig, train
from . import alternate, row

LEVEL = "BabyAI-GoToLocal-v0"
FRAMES = 256 * 40 * 20  # 20 ticks: 4 reports


def bench_watch(rounds: int = 3, **changes: Any) -> Iterator[dict[str, Any]]:
    """Rows of `metarim bench watch`: frames per second from the first tick to the last picture.

    Each training is short, so that the first episode and the last, which are always drawn, weigh more than usual.

    Args:
        changes: of the config.
    """
    bank = LevelBank.generate(LEVEL, seeds=range(2000))
    for method in ("meta-rim", "lstm"):
        config = TrainConfig(**{"method": method, "level": LEVEL, "frames": FRAMES} | changes)
        ours, theirs = alternate(_watched(config, bank), _unwatched(config, bank), rounds)
        yield row("watch", f"GoToLocal, {method}, watched", "eager", ours, "ours: not watched", theirs)


def _watched(config: TrainConfig, bank: LevelBank) -> Callable[[], float]:
    def measure() -> float:
        watching = watch(config, bank=bank)
        began, first = time.perf_counter(), watching.trainer.counters["frames"]
        watching.wait()
        speed = (watching.trainer.counters["frames"] - first) / (time.perf_counter() - began)
        watching.close()
        return speed

    return measure


def _unwatched(config: TrainConfig, bank: LevelBank) -> Callable[[], float]:
    def measure() -> float:
        began: list[float] = []
        frames = 0

        def report(line: dict[str, Any]) -> None:
            nonlocal frames
            began.append(time.perf_counter() - line["seconds"] if not began else began[0])
            frames = line["frames"]

        train(config, bank=bank, progress=False, on_report=report)
        return frames / (time.perf_counter() - began[0])

    return measure
