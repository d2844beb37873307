"""Many runs: methods × levels × seeds, side by side in local processes, or on a cluster through Dask.

A sweep is a folder that can be killed at any moment and swept again:

    config.json      the config; config.toml says the same, for `metarim sweep --config`
    results.jsonl    one line for each run that ended (its keys: sweep_worker.py); only the sweeping process writes it
    runs/NAME/       ordinary run folders, each resumed from its last checkpoint

What is finished stays finished, so seeds, methods, levels and variations may be added later. With more `base.frames`
all runs go on from where they are, and each one's line is replaced when it ends again.

A run that diverged has ended, with success 0: sweeping again leaves it alone, unless its line is deleted. A run that
failed in another way has no line, and is tried again.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from tqdm.auto import tqdm

from ..analysis import comparison_table
from ..analysis.comparison import label
from ..config import overlay, to_dict
from ..envs.catalogue import check_level_id
from ..errors import UserError, unknown
from ..files import append_line, make_folder, read_file, read_text, replace_file
from ..machine import choose_device
from ..runs.checkpoints import STATE
from ..runs.folder import open_folder
from ..training.banks import held_out_bank
from ..training.methods import method, spelled_out
from ..training.trainer import TrainConfig
from .sweep_worker import POLL, in_own_process, on_dask

RESULTS = "results.jsonl"
REFRESH = 2.0  # seconds between two looks at how far the runs are


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
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run for each."""
    vary: tuple[str, ...] = ()
    """Settings of `base` to vary, each as NAME=VALUE,VALUE such as agent.active=2,4; several are combined."""
    episodes: int = 1000
    """Held-out levels, of each id, that the finished agent plays."""
    evaluate_every: int = 100_000
    """Frames between two evaluations on held-out levels while training, for the curve; 0: only before and after.
    With 200 levels of GoToLocal (64 steps at most) they add 2 to 3 % to a run on a CPU; longer levels cost more."""
    evaluate_episodes: int = 200
    """Held-out levels, of each id, played in each of them."""
    baseline: str | None = None
    """The method that the table compares the others with; default: the first."""
    base: TrainConfig = field(default_factory=TrainConfig)
    """All other settings of the runs; what has a name above stays as it is here. A run has base.threads threads of the
    CPU, or one for 0, however many run side by side: workers do not change what comes out. More seldom pay while other
    runs keep the cores busy: with two threads on two busy cores a tick took 3 to 9 times as long as with one, on two
    idle cores 0.82 times as long."""

    def __post_init__(self) -> None:
        for name in ("methods", "levels", "seeds", "vary"):
            values = getattr(self, name)
            if not isinstance(values, tuple) or (not values and name != "vary"):
                raise UserError(f"SweepConfig.{name} is {values!r}; it must be a list of at least one")
        for seed in self.seeds:
            if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
                raise UserError(f"SweepConfig.seeds holds {seed!r}; seeds are whole numbers from 0 on")
        for name, least in (("episodes", 1), ("evaluate_every", 0), ("evaluate_episodes", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise UserError(f"SweepConfig.{name} is {value!r}; it must be a whole number of at least {least}")
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
            config = replace(config, threads=config.threads or 1)  # not by how many runs happen to be side by side
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

    Arguments:
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
    from filelock import FileLock, Timeout
    from joblib import cpu_count

    runs = config.runs()
    for level in {level for run in runs for level in run.config.levels}:
        check_level_id(level)
    device = choose_device(config.base.device)
    if workers is not None and (workers < 1 or scheduler is not None):
        raise UserError(f"workers is {workers}; give at least 1, and none with a scheduler, whose workers count")
    folder = make_folder(folder).resolve()
    try:
        lock = FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout:
        raise UserError(f"another process is sweeping {str(folder)!r}; wait for it or choose another folder") from None
    with lock:
        open_folder(folder, config, may_change=("methods", "levels", "seeds", "vary", "baseline", "base.frames"))
        results, asked = read_results(folder / RESULTS), config.base.frames

        def ended(name: str) -> bool:
            """Whether a run has its line, and is not to be longer since. (Old lines have no `planned`.)"""
            line = results.get(name)
            return line is not None and line.get("planned", line["frames"]) >= line["varied"].get("frames", asked)

        todo = [run for run in runs if not ended(run.name)]
        failures: dict[str, str] = {}
        if todo:
            places = workers or (1 if device.type == "cuda" else max(1, cpu_count() // max(1, config.base.threads)))
            with _dask(scheduler) if scheduler else _local(min(places, len(todo))) as submit:
                _fill_cache(todo, config.episodes, progress)
                pending = {}
                for run in todo:
                    job = {"folder": str(folder / "runs" / run.name), "config": to_dict(run.config)}
                    job["method"] = to_dict(method(run.config.method))
                    pending[submit(job | {"episodes": config.episodes})] = run
                with _bar(folder, runs, todo, progress) as (bar, show):
                    for run, answer in _as_completed(pending, show):
                        if "result" in answer:
                            line = {"run": run.name, **_about(run), **answer["result"]}
                            _keep(folder / RESULTS, results, line)
                            told = line.get("diverged")
                        else:
                            told = failures[run.name] = answer.get("error", "it was stopped from outside; sweep again")
                        if told:
                            bar.write(f"{run.name}: {told}", file=sys.stderr)
        order = {run.name: place for place, run in enumerate(runs)}
        lines = [results[name] for name in sorted(results, key=lambda name: order.get(name, len(order))) if ended(name)]
    return Sweep(config, folder, lines, failures)


def read_results(path: Path) -> dict[str, dict[str, Any]]:
    """The finished runs of a sweep by name. Half a line at the end, left by a kill, is cut off: its run is finished,
    so that the next sweep only has to judge it again.

    Raises:
        UserError: a line in the middle is damaged, or a run is there twice.
    """
    content = read_file(path) if path.exists() else b""
    whole = content[: content.rfind(b"\n") + 1]
    results: dict[str, dict[str, Any]] = {}
    for number, text in enumerate(whole.splitlines(), 1):
        try:
            line = json.loads(text)
            name = line["run"]
        except (ValueError, KeyError, TypeError):
            raise UserError(f"line {number} of {str(path)!r} is damaged; delete that line and sweep again") from None
        if name in results:
            raise UserError(f"line {number} of {str(path)!r} counts run {name!r} twice; delete one of the two")
        results[name] = line
    if whole != content:
        replace_file(path, whole)
    return results


def _keep(path: Path, results: dict[str, dict[str, Any]], line: dict[str, Any]) -> None:
    """Add a line to results.jsonl, or put it in the place of the shorter run's."""
    again = line["run"] in results
    results[line["run"]] = line
    if again:
        replace_file(path, "".join(json.dumps(line) + "\n" for line in results.values()))
    else:
        append_line(path, json.dumps(line))


def _fill_cache(todo: list[SweepRun], episodes: int, progress: bool) -> None:
    """Generate all levels before the runs start, so that no two of them generate the same ones."""
    wanted: dict[tuple[tuple[str, ...], int], int] = {}
    for config in (run.config for run in todo):
        while_training = config.evaluate_episodes if config.evaluate_every else 0
        key = config.levels, config.train_levels
        wanted[key] = max(wanted.get(key, episodes), while_training)
    for (levels, train_levels), count in wanted.items():
        held_out_bank(levels, count, train_levels, progress)


Submit = Callable[[dict[str, Any]], Any]


@contextmanager
def _local(workers: int) -> Iterator[Submit]:
    """A way to hand jobs to local processes. Left by an exception, they save and stop."""
    stop = threading.Event()
    with ThreadPoolExecutor(workers) as threads:  # each waits for a process of its own
        try:
            yield lambda job: threads.submit(in_own_process, job, stop.is_set)
        except BaseException:
            os.write(2, b"\nstopping: every run saves at its next tick\n")
            stop.set()
            threads.shutdown(cancel_futures=True)
            raise


@contextmanager
def _dask(address: str) -> Iterator[Submit]:
    """The same on a Dask cluster. When the client leaves, its tasks are cancelled, and the runs save and stop."""
    try:
        from distributed import Client
    except ImportError:
        raise UserError("a scheduler needs Dask; install it with pip install 'metarim-lite[cluster]'") from None
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise UserError(f"no Dask scheduler answers at {address!r} ({error}); start one with dask scheduler") from None
    with client:  # leaving it, by an exception too, cancels what is not done
        if not client.nthreads():
            raise UserError(f"the Dask scheduler at {address!r} has no workers; start some with dask worker {address}")
        # A key for each run folder: a task that is handed in again while it still runs is not run twice.
        yield lambda job: client.submit(on_dask, job, key=job["folder"], pure=False, retries=2)


def _as_completed(pending: dict[Any, SweepRun], show: Callable[[], None]) -> Iterator[tuple[SweepRun, dict[str, Any]]]:
    """Futures, of threads or of Dask, as they are done: (run, answer)."""
    shown = 0.0
    while pending:
        for future in [future for future in pending if future.done()]:
            run = pending.pop(future)
            try:
                answer = future.result()
            except Exception as error:  # such as Dask's: its worker died too often
                answer = {"error": f"{type(error).__name__}: {error}"}
            yield run, answer
        if time.monotonic() - shown > REFRESH:
            show()
            shown = time.monotonic()
        time.sleep(POLL)
    show()


@contextmanager
def _bar(
    folder: Path, runs: list[SweepRun], todo: list[SweepRun], progress: bool
) -> Iterator[tuple[Any, Callable[[], None]]]:
    """A bar over runs and a function that moves it, in fractions of a run, to where the runs' checkpoints are."""

    def done() -> float:
        return len(runs) - len(todo) + sum(_share_done(folder / "runs" / run.name, run.config.frames) for run in todo)

    layout = "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total} runs [{elapsed}<{remaining}]"
    bar = tqdm(total=len(runs), initial=done(), desc="sweep", bar_format=layout, disable=not progress)
    with bar:
        yield bar, lambda: bar.update(max(0.0, done() - bar.n)) and None


def _share_done(folder: Path, frames: int) -> float:
    try:
        return min(1.0, json.loads(read_text(folder / STATE))["counters"]["frames"] / frames)
    except (OSError, ValueError, KeyError):
        return 0.0
