"""The RIM paper's tables on sequence tasks, made again: a few settings of one task, several seeds of each.

    metarim study copying --workers 2

A study is a folder of many runs (many.py), so one that was stopped goes on where it was. Runs whose results stand in
the folder's table.json are not made again either: a table alone is enough to add a seed to it. At the end each model is
tested on fresh sequences, and the table, with the paper's own numbers beside it, can be shipped with the package.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..config import from_dict, to_dict, whole_number
from ..errors import Diverged, UserError, unknown
from ..files import make_folder, read_file, read_text, user_path, write_json
from ..models.controller import count_parameters
from .many import NamedRun, check_all_finished, results_in
from .sequences import (
    SequenceConfig,
    SequenceModel,
    evaluate_sequence,
    load_sequence_model,
    save_sequence_model,
    train_sequence,
)
from .shipped import DATA
from .study_settings import STUDIES, Study

TABLE = "table.json"
NOTES = DATA / "notes-on-studies.json"
FINAL_TEST_SEED = 2_000_003  # other sequences than those of the reports
Found = dict[tuple[str, int], dict[str, Any]]  # (setting, seed) -> its parameters, and the metric on every test split


@dataclass(frozen=True)
class Row:
    """What came of one setting."""

    setting: str
    paper: str
    parameters: int
    config: dict[str, Any]
    seeds: tuple[int, ...]
    tests: dict[str, tuple[float, ...]]
    """Test split -> the task's metric for each seed."""


@dataclass(frozen=True)
class Tried:
    """One thing that was tried besides, and what came out."""

    what: str
    came_out: str


@dataclass(frozen=True)
class Notes:
    """What a table alone does not tell. `str(notes)` is Markdown lists."""

    differs: tuple[str, ...]
    """Where our setting differs from the paper's."""
    tried: tuple[Tried, ...]
    unknown: tuple[str, ...]
    """What we do not know."""

    def __str__(self) -> str:
        tried = tuple(f"{one.what}: {one.came_out}." for one in self.tried)
        parts = {"Where it differs from the paper": self.differs, "What was tried, and what came out": tried}
        parts |= {"What we do not know": self.unknown}
        lists = (["", f"{title}:", "", *(f"- {item}" for item in items)] for title, items in parts.items() if items)
        return "\n".join(line for one in lists for line in one)


def notes_of(name: str) -> tuple[Notes, ...]:
    """The notes on a study, from those that come with the package: one, or none where there are none."""
    notes = json.loads(read_text(NOTES)).get(name)
    return () if notes is None else (from_dict(Notes, notes | {"tried": [Tried(**one) for one in notes["tried"]]}),)


@dataclass(frozen=True)
class Table:
    """A finished study. `str(table)` is Markdown."""

    study: str
    question: str
    metric: str
    command: str
    made_with: str
    rows: tuple[Row, ...] = field(default_factory=tuple)
    test_sequences: int = 1024
    """Fresh sequences of each split that each model was tested on, or all where a task has fewer."""

    def __str__(self) -> str:
        splits = list(self.rows[0].tests)
        lines = ["| " + " | ".join(["setting", "parameters", *splits, "the paper"]) + " |"]
        lines += ["|---" * (len(splits) + 3) + "|"]
        for row in self.rows:
            cells = [row.setting, f"{row.parameters:,}", *(_mean_and_range(row.tests[s]) for s in splits), row.paper]
            lines.append("| " + " | ".join(cells) + " |")
        seeds = ", ".join(map(str, self.rows[0].seeds))
        about = f"{self.metric}; mean of seeds {seeds} [lowest, highest]. Made by `{self.command}`."
        return "\n".join([f"{self.study}: {self.question}", "", *lines, "", about, *map(str, notes_of(self.study))])


def _mean_and_range(values: Sequence[float]) -> str:
    lost = sum(not math.isfinite(value) for value in values)
    if lost:  # a mean of the others would flatter
        return f"overflowed in {lost} of {len(values)}"
    return f"{sum(values) / len(values):.3f} [{min(values):.3f}, {max(values):.3f}]"


