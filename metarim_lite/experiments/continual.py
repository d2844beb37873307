"""One task after another: what does an agent forget?

A run has one stage per task (see stages.py). After each stage the agent is evaluated on held-out levels of all tasks;
these rows are the success matrix, which metarim_lite.analysis.forgetting turns into measures.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..analysis import Estimate
from ..analysis.comparison import notes_on_seen
from ..analysis.curves import area
from ..analysis.forgetting import summarize
from ..config import config_of
from ..envs import LevelBank
from ..errors import Diverged, UserError
from ..files import user_path, write_json
from ..machine import fitting_threads, fixed_threads
from ..models import Agent
from ..processes import check_alone
from ..runs.checkpoints import STATE, save_agent
from ..runs.folder import run_folder
from ..runs.loop import looping
from ..training.banks import held_out_bank, make_bank
from ..training.evaluation import evaluate
from ..training.trainer import Trainer, next_report, train
from .stages import ContinualConfig, ContinualTrainer, check_shared

log = logging.getLogger(__name__)


@dataclass
class ContinualRun:
    """What a sequence of tasks leaves behind."""

    config: ContinualConfig
    agent: Agent
    before: list[Estimate]
    """Success on each task before any training."""
    rows: list[list[Estimate]]
    """rows[i][j]: success on held-out levels of task j after stage i."""
    metrics: list[dict[str, Any]]
    folder: Path | None
    finished: bool
    """False when it was stopped by Ctrl-C, or diverged."""
    diverged: str = ""
    """Of a run that diverged: the sentence that says so."""
    seen: tuple[float | None, ...] = ()
    """For each task, the share of its held-out levels that are identical to a training level; None: not known."""
    lost: int = 0
    """Reports whose line is not in `metrics`, since a power cut took it."""

    @property
    def success(self) -> np.ndarray:
        """The success matrix R [stages done, S]; of a run that diverged [S, S], 0 in the rows that it never reached."""
        S = len(self.config.tasks)
        R = np.array([[cell.value for cell in row] for row in self.rows]).reshape(-1, S)
        return np.vstack([R, np.zeros((S - len(R), S))]) if self.diverged else R

    def summary(self) -> dict[str, float]:
        """The measures of analysis.forgetting, by name.

        For "joint", which has no own stages, the first only. Also for a run that diverged: its average performance is
        0, and one that never learnt anything would be said to forget nothing.
        """
        numbers = summarize(self.success, [cell.value for cell in self.before])
        first_only = self.diverged or self.config.yardstick == "joint"
        return {k: v for k, v in numbers.items() if not first_only or k == "average_performance"}

    def table(self) -> str:
        """The success matrix with 95 % intervals, in Markdown; below it what has to be said of the held-out levels."""
        table = matrix_table(self.config.tasks, [self.before, *self.rows], self.config.yardstick == "joint")
        return "\n\n".join([table, *notes_on_seen(self.config.tasks, self.seen)])

    def areas(self) -> list[float]:
        """Area under each task's curve during its own stage, for analysis.forward_transfer beside `areas_alone`.

        The curve is measured on held-out levels at both ends of the stage and, where `base.evaluate_every` is set,
        in between. After a divergence it is 0, from the last place where it was measured.

        Raises:
            UserError: the yardstick is "joint", which trains no task by itself; lines of the metrics are lost.
        """
        check_whole(self.lost)
        if self.config.yardstick == "joint":
            raise UserError("yardstick 'joint' trains no task by itself; measure forward transfer with another")
        corners, begin, areas = [self.before, *self.rows], 0, []
        for j in range(len(self.rows)):
            lines = [line for line in self.metrics if line["stage"] == j]
            areas.append(_area(lines, begin, corners[j][j].value, corners[j + 1][j].value))
            begin = lines[-1]["frames"]
        if self.diverged:
            j, S = len(self.rows), len(self.config.tasks)
            lines = [line for line in self.metrics if line["stage"] == j]
            areas.append(_area(lines, begin, corners[j][j].value, None, self.config.frames))
            areas += [0.0] * (S - j - 1)
        return areas


def check_whole(lost: int) -> None:
    """
    Raises:
        UserError: a run's metrics lack lines, so that its curve is not known.
    """
    if lost:
        raise UserError(f"a power cut took {lost} lines of the run's metrics, its curve is not whole; run it anew")


def _area(
    lines: list[dict[str, Any]], begin: int, first: float, last: float | None, planned: int | None = None
) -> float:
    """Area under the held-out curve of one training, given its first number of frames and the success at both ends;
    without a last one, because it diverged, also how many frames it was to have."""
    points = {begin: first} | {line["frames"]: line["held_out_success"] for line in lines if "held_out_success" in line}
    if last is not None:
        points[lines[-1]["frames"]] = last
    return area(list(points), list(points.values()), planned)


def matrix_table(tasks: Sequence[str], rows: Sequence[Sequence[Estimate]], joint: bool = False) -> str:
    """A Markdown table: the first row before training, then one row per stage."""
    stages = [f"all tasks, part {n}" for n in range(1, len(rows))] if joint else list(tasks)
    lines = [_line(["after training on", *tasks]), "|---" * (len(tasks) + 1) + "|"]
    return "\n".join([*lines, *(_line([name, *row]) for name, row in zip(["nothing", *stages], rows, strict=False))])


def _line(cells: Sequence[Any]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def train_continually(
    config: ContinualConfig | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
    *,
    banks: Sequence[LevelBank] | None = None,
    held_out: Sequence[LevelBank] | None = None,
    on_report: Callable[[dict[str, Any]], None] | None = None,
    may_diverge: bool = False,
) -> ContinualRun:
    """Train on one task after the other and fill in the success matrix; with a folder, survive being killed.

    Args:
        config: which tasks, how long, how, beside which yardstick.
        folder: where to keep config, metrics, checkpoints, the agent after each stage (`agent-1.safetensors`, …), and
            the matrix (`matrix.json`). A folder that holds a run of the same config is resumed. None: nothing is kept.
        progress: show a bar.
        banks: for each task, levels to train on instead of `base.train_levels` seeds of it.
        held_out: for each task, levels to evaluate on instead of `base.evaluate_episodes` seeds that no training sees.
        on_report: called with each line of the metrics.
        may_diverge: hand a run that diverges back, with its sentence as `diverged`, instead of raising.

    Returns:
        The ContinualRun: agent, success matrix with intervals, metrics.

    Raises:
        UserError: as `train`; tasks that do not share the vocabulary.
        Diverged: a loss is not finite, unless it may be.
    """
    check_alone("a sequence of tasks")
    config = config_of(ContinualConfig, config)
    base, S = config.base, len(config.tasks)
    with run_folder(folder, config, ("base.agent.kernel",), base.threads) as kept:
        if banks is None:
            banks = [make_bank((task,), range(base.train_levels), progress) for task in config.tasks]
        check_shared(banks, config.tasks)
        if held_out is None:
            held_out = held_out_levels(config.tasks, base.evaluate_episodes, LevelBank.concat(banks), progress)
        check_shared(held_out, config.tasks)
        seen = tuple(bank.share_seen for bank in held_out)

        trainer = ContinualTrainer(config, banks, fresh=not kept.resumes)
        checksums = {name: [bank.checksum() for bank in of] for name, of in (("levels", banks), ("held_out", held_out))}
        state = kept.resume(trainer, checksums)
        if state:
            rows = _read_rows(state, trainer.counters["stage"], S, kept.path)
        else:
            rows = [_row(trainer.agent, held_out, base.evaluate_episodes)]
        kept.begin(trainer.counters["stage"] == S, "agent.safetensors")

        title = f"{base.method}, {config.yardstick}"
        bar = looping(trainer, "frames", "frames", config.frames * S, title, progress, kept.path)
        with _diverging(may_diverge) as diverged, bar as loop:
            while trainer.counters["stage"] < S and not loop.stopped():
                stage = trainer.counters["stage"]
                if trainer.counters["frames"] < trainer.config.frames:
                    watched = None if config.yardstick == "joint" else held_out[stage]
                    line = next_report(trainer, watched, loop) | {"stage": stage, "task": config.tasks[stage]}
                    kept.report(line, trainer, rows=rows, **checksums)
                    if on_report is not None:
                        on_report(line)
                else:
                    rows.append(_row(trainer.agent, held_out, base.evaluate_episodes))
                    if kept.path is not None:
                        _keep_stage(kept.path, config, rows, trainer.agent, seen)
                    trainer.end_stage()
                    kept.save(trainer, rows=rows, **checksums)
            if trainer.counters["stage"] < S:
                loop.say_where()
        finished = trainer.counters["stage"] == S
        if kept.path is not None and finished:
            about = {"method": base.method, "tasks": ",".join(config.tasks), "train_levels": str(base.train_levels)}
            save_agent(kept.path / "agent", trainer.agent, about)
        told = "".join(diverged)
        return ContinualRun(
            config, trainer.agent, rows[0], rows[1:], kept.metrics, kept.path, finished, told, seen, kept.lost
        )


@contextmanager
def _diverging(allowed: bool) -> Iterator[list[str]]:
    """Where it is allowed, a divergence ends the block, and its sentence is in the list."""
    told: list[str] = []
    try:
        yield told
    except Diverged as error:
        if not allowed:
            raise
        told.append(str(error))


def areas_alone(config: ContinualConfig, folder: str | Path | None = None, progress: bool = True) -> list[float]:
    """Train each task alone, from nothing, for as many frames, and give the area under each curve.

    For `analysis.forward_transfer(run.areas(), areas_alone(config))`. It takes as long as the sequence did. NaN where
    the run diverged: there is nothing to compare with.

    Args:
        folder: keeps one run per task in it, each resumed if it is there.

    Raises:
        UserError: lines of a run's metrics are lost.
        KeyboardInterrupt: a run was stopped by Ctrl-C; start again to go on, in the same folder.
    """
    areas = []
    for task in config.tasks:
        try:
            areas.append(area_alone(config, task, None if folder is None else user_path(folder) / task, progress))
        except Diverged as error:
            log.warning("%s alone, seed %s: %s", task, config.base.seed, error)
            areas.append(math.nan)
    return areas


def area_alone(config: ContinualConfig, task: str, folder: Path | None = None, progress: bool = True) -> float:
    """One of `areas_alone`.

    Raises:
        UserError, KeyboardInterrupt: as there.
        Diverged: a loss is not finite.
    """
    alone = config.config_of_stage(config.tasks.index(task))  # with as many worlds as in the sequence
    (levels,) = held_out_levels((task,), alone.evaluate_episodes, alone.train_levels, progress)
    with fixed_threads(alone.threads or fitting_threads()):  # what is judged here, too
        first = _row(Trainer(alone, levels).agent, [levels], alone.evaluate_episodes)[0]
        run = train(alone, folder=folder, progress=progress, held_out=levels)
        if not run.finished:
            raise KeyboardInterrupt
        check_whole(run.lost)
        last = _row(run.agent, [levels], alone.evaluate_episodes)[0]
    return _area(run.metrics, 0, first.value, last.value)


def held_out_levels(
    tasks: Sequence[str], episodes: int, train_levels: int | LevelBank, progress: bool = False
) -> list[LevelBank]:
    """For each task, levels that training never sees, as `held_out_bank` gives them."""
    return [held_out_bank((task,), episodes, train_levels, progress) for task in tasks]


def _row(agent: Agent, held_out: Sequence[LevelBank], episodes: int) -> list[Estimate]:
    """Success on each task, with the same dice every time."""
    return [evaluate(agent, bank, min(episodes, len(bank))).success for bank in held_out]


def _keep_stage(
    folder: Path, config: ContinualConfig, rows: list[list[Estimate]], agent: Agent, seen: Sequence[float | None]
) -> None:
    """The matrix so far, and the agent as it is after this stage."""
    stage = len(rows) - 1
    save_agent(folder / f"agent-{stage}", agent, {"method": config.base.method, "after": config.tasks[stage - 1]})
    matrix = {"tasks": config.tasks, "yardstick": config.yardstick, "before": rows[0], "rows": rows[1:]}
    matrix["seen"] = seen
    write_json(folder / "matrix.json", matrix)


def _read_rows(state: dict[str, Any], stage: int, S: int, folder: Path) -> list[list[Estimate]]:
    try:
        rows = [[Estimate(*map(float, cell)) for cell in row] for row in state["rows"]]
    except (KeyError, TypeError, ValueError):
        rows = []
    if [len(row) for row in rows] != [S] * (stage + 1):
        raise UserError(
            f"field 'rows' of {str(folder / STATE)!r} is damaged, expected {stage + 1} rows of {S} estimates; "
            "start the run in a new folder"
        )
    return rows
