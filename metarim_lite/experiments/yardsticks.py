"""Is anything forgotten, and does a yardstick help? One sequence of tasks, several methods, yardsticks and seeds.

    metarim forgetting --methods lstm rim meta-rim --seeds 0 1 2

A comparison is a folder of many runs (many.py), so one that was stopped goes on where it was.

A run that diverged stands in its row: its average performance is 0, its curve 0 from its last evaluation on. Where a
measure means nothing for it (what never learnt forgets nothing), the row has the number of such runs and no mean of
the others. It has ended, and is left alone, unless its line in results.jsonl is deleted.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..analysis import mean_interval
from ..analysis.comparison import FEW, notes_on_seen
from ..analysis.forgetting import forward_transfer
from ..config import config_of, from_dict, to_dict, whole_number
from ..errors import Diverged, UserError, unknown
from ..files import make_folder, read_text, write_json
from ..training.methods import method
from ..training.trainer import TrainConfig
from .commands import flags
from .continual import area_alone, held_out_levels, train_continually
from .many import NamedRun, check_all_finished, results_in
from .shipped import DATA
from .stages import YARDSTICKS, ContinualConfig

MEASURES = ("average_performance", "forgetting", "forgetting_maximum", "backward_transfer", "zero_shot")
ALONE = "forward_transfer"  # the measure that needs each task trained alone, too
EVALUATIONS = 10  # of a stage, at most, for its curve: where nothing else is asked for
Line = dict[str, Any]
Rows = dict[str, dict[str, Any]]  # method -> yardstick -> ...


@dataclass(frozen=True)
class YardstickTable:
    """What came of it. `str(table)` is Markdown."""

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
    seen: tuple[float | None, ...] = ()
    """For each task, the share of its held-out levels that are identical to a training level; None: not known."""

    def __str__(self) -> str:
        shown = [*MEASURES, *([ALONE] if self.areas_alone else [])]
        names = [measure.replace("_", " ") for measure in shown]  # a column's title that can be broken in two
        lines = ["| method | yardstick | " + " | ".join(names) + " |", "|---" * (len(shown) + 2) + "|"]
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
        return "\n".join([*lines, "", about, *("\n" + note for note in notes_on_seen(self.config.tasks, self.seen))])


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
    workers: int = 1,
) -> YardstickTable:
    """Make all runs that are not finished yet, then the table.

    Args:
        config: tasks, frames and sizes; its method, seed and yardstick are replaced.
        folder: one run folder for each method, yardstick and seed; the table is written to comparison.json in it.
        progress: show bars.
        alone: for forward transfer, also train each task alone, which takes as long as one more yardstick; and in each
            stage evaluate up to ten times, at reports, unless `config.base.evaluate_every` says otherwise.
        workers: runs side by side, each with one thread of the CPU (or `config.base.threads`), so that how many there
            are does not change what comes out.

    Raises:
        UserError: an unknown method or yardstick, no seeds, workers < 1, a run that failed.
        KeyboardInterrupt: a run was stopped by Ctrl-C; start again to go on.
    """
    config = config_of(ContinualConfig, config)
    seeds = [whole_number("each seed", seed, at_least=0, at_most=2**63 - 1) for seed in seeds]
    workers = whole_number("workers", workers, at_least=1)
    if not (methods and seeds and yardsticks):
        raise UserError("a comparison needs at least one method, one yardstick and one seed")
    if len(set(seeds)) < len(seeds):
        raise UserError(f"seeds {tuple(seeds)} name one twice; the same run again is no further evidence")
    asked = config
    if alone and not config.base.evaluate_every:
        config = replace(config, base=replace(config.base, evaluate_every=max(1, config.frames // EVALUATIONS)))
    place, S = make_folder(folder), len(config.tasks)
    runs, runs_alone = {}, {}
    for seed, name in itertools.product(seeds, methods):  # seed by seed: cut short, there is something of every row
        method(name)
        own = replace(config, base=replace(config.base, method=name, seed=seed))
        for y in yardsticks:
            beside, run = replace(own, yardstick=y), f"{name}-{y}-s{seed}"
            runs[name, y, seed] = _named(run, place, train_and_measure, beside, S * own.frames, yardstick=y)
        for task in config.tasks if alone else ():
            run = f"{name}-alone-s{seed}/{task}"
            runs_alone[name, task, seed] = _named(run, place, train_alone, own, own.frames, task=task)
    with results_in(place, "comparing yardsticks in") as results:
        todo = results.missing([*runs.values(), *runs_alone.values()])
        if todo:  # so that no two runs generate the same levels
            held_out_levels(config.tasks, config.base.evaluate_episodes, config.base.train_levels, progress)
        failures = results.finish(todo, None if workers == 1 else workers, progress=progress, title="yardsticks")
        check_all_finished(failures, len(todo))

    def line(run: NamedRun) -> Line:
        return results.lines[run.name]

    def rows(what: Callable[[list[Line]], Any], of: Sequence[str] = yardsticks) -> Rows:
        return {name: {y: what([line(runs[name, y, seed]) for seed in seeds]) for y in of} for name in methods}

    areas = rows(lambda of_seeds: [line["areas"] for line in of_seeds], [y for y in yardsticks if y != "joint"])
    areas_alone = {
        name: [[line(runs_alone[name, task, seed])["area"] for task in config.tasks] for seed in seeds]
        for name in (methods if alone else ())
    }
    measures = rows(_measures)
    for name, of_seeds in areas_alone.items():
        for yardstick, mine in areas[name].items():
            measures[name][yardstick][ALONE] = [_transfer(*pair) for pair in zip(mine, of_seeds, strict=True)]
    found = YardstickTable(
        command=_command(asked, methods, seeds, yardsticks, alone),
        config=config,
        seeds=tuple(seeds),
        matrices=rows(lambda of_seeds: [line["success"] for line in of_seeds]),
        measures=measures,
        diverged=rows(lambda of_seeds: [line.get("diverged", "") for line in of_seeds]),
        areas=areas,
        areas_alone=areas_alone,
        seen=tuple(line(next(iter(runs.values())))["seen"]),
    )
    write_json(place / "comparison.json", to_dict(found))
    return found


def _named(
    name: str, place: Path, finish: Callable[..., Line], config: ContinualConfig, frames: int, **besides: Any
) -> NamedRun:
    settings = {"config": to_dict(config)} | ({"task": besides["task"]} if "task" in besides else {})
    about = {"method": config.base.method, "seed": config.base.seed, **besides, **settings}
    about |= {"pinned": config.pinned()}  # another run's line, if the method was redefined
    return NamedRun(name, place / name, finish, settings, about, config.base.threads or 1, ("frames", frames))


def train_and_measure(folder: Path, progress: bool, config: dict[str, Any]) -> Line:
    """One sequence of tasks, as a line of results.jsonl:

    success    the success matrix [S][S]
    measures   of analysis.forgetting, by name
    areas      under each task's curve during its own stage [S]; null for "joint"
    seen       for each task, the share of its held-out levels that are identical to a training level
    diverged   the sentence of a run that diverged
    frames     played

    Raises:
        UserError: as `train_continually`.
        KeyboardInterrupt: it was stopped before the end.
    """
    run = train_continually(from_dict(ContinualConfig, config), folder, progress, may_diverge=True)
    if not (run.finished or run.diverged):
        raise KeyboardInterrupt
    line = {"success": run.success.tolist(), "measures": run.summary(), "seen": run.seen}
    line |= {"areas": None if run.config.yardstick == "joint" else run.areas()}
    line |= {"frames": run.metrics[-1]["frames"] if run.metrics else 0}
    return line | ({"diverged": run.diverged} if run.diverged else {})


def train_alone(folder: Path, progress: bool, config: dict[str, Any], task: str) -> Line:
    """One task alone, as a line of results.jsonl: the `area` under its curve, null of a run that diverged."""
    try:
        return {"area": area_alone(from_dict(ContinualConfig, config), task, folder, progress)}
    except Diverged as error:
        return {"area": None, "diverged": str(error)}


def _command(
    asked: ContinualConfig, methods: Sequence[str], seeds: Sequence[int], yardsticks: Sequence[str], alone: bool
) -> str:
    words = [f"--methods {' '.join(methods)}", f"--seeds {' '.join(map(str, seeds))}"]
    words += [f"--yardsticks {' '.join(yardsticks)}"] if tuple(yardsticks) != YARDSTICKS else []
    words += [] if alone else ["--no-alone"]
    ours = replace(asked, base=replace(asked.base, method=TrainConfig.method, seed=0), yardstick="none")
    return " ".join(["metarim forgetting", *words]) + "".join(flags(ours, ContinualConfig()))


def _measures(of_seeds: Sequence[Line]) -> dict[str, list[float | None]]:
    """What the runs of one row have; a run that diverged has less than the others, which then are None."""
    found = [line["measures"] for line in of_seeds]
    joint = of_seeds[0]["yardstick"] == "joint"
    return {name: [of.get(name) for of in found] for name in MEASURES if not joint or name in found[0]}


def _transfer(areas: Sequence[float], alone: Sequence[float | None]) -> float | None:
    """Mean forward transfer over the tasks after the first, which nothing came before, and which is 0 for that.

    A task that has nothing to gain, because alone it was known from the first frame on, is left out. None where a task
    diverged alone: beside that, anything would look good.
    """
    if any(area is None for area in alone[1:]):
        return None
    pairs = [pair for pair in zip(areas[1:], alone[1:], strict=True) if pair[1] < 1]
    return float(forward_transfer(*zip(*pairs, strict=True)).mean()) if pairs else None


def shipped_comparison(name: str) -> YardstickTable:
    """A comparison that comes with the package: the comparison.json of a folder, as it was made.

    Raises:
        UserError: there is none of this name (with the nearest names).
    """
    path = DATA / f"forgetting-{name}.json"
    if not path.is_file():
        known = (p.stem.removeprefix("forgetting-") for p in DATA.glob("forgetting-*.json"))
        raise unknown("shipped comparison", name, known)
    return from_dict(YardstickTable, json.loads(read_text(path)))
