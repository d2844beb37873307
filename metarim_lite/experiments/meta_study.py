"""When do fast modules and slow attention help? The study: all its runs, resumable, on anything that computes.

    metarim study meta --workers 2

A study is a folder of many runs (many.py). Which, and in which order, says meta_plan.py; what is claimed, and by which
rule it is judged, claims.py; what came out for us, meta_shipped.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import make_folder, user_path
from ..machine import choose_device
from ..training.banks import held_out_bank
from ..training.trainer import TrainConfig
from . import conditions
from .conditions import CONDITIONS, afterwards
from .many import RESULTS, check_scheduler, fitting_workers, read_results, results_in
from .meta_plan import Tuning, named_run, plan, read_tunings

Line = dict[str, Any]


@dataclass
class MetaStudy:
    """What a folder holds so far."""

    rows: list[Line]
    """The lines of all finished runs."""
    failures: dict[str, str]
    """Run -> why it could not be finished."""
    asked: int
    """Runs that were asked for."""


def run_meta_study(
    folder: str | Path,
    names: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    device: str = "auto",
    progress: bool = True,
    on_line: Callable[[str], None] = print,
    tuning: Tuning | None = None,
) -> MetaStudy:
    """Finish all runs that are not finished yet.

    Args:
        folder: where they are kept. On a cluster all workers must see it under the same path.
        names, methods, seeds: which, see `meta_plan.plan`.
        workers: runs side by side; default: one for each core, or one on a GPU, which several may share.
        scheduler: address of a Dask scheduler, whose workers take the runs.
        device: "auto" is that of this process, also for a scheduler's workers. Runs on another device are other runs.
        progress: show a bar.
        on_line: told a line of words for each run that ends.
        tuning: rates and k; default: what comes with the package.

    Raises:
        UserError: unknown conditions, settings or device, a damaged results.jsonl, a folder that another process is
            at work in, no scheduler.
        KeyboardInterrupt: after Ctrl-C; start again to go on.
    """
    kind = choose_device(device).type
    if workers is not None and (workers < 1 or scheduler is not None):
        raise UserError(f"workers is {workers}; give at least 1, and none with a scheduler, whose workers count")
    tuning = tuning or read_tunings().get(kind, Tuning())
    asked = plan(names, methods, seeds, tuning)
    folder = make_folder(folder).resolve()
    with results_in(folder, "making the study in") as results:
        todo = results.missing([named_run(one, folder, tuning, kind) for one in asked])
        if todo and scheduler is not None:
            check_scheduler(scheduler)  # before levels are generated, which takes minutes
        fill_cache(list(dict.fromkeys(run.about["condition"] for run in todo)), progress)
        side_by_side = workers or fitting_workers(kind, 1)
        failures = results.finish(
            todo, side_by_side, scheduler, progress, "study", lambda line: on_line(in_words(line))
        )
        return MetaStudy(list(results.lines.values()), failures, len(asked))


def rows_in(folder: str | Path) -> list[Line]:
    """The lines of the runs that a folder holds by now; it may be at work.

    Raises:
        UserError: no run is finished there, or results.jsonl is damaged.
    """
    path = user_path(folder) / RESULTS
    if not path.is_file():
        raise UserError(f"{str(folder)!r} holds no finished run of the study; metarim study meta makes them")
    return list(read_results(path, mend=False).values())


def fill_cache(names: Sequence[str], progress: bool) -> None:
    """Generate all levels of these conditions before the runs start, so that no two of them generate the same ones."""
    wanted: dict[tuple[tuple[str, ...], int], None] = {}
    for name in names:
        condition = CONDITIONS[name]
        trained = dict(condition.changes).get("train_levels", TrainConfig.train_levels)
        joint = condition.kind != "sequence"
        wanted |= {(levels, trained): None for levels in ([condition.levels] if joint else _each(condition.levels))}
        for later in map(CONDITIONS.get, afterwards(name)):
            known = 0 if later.kind == "zero-shot" else trained
            wanted |= {(levels, known): None for levels in _each(later.levels)}
    for levels, trained in wanted:
        held_out_bank(levels, conditions.HELD_OUT, trained, progress)


def _each(levels: Sequence[str]) -> list[tuple[str, ...]]:
    return [(level,) for level in levels]


def in_words(line: Line) -> str:
    """A run in one line, as it ends."""
    words = [line["run"]]
    if "diverged" in line:
        words.append(f"diverged after {line['frames']:,} frames")
    if "measures" in line:
        words += [f"{name.replace('_', ' ')} {value:.3f}" for name, value in line["measures"].items()]
    else:
        reached = line["frames_to"]["0.9"]
        words += [f"success {line['success']['value']:.3f}", f"area {line['area']:.3f}"]
        words.append("never at 90 %" if reached is None else f"90 % after {reached:,} frames")
    for name in afterwards(line["condition"]):
        number = (line.get(name) or {}).get("area" if name == "shift" else "mean")
        words += [] if number is None else [f"{name} {number:.3f}"]
    speed = line["frames_per_second"]
    return ", ".join([*words, f"{line['frames']:,} frames"] + ([f"{speed:,.0f} frames/s"] if speed else []))