def run_study(
    name: str,
    folder: str | Path | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    workers: int = 1,
    progress: bool = True,
) -> Table:
    """Make all runs of a study that are not finished yet, then its table.

    Args:
        name: one of STUDIES.
        folder: where the runs are kept; default runs/study-NAME.
        seeds: of each setting. Others that the folder's table has of every setting stay in it.
        workers: runs side by side, each with one thread of the CPU (or its config's number), so that how many there
            are does not change what comes out.
        progress: show bars.

    Returns:
        The table, which is also written to the folder as table.json.

    Raises:
        UserError: no such study, no seeds or one of them twice, workers < 1, a damaged table.json, a run that failed.
        KeyboardInterrupt: a run was stopped by Ctrl-C; start again to go on.
    """
    if name not in STUDIES:
        raise unknown("study", name, STUDIES)
    seeds = [whole_number("each seed", seed, at_least=0, at_most=2**63 - 1) for seed in seeds]
    workers = whole_number("workers", workers, at_least=1)
    if not seeds:
        raise UserError("a study needs at least one seed, got none")
    if len(set(seeds)) < len(seeds):
        raise UserError(f"seeds {tuple(seeds)} name one twice; the same run again is no further evidence")
    folder = make_folder(folder or Path("runs") / f"study-{name}")
    study, old = STUDIES[name], _old_table(folder / TABLE)
    found = {} if old is None else _finished(old, study)
    whole = (seed for _, seed in found if all((label, seed) in found for label in study.settings))
    seeds = list(dict.fromkeys([*seeds, *whole]))
    # Row by row for one seed before the next, so that a study cut short has something of every row.
    jobs = [(label, seed) for seed in seeds for label in study.settings if (label, seed) not in found]
    made_with = dict.fromkeys(old.made_with.split(", ") if found else ())
    lines = _run_all(study, jobs, folder, workers, progress)
    made_with |= dict.fromkeys(line["made_with"] for line in lines)
    found |= dict(zip(jobs, lines, strict=True))
    rows = []
    for label, setting in study.settings.items():
        of_seeds = [found[label, seed] for seed in seeds]
        tests = {split: tuple(_number(of["tests"][split]) for of in of_seeds) for split in of_seeds[0]["tests"]}
        config = to_dict(setting.config)
        rows.append(Row(label, setting.paper, of_seeds[0]["parameters"], config, tuple(seeds), tests))
    metric = next(iter(study.settings.values())).config.chosen_task.metric_name
    command = f"metarim study {name} --seeds {' '.join(map(str, seeds))}"
    table = Table(name, study.question, metric, command, ", ".join(made_with), tuple(rows), study.test_sequences)
    write_json(folder / TABLE, to_dict(table))
    return table


def _run_all(
    study: Study, jobs: Sequence[tuple[str, int]], folder: Path, workers: int, progress: bool
) -> list[dict[str, Any]]:
    """The lines of these runs, (setting, seed) each."""
    runs = []
    for label, seed in jobs:
        config = dataclasses.replace(study.settings[label].config, seed=seed)
        asked = {"config": to_dict(config), "test_sequences": study.test_sequences}
        name, about = run_name(label, seed), {"setting": label, "seed": seed, **asked}
        length = ("update", config.updates)
        runs.append(NamedRun(name, folder / name, train_and_test, asked, about, config.threads or 1, length))
    with results_in(folder, "making the study in") as results:
        todo = results.missing(runs)
        failures = results.finish(todo, None if workers == 1 else workers, progress=progress, title=folder.name)
        check_all_finished(failures, len(todo))
        return [results.lines[run.name] for run in runs]


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _old_table(path: Path) -> Table | None:
    try:
        return _read(path) if path.is_file() else None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"the table {str(path)!r} is damaged ({error}); delete it, the runs beside it are kept"
        ) from None


