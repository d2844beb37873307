"""The commands that run or compare many agents: continual, forgetting and sweep (study: cli_study.py)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import tyro

from .experiments.stages import YARDSTICKS, ContinualConfig
from .experiments.sweeps import SweepConfig

Words = tyro.conf.Positional


def continual(
    config: Annotated[ContinualConfig, tyro.conf.arg(name="")] = ContinualConfig(), folder: Path | None = None  # noqa: B008
) -> None:  # fmt: skip
    """Train on one task after another; print success on every task after every stage, and what was forgotten.

    For example: metarim continual --base.method lstm --yardstick ewc --base.seed 1
    With `--config FILE.toml` settings come from a file, such as the config.toml of such a run.

    Args:
        config: tasks, frames, yardstick; `base` holds the method and all else.
        folder: where the run is kept; default runs/continual-METHOD-YARDSTICK-sSEED.
    """
    from .experiments.continual import train_continually

    name = f"continual-{config.base.method}-{config.yardstick}-s{config.base.seed}"
    folder = folder or Path("runs") / name
    run = train_continually(config, folder)
    print(run.table())
    if not run.finished:
        raise KeyboardInterrupt
    print(run.summary())
    print(f"run kept in {folder}")


def forgetting(
    config: Annotated[ContinualConfig, tyro.conf.arg(name="")] = ContinualConfig(),  # noqa: B008
    folder: Path = Path("runs/forgetting"),
    methods: tuple[str, ...] = ("lstm", "rim", "meta-rim"),
    seeds: tuple[int, ...] = (0, 1, 2),
    yardsticks: tuple[str, ...] = YARDSTICKS,
    alone: bool = True,
    workers: int = 1,
) -> None:
    """Run `metarim continual` for several methods, yardsticks and seeds; print forgetting and the other measures.

    A comparison that was stopped goes on where it was. The table is kept in FOLDER/comparison.json.

    Args:
        config: tasks, frames, sizes; its method, seed and yardstick are replaced.
        folder: where the runs are kept.
        methods: names from METHODS.
        seeds: one run for each.
        yardsticks: any of none, replay, ewc, joint.
        alone: also train each task alone, which forward transfer is measured against; as long as one more yardstick.
        workers: runs side by side, each with one thread of the CPU unless base.threads says otherwise.
    """
    from .experiments.yardsticks import compare_yardsticks

    print(compare_yardsticks(config, folder, methods, seeds, yardsticks, alone=alone, workers=workers))


def sweep(
    config: Annotated[SweepConfig, tyro.conf.arg(name="")] = SweepConfig(),  # noqa: B008
    folder: Path = Path("runs/sweep"),
    workers: int | None = None,
    scheduler: str | None = None,
) -> None:
    """Train methods x levels x seeds side by side and compare them on held-out levels.

    Killed or stopped with Ctrl-C, the same command goes on; with more seeds, methods or levels it adds them, with more
    --base.frames all runs go on. The folder holds one line for each run that ended in results.jsonl. A run that
    diverged has ended, with success 0; to have it run again, delete its line. Exit status 1 when runs failed.

        metarim sweep --methods lstm rim meta-rim --seeds 0 1 2 3 4 --base.frames 1000000 --vary agent.active=2,4

    With `--config FILE.toml` settings come from a file, such as the config.toml of a sweep.

    Args:
        config: the runs; `base` holds all settings that they share.
        folder: where the sweep is kept.
        workers: runs side by side on this machine; default: one for each core, or one on a GPU.
        scheduler: tcp://HOST:PORT of a Dask scheduler whose workers see the folder under the same path.
    """
    from .experiments.sweeps import sweep

    done = sweep(config, folder, workers=workers, scheduler=scheduler)
    print(done.table())
    print(f"sweep kept in {folder}")
    if done.failures:
        print(f"{len(done.failures)} of {len(config.runs())} runs failed; the others are kept", file=sys.stderr)
        raise SystemExit(1)
