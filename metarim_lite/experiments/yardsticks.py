"""Is anything forgotten, and does a yardstick help? One sequence of tasks, several methods, yardsticks and seeds.

    metarim forgetting --methods lstm rim meta-rim --seeds 0 1 2

Every run is an ordinary run folder, so a comparison that was stopped goes on where it was.

A run that diverged stands in its row: its average performance is 0, its curve 0 from its last evaluation on. Where a
measure means nothing for it (what never learnt forgets nothing), the row has the number of such runs and no mean of
the others. Asked again, it diverges again, from its last checkpoint on.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..analysis import mean_interval
from ..analysis.comparison import FEW
from ..analysis.forgetting import forward_transfer
from ..config import to_dict
from ..errors import UserError
from ..files import make_folder, write_json
from ..training.methods import method
from ..training.trainer import TrainConfig
from .continual import ContinualRun, areas_alone, train_sequence_of_tasks
from .shipped import flags
from .stages import YARDSTICKS, ContinualConfig

MEASURES = ("average_performance", "forgetting", "forgetting_maximum", "backward_transfer", "zero_shot")
ALONE = "forward_transfer"  # the measure that needs each task trained alone, too
EVALUATIONS = 10  # of a stage, at most, for its curve: where nothing else is asked for
Rows = dict[str, dict[str, Any]]  # method -> yardstick -> ...

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Comparison:
    """What came of it. `str(comparison)` is a Markdown table."""

    command: str
    config: ContinualConfig
    """Of all runs, but for method, seed and yardstick."""
    seeds: tuple[int, ...]
    matrices: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    """method -> yardstick -> the success matrix [seeds][S][S] of every seed."""
    measures: dict[str, dict[str, dict[str, list[float | None]]]] = field(default_factory=dict)
    """method -> yardstick -> measure of analysis.forgetting -> its value for every seed; None where a divergence leaves
    it without a meaning. `forward_transfer` is a mean over all tasks but the first, whose transfer is 0."""
    diverged: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    """method -> yardstick -> for every seed the sentence of a run that diverged, or ""."""
    areas: dict[str, dict[str, list[list[float]]]] = field(default_factory=dict)
    """method -> yardstick -> area under each task's curve during its own stage [seeds][S]."""
    areas_alone: dict[str, list[list[float | None]]] = field(default_factory=dict)
    """method -> the same of the task trained alone [seeds][S], None where that run diverged; {} where none was made."""

    def __str__(self) -> str:
        shown = [*MEASURES, *([ALONE] if self.areas_alone else [])]
        lines = ["| method | yardstick | " + " | ".join(shown) + " |", "|---" * (len(shown) + 2) + "|"]
        for name, rows in self.measures.items():
            for yardstick, found in rows.items():
                cells = [_mean(found[m]) if m in found else "" for m in shown]
                lost = sum(map(bool, self.diverged[name][yardstick]))
                about = f"{yardstick} ({lost} of {len(self.seeds)} diverged)" if lost else yardstick
                lines.append("| " + " | ".join([name, about, *cells]) + " |")
        tasks = " -> ".join(self.config.tasks)
        about = f"{tasks}, {self.config.frames:,} frames each; mean of seeds {', '.join(map(str, self.seeds))} with a "
        about += f"95 % bootstrap interval over seeds. Made by `{self.command}`."
        if 1 < len(self.seeds) < FEW:
            about += f" Intervals over fewer than {FEW} seeds are too narrow to be trusted."
        if any(map(any, (of for rows in self.diverged.values() for of in rows.values()))):
            about += " A run that diverged has an average performance of 0."
        return "\n".join([*lines, "", about])


def _mean(values: list[float | None]) -> str:
    lost = sum(value is None for value in values)
    if lost:  # a mean of the others would flatter
        return f"none: {lost} of {len(values)} undefined"
    return str(mean_interval(np.array(values))) if len(values) > 1 else f"{values[0]:.3f} (no interval)"