def _finished(table: Table, study: Study) -> Found:
    """What a table holds of the settings as they are now."""
    return {
        (row.setting, seed): {
            "parameters": row.parameters,
            "tests": {split: values[i] for split, values in row.tests.items()},
        }
        for row in table.rows
        for i, seed in enumerate(row.seeds)
        if table.test_sequences == study.test_sequences
        and row.setting in study.settings
        and row.config == to_dict(study.settings[row.setting].config)
    }


def _read(path: Path) -> Table:
    """A table from its file.

    Raises:
        ValueError, TypeError, KeyError, AttributeError, UserError: it is none.
    """
    raw, rows = json.loads(read_file(path)), []
    raw.pop("notes", None)  # older tables had them inside
    for row in (from_dict(Row, row) for row in raw["rows"]):
        config = from_dict(SequenceConfig, row.config)
        measured = [row.tests[split] for split in config.chosen_task.tests]
        if any(
            len(of_seeds) != len(row.seeds) or not all(isinstance(x, float) for x in of_seeds) for of_seeds in measured
        ):
            raise ValueError(f"{row.setting!r} lacks one number for each seed and test")
        rows.append(dataclasses.replace(row, config=to_dict(config)))
    return dataclasses.replace(from_dict(Table, raw), rows=tuple(rows))


def run_name(label: str, seed: int) -> str:
    """The folder of one run: "RIM 6/4, 600 units" -> "rim-6-4-600-units-s0"."""
    words = "".join(letter if letter.isalnum() else " " for letter in label.lower()).split()
    return "-".join([*words, f"s{seed}"])


def train_and_test(folder: Path, progress: bool, config: dict[str, Any], test_sequences: int) -> dict[str, Any]:
    """One run and its final test: parameters, and the metric on every split; None of a run that diverged.

    Raises:
        UserError: as `train_sequence`.
        KeyboardInterrupt: it was stopped before the end.
    """
    asked, made_with = from_dict(SequenceConfig, config), {"made_with": f"torch {torch.__version__}"}
    try:
        run = train_sequence(asked, folder, progress=progress)
    except Diverged as error:
        with torch.device("meta"):
            parameters = count_parameters(SequenceModel(asked))
        tests = dict.fromkeys(asked.chosen_task.tests)
        return {"parameters": parameters, "tests": tests, "diverged": str(error), **made_with}
    if not run.finished:
        raise KeyboardInterrupt
    tests = {
        split: evaluate_sequence(run.model, split, test_sequences, FINAL_TEST_SEED) for split in asked.chosen_task.tests
    }
    return {"parameters": count_parameters(run.model), "tests": tests, **made_with}


def ship_study(table: Table, folder: str | Path) -> None:
    """Put a finished table, and the model that its study names, among the data that come with the package.

    Raises:
        UserError: the model is not in the folder, or all of its seeds overflowed. Nothing is written then.
    """
    model = STUDIES[table.study].model
    if model is not None:
        row = next(row for row in table.rows if row.setting == model)
        errors = zip(list(row.tests.values())[-1], row.seeds, strict=True)
        best = min((pair for pair in errors if math.isfinite(pair[0])), default=None)
        if best is None:
            raise UserError(f"no seed of {model!r} has a finite error: there is no model to ship")
        seed = best[1]
        trained = load_sequence_model(user_path(folder) / run_name(model, seed) / "model.safetensors")
        trained.config = dataclasses.replace(trained.config, kernel="fused")  # it must start without a compiler
        save_sequence_model(DATA / f"study-{table.study}", trained.half())  # half the file, and it answers the same
    write_json(DATA / f"study-{table.study}.json", to_dict(table))


def shipped_study(name: str) -> Table:
    """A table that comes with the package.

    Raises:
        UserError: there is none of this name (with the nearest names).
    """
    path = DATA / f"study-{name}.json"
    if not path.is_file():
        raise unknown("shipped study", name, (p.stem.removeprefix("study-") for p in DATA.glob("study-*.json")))
    return _read(path)
