"""Methods × levels × seeds, side by side in local processes, or on a cluster through Dask.

A sweep is a folder that can be killed at any moment and swept again (see many.py):

    config.json      the config; config.toml says the same, for `metarim sweep --config`
    results.jsonl    one line for each run that ended (its keys: judging.py)
    runs/NAME/       ordinary run folders

What is finished stays finished, so seeds, methods, levels and variations may be added later. With more `base.frames`
all runs go on from where they are, and each one's line is replaced when it ends again.

A run that diverged has ended, with success 0: sweeping again leaves it alone, unless its line is deleted. A run that
failed in another way has no line, and is tried again.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from ..analysis import comparison_table
from ..analysis.comparison import label
from ..config import bounded, check, config_of, overlay, to_dict, whole_number
from ..envs.generation import check_level_id
from ..errors import UserError, unknown
from ..files import make_folder
from ..machine import choose_device
from ..runs.folder import open_folder
from ..training.banks import held_out_bank
from ..training.fitting import USUAL_WORLDS
from ..training.methods import method, spelled_out
from ..training.trainer import TrainConfig
from .judging import train_and_judge
from .many import NamedRun, check_scheduler, fitting_workers, results_in


class SweepRun(NamedTuple):
    """One run of a sweep."""

    name: str
    config: TrainConfig
    varied: dict[str, Any]


@dataclass(frozen=True)
class SweepConfig:
    """Every method, on every level, with every variation and every seed."""

    methods: tuple[str, ...] = ("lstm", "rim", "meta-rim")
    """Names from METHODS."""
    levels: tuple[str, ...] = ("BabyAI-GoToLocal-v0",)
    """Level ids; several joined by commas are trained on together, in one run."""
    seeds: tuple[int, ...] = bounded((0, 1, 2), at_least=0)
    """One run for each."""
    vary: tuple[str, ...] = ()
    """Settings of `base` to vary, each as NAME=VALUE,VALUE such as agent.active=2,4; several are combined."""
    episodes: int = bounded(1000, at_least=1)
    """Held-out levels, of each id, that the finished agent plays."""
    evaluate_every: int = bounded(100_000, at_least=0, zero="none")
    """Frames between two evaluations on held-out levels while training, for the curve; 0: only before and after.
    With 200 levels of GoToLocal (64 steps at most) they add 2 to 3 % to a run on a CPU; longer levels cost more."""
    evaluate_episodes: int = bounded(200, at_least=1)
    """Held-out levels, of each id, played in each of them."""
    baseline: str | None = None
    """The method that the table compares the others with; default: the first."""
    base: TrainConfig = field(default_factory=TrainConfig)
    """All other settings of the runs; what has a name above stays as it is here. A run has base.threads threads of the
    CPU, or one for 0, however many run side by side: workers do not change what comes out. More seldom pay while other
    runs keep the cores busy: with two threads on two busy cores a tick took 3 to 9 times as long as with one, on two
    idle cores 0.82 times as long."""

    def __post_init__(self) -> None:
        check(self)
        for name in ("methods", "levels", "vary"):
            values = getattr(self, name)
            if not isinstance(values, tuple) or (not values and name != "vary"):
                raise UserError(f"SweepConfig.{name} is {values!r}; it must be a list of at least one")
        same = ("evaluate_every", "evaluate_episodes")
        for name, ours in (
            ("method", "methods"),
            ("level", "levels"),
            ("seed", "seeds"),
            *zip(same, same, strict=True),
        ):
            if getattr(self.base, name) != getattr(TrainConfig(), name):
                raise UserError(f"SweepConfig.base.{name} is {getattr(self.base, name)!r}; name it in {ours} instead")
        runs = self.runs()
        twice = [name for name, count in Counter(run.name for run in runs).items() if count > 1]
        if twice:
            raise UserError(f"run {twice[0]!r} is in this sweep twice; name each method, level, seed and value once")
        labels = [label({"method": run.config.method, "varied": run.varied}) for run in runs]
        if self.baseline is not None and self.baseline not in labels:
            raise unknown("baseline", self.baseline, set(labels))

    def pinned(self) -> dict[str, Any]:
        """What the methods' names stand for, so that no sweep mixes runs of a method and of one of the same name."""
        return {"method": {name: spelled_out(name) for name in self.methods}}

    def runs(self) -> list[SweepRun]:
        """All runs, seed by seed: when the first round is through, every method has been seen on every level.

        Raises:
            UserError: an unknown method or setting (with the nearest names), or a config that refuses its values.
        """
        settings = [_read_variation(text) for text in self.vary]
        variations = [dict(chosen) for chosen in itertools.product(*settings)]
        base = replace(self.base, evaluate_every=self.evaluate_every, evaluate_episodes=self.evaluate_episodes)
        runs = []
        for seed, level, varied, name in itertools.product(self.seeds, self.levels, variations, self.methods):
            method(name)
            config = replace(base, method=name, level=level, seed=seed)
            for setting, value in varied.items():
                config = _set(config, setting, value)
            # Not by how many runs happen to be side by side, nor by the device.
            config = replace(config, threads=config.threads or 1, num_envs=config.num_envs or USUAL_WORLDS)
            words = [name, ",".join(config.levels), *(f"{k}={v}" for k, v in varied.items()), f"s{seed}"]
            runs.append(SweepRun(re.sub(r"[^\w.=+-]+", "+", "-".join(words)), config, varied))
        return runs


