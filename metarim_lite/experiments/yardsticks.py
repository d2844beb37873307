"""Is anything forgotten, and does a yardstick help? One sequence of tasks, several methods, yardsticks and seeds.

    metarim forgetting --methods lstm rim meta-rim --seeds 0 1 2

Every run is an ordinary run folder, so a comparison that was stopped goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..analysis import mean_interval
from ..analysis.comparison import FEW
from ..config import to_dict
from ..errors import UserError
from ..runs.checkpoints import make_folder, replace_file
from ..training.continual import ContinualRun, train_sequence_of_tasks
from ..training.methods import method
from ..training.shipped import flags
from ..training.stages import YARDSTICKS, ContinualConfig
from ..training.trainer import TrainConfig

MEASURES = ("average_performance", "forgetting", "forgetting_maximum", "backward_transfer", "zero_shot")


@dataclass(frozen=True)
class Comparison:
    """What came of it. `str(comparison)` is a Markdown table."""

    command: str
    config: ContinualConfig
    """Of all runs, but for method, seed and yardstick."""
    seeds: tuple[int, ...]
    matrices: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    """method -> yardstick -> the success matrix [seeds][S][S] of every seed."""
    measures: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    """method -> yardstick -> measure of analysis.forgetting -> its value for every seed."""

    def __str__(self) -> str:
        lines = ["| method | yardstick | " + " | ".join(MEASURES) + " |", "|---" * (len(MEASURES) + 2) + "|"]
        for name, rows in self.measures.items():
            for yardstick, found in rows.items():
                cells = [_mean(found[m]) if m in found else "" for m in MEASURES]
                lines.append("| " + " | ".join([name, yardstick, *cells]) + " |")
        tasks = " -> ".join(self.config.tasks)
        about = f"{tasks}, {self.config.frames:,} frames each; mean of seeds {', '.join(map(str, self.seeds))} with a "
        about += f"95 % bootstrap interval over seeds. Made by `{self.command}`."
        if 1 < len(self.seeds) < FEW:
            about += f" Intervals over fewer than {FEW} seeds are too narrow to be trusted."
        return "\n".join([*lines, "", about])


def _mean(values: list[float]) -> str:
    return str(mean_interval(np.array(values))) if len(values) > 1 else f"{values[0]:.3f} (no interval)"


def compare_yardsticks(
    config: ContinualConfig | None = None,
    folder: str | Path = "runs/forgetting",
    methods: Sequence[str] = ("lstm", "rim", "meta-rim"),
    seeds: Sequence[int] = (0, 1, 2),
    yardsticks: Sequence[str] = YARDSTICKS,
    progress: bool = True,
) -> Comparison:
    """Make all runs that are not finished yet, then the table.

    Arguments:
        config: tasks, frames and sizes; its method, seed and yardstick are replaced.
        folder: one run folder for each method, yardstick and seed; the table is written to comparison.json in it.
        progress: show a bar for each run.

    Raises:
        UserError: an unknown method or yardstick, no seeds; as `train_sequence_of_tasks`.
        KeyboardInterrupt: a run was stopped by Ctrl-C; start again to go on.
    """
    config = config or ContinualConfig()
    if not (methods and seeds and yardsticks):
        raise UserError("a comparison needs at least one method, one yardstick and one seed")
    if len(set(seeds)) < len(seeds):
        raise UserError(f"seeds {tuple(seeds)} name one twice; the same run again is no further evidence")
    for name in methods:
        method(name)
    jobs = {
        (name, yardstick, seed): replace(config, base=replace(config.base, method=name, seed=seed), yardstick=yardstick)
        for seed in seeds  # seed by seed: cut short, there is something of every row
        for name in methods
        for yardstick in yardsticks
    }
    place, runs = make_folder(folder), {}
    for (name, yardstick, seed), job in jobs.items():
        run = train_sequence_of_tasks(job, place / f"{name}-{yardstick}-s{seed}", progress)
        if not run.finished:
            raise KeyboardInterrupt
        runs[name, yardstick, seed] = run

    def rows(what: Any) -> dict[str, dict[str, Any]]:
        return {name: {y: what([runs[name, y, seed] for seed in seeds]) for y in yardsticks} for name in methods}

    words = [f"--methods {' '.join(methods)}", f"--seeds {' '.join(map(str, seeds))}"]
    words += [f"--yardsticks {' '.join(yardsticks)}"] if tuple(yardsticks) != YARDSTICKS else []
    ours = replace(config, base=replace(config.base, method=TrainConfig.method, seed=0), yardstick="none")
    command = " ".join(["metarim forgetting", *words]) + "".join(flags(ours, ContinualConfig()))
    matrices = rows(lambda of_seeds: [run.success.tolist() for run in of_seeds])
    found = Comparison(command, config, tuple(seeds), matrices, rows(_measures))
    replace_file(place / "comparison.json", (json.dumps(to_dict(found), indent=1) + "\n").encode())
    return found


def _measures(of_seeds: Sequence[ContinualRun]) -> dict[str, list[float]]:
    summaries = [run.summary() for run in of_seeds]
    return {name: [s[name] for s in summaries] for name in MEASURES if name in summaries[0]}