def compare_yardsticks(
    config: ContinualConfig | None = None,
    folder: str | Path = "runs/forgetting",
    methods: Sequence[str] = ("lstm", "rim", "meta-rim"),
    seeds: Sequence[int] = (0, 1, 2),
    yardsticks: Sequence[str] = YARDSTICKS,
    progress: bool = True,
    alone: bool = True,
) -> Comparison:
    """Make all runs that are not finished yet, then the table.

    Arguments:
        config: tasks, frames and sizes; its method, seed and yardstick are replaced.
        folder: one run folder for each method, yardstick and seed; the table is written to comparison.json in it.
        progress: show a bar for each run.
        alone: for forward transfer, also train each task alone, which takes as long as one more yardstick; and in each
            stage evaluate up to ten times, at reports, unless `config.base.evaluate_every` says otherwise.

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
    asked = config
    if alone and not config.base.evaluate_every:
        config = replace(config, base=replace(config.base, evaluate_every=max(1, config.frames // EVALUATIONS)))
    jobs = {
        (name, yardstick, seed): replace(config, base=replace(config.base, method=name, seed=seed), yardstick=yardstick)
        for seed in seeds  # seed by seed: cut short, there is something of every row
        for name in methods
        for yardstick in yardsticks
    }
    place, runs = make_folder(folder), {}
    for (name, yardstick, seed), job in jobs.items():
        run = train_sequence_of_tasks(job, place / f"{name}-{yardstick}-s{seed}", progress, may_diverge=True)
        if run.diverged:
            log.warning("%s, %s, seed %s: %s", name, yardstick, seed, run.diverged)
        elif not run.finished:
            raise KeyboardInterrupt
        runs[name, yardstick, seed] = run
    by_itself: dict[str, Any] = {}
    if alone:
        for name in methods:
            own = [replace(config, base=replace(config.base, method=name, seed=seed)) for seed in seeds]
            found = [areas_alone(job, place / f"{name}-alone-s{job.base.seed}", progress) for job in own]
            by_itself[name] = [[None if math.isnan(area) else area for area in of_seed] for of_seed in found]

    def rows(what: Any, but: tuple[str, ...] = ()) -> Rows:
        return {
            name: {y: what([runs[name, y, seed] for seed in seeds]) for y in yardsticks if y not in but}
            for name in methods
        }

    areas = rows(lambda of_seeds: [run.areas() for run in of_seeds], but=("joint",))
    measures = rows(_measures)
    for name, of_seeds in by_itself.items():
        for yardstick, mine in areas[name].items():
            measures[name][yardstick][ALONE] = [_transfer(*pair) for pair in zip(mine, of_seeds, strict=True)]
    found = Comparison(
        command=_command(asked, methods, seeds, yardsticks, alone),
        config=config,
        seeds=tuple(seeds),
        matrices=rows(lambda of_seeds: [run.success.tolist() for run in of_seeds]),
        measures=measures,
        diverged=rows(lambda of_seeds: [run.diverged for run in of_seeds]),
        areas=areas,
        areas_alone=by_itself,
    )
    write_json(place / "comparison.json", to_dict(found))
    return found


def _command(
    asked: ContinualConfig, methods: Sequence[str], seeds: Sequence[int], yardsticks: Sequence[str], alone: bool
) -> str:
    words = [f"--methods {' '.join(methods)}", f"--seeds {' '.join(map(str, seeds))}"]
    words += [f"--yardsticks {' '.join(yardsticks)}"] if tuple(yardsticks) != YARDSTICKS else []
    words += [] if alone else ["--no-alone"]
    ours = replace(asked, base=replace(asked.base, method=TrainConfig.method, seed=0), yardstick="none")
    return " ".join(["metarim forgetting", *words]) + "".join(flags(ours, ContinualConfig()))


def _measures(of_seeds: Sequence[ContinualRun]) -> dict[str, list[float | None]]:
    """What the runs of one row have; a run that diverged has less than the others, which then are None."""
    summaries = [run.summary() for run in of_seeds]
    return {
        name: [s.get(name) for s in summaries]
        for name in MEASURES
        if of_seeds[0].config.yardstick != "joint" or name in summaries[0]
    }


def _transfer(areas: Sequence[float], alone: Sequence[float | None]) -> float | None:
    """Mean forward transfer over the tasks after the first, which nothing came before, and which is 0 for that.

    A task that has nothing to gain, because alone it was known from the first frame on, is left out. None where a task
    diverged alone: beside that, anything would look good.
    """
    if any(area is None for area in alone[1:]):
        return None
    pairs = [pair for pair in zip(areas[1:], alone[1:], strict=True) if pair[1] < 1]
    return float(forward_transfer(*zip(*pairs, strict=True)).mean()) if pairs else None