def _read_variation(text: str) -> list[tuple[str, Any]]:
    """ "agent.active=2,4" -> [("agent.active", 2), ("agent.active", 4)]."""
    setting, equals, values = text.partition("=")
    if not equals or not values:
        raise UserError(f"cannot vary {text!r}; write NAME=VALUE,VALUE such as agent.active=2,4")
    if setting in ("method", "level", "seed"):
        raise UserError(f"cannot vary {setting!r}; name several in {setting}s")
    try:
        return [(setting, value) for value in json.loads(f"[{values}]")]
    except ValueError:  # plain words
        return [(setting, value) for value in values.split(",")]


def _set(config: TrainConfig, setting: str, value: Any) -> TrainConfig:
    """`config` with another value at a dotted name."""
    for name in reversed(setting.split(".")):
        value = {name: value}
    return overlay(config, value)


@dataclass
class Sweep:
    """What a sweep has found so far."""

    config: SweepConfig
    folder: Path
    results: list[dict[str, Any]]
    """The lines of results.jsonl, those of this config first, in its order; not those of runs that are to go on."""
    failures: dict[str, str]
    """Run -> why it could not be finished."""

    def table(self) -> str:
        """Methods side by side, see `metarim_lite.analysis.comparison_table`."""
        missing = [
            {"run": run.name, **_about(run), "why": self.failures[run.name]}
            for run in self.config.runs()
            if run.name in self.failures
        ]
        return comparison_table(self.results, self.config.baseline, missing=missing)


def _about(run: SweepRun) -> dict[str, Any]:
    return {"method": run.config.method, "level": run.config.level, "seed": run.config.seed, "varied": run.varied}


def sweep(
    config: SweepConfig,
    folder: str | Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool = True,
) -> Sweep:
    """Finish all runs of a sweep that are not finished yet.

    A run that fails or diverges is reported and the others go on. A run whose process is killed is started again from
    its last checkpoint. Ctrl-C lets each run save at its next tick; sweeping again goes on from there. (So does
    SIGTERM, for `metarim sweep`.)

    Args:
        config: the runs.
        folder: where they are kept. On a cluster all workers must see it under the same path, and do well to share
            the cache of levels too (METARIM_CACHE).
        workers: runs side by side; default: as many as the cores have threads for, or one where there is a GPU.
        scheduler: address of a Dask scheduler, such as tcp://host:8786. Every thread of its workers takes a run.
            (Several GPUs: start one worker of one thread for each, with its CUDA_VISIBLE_DEVICES.)
        progress: show a bar over runs, with the time left.

    Raises:
        UserError: unknown levels, another sweep's folder, a damaged results.jsonl, a folder that another process is
            sweeping, no scheduler.
        KeyboardInterrupt: after Ctrl-C.
    """
    runs = config_of(SweepConfig, config).runs()
    for level in {level for run in runs for level in run.config.levels}:
        check_level_id(level)
    choose_device(config.base.device)
    workers = None if workers is None else whole_number("workers", workers)
    if workers is not None and (workers < 1 or scheduler is not None):
        raise UserError(f"workers is {workers}; give at least 1, and none with a scheduler, whose workers count")
    folder = make_folder(folder).resolve()
    with results_in(folder, "sweeping") as results:
        open_folder(folder, config, may_change=("methods", "levels", "seeds", "vary", "baseline", "base.frames"))
        asked = config.base.frames

        def ended(name: str) -> bool:
            """Whether a run has its line, and is not to be longer since. (Old lines have no `planned`.)"""
            line = results.lines.get(name)
            return line is not None and line.get("planned", line["frames"]) >= line["varied"].get("frames", asked)

        todo = [run for run in runs if not ended(run.name)]
        if todo and scheduler is not None:
            check_scheduler(scheduler)  # before levels are generated, which takes minutes
        _fill_cache(todo, config.episodes, progress)
        workers = workers or fitting_workers(config.base.device, config.base.threads)
        failures = results.finish([_named(run, folder, config) for run in todo], workers, scheduler, progress, "sweep")
        order = {run.name: place for place, run in enumerate(runs)}
        names = sorted(results.lines, key=lambda name: order.get(name, len(order)))
        lines = [results.lines[name] for name in names if ended(name)]
    return Sweep(config, folder, lines, failures)


def _named(run: SweepRun, folder: Path, config: SweepConfig) -> NamedRun:
    return NamedRun(
        name=run.name,
        folder=folder / "runs" / run.name,
        finish=train_and_judge,
        settings={"config": to_dict(run.config), "episodes": config.episodes},
        about=_about(run),
        threads=run.config.threads,
        length=("frames", run.config.frames),
    )


def _fill_cache(todo: list[SweepRun], episodes: int, progress: bool) -> None:
    """Generate all levels before the runs start, so that no two of them generate the same ones."""
    wanted: dict[tuple[tuple[str, ...], int], int] = {}
    for config in (run.config for run in todo):
        while_training = config.evaluate_episodes if config.evaluate_every else 0
        key = config.levels, config.train_levels
        wanted[key] = max(wanted.get(key, episodes), while_training)
    for (levels, train_levels), count in wanted.items():
        held_out_bank(levels, count, train_levels, progress)
