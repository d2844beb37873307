"""Many runs: each is finished once and counted once, whatever is killed on the way.

A folder of many runs can be left at any moment and gone on with:

    results.jsonl    one line for each run that ended; only the process that holds the folder writes it
    runs             ordinary run folders, wherever each has its own, resumed from their last checkpoints

What a run is, is said by a function that finishes it and returns what its line is to say:

>>> def finish(folder, progress, config):
...     run = train(from_dict(TrainConfig, config), folder=folder, progress=progress)
...     if not run.finished:
...         raise KeyboardInterrupt
...     return {"frames": run.metrics[-1]["frames"]}
>>> with results_in("runs/mine", "trying") as results:
...     runs = [NamedRun(f"s{seed}", Path(f"runs/mine/s{seed}"), finish, {"config": …}, {"seed": seed}) for seed in …]
...     failures = results.finish(results.missing(runs), workers=2)
...     results.lines["s0"]["frames"]

A run that failed has no line, and is tried again the next time. (A run that diverged has not failed: that is a result,
which `finish` puts into a line, with the sentence as its `diverged`.)
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tqdm.auto import tqdm

from ..config import to_dict
from ..errors import UserError
from ..files import append_line, make_folder, read_file, read_text, replace_file
from ..machine import available_cores, choose_device
from ..runs.checkpoints import STATE
from ..runs.loop import stop_at_next_tick
from ..training.methods import METHODS
from .worker import POLL, Answer, Job, in_own_process, in_this_process, on_dask

RESULTS = "results.jsonl"
PATIENCE = 10.0  # seconds that a scheduler has to answer
REFRESH = 2.0  # seconds between two looks at how far the runs are


class NamedRun(NamedTuple):
    """One of many runs."""

    name: str
    folder: Path
    """Where it is kept. On a cluster all workers must see it under the same path."""
    finish: Callable[..., dict[str, Any]]
    """finish(folder, progress, **settings) -> what its line is to say. It goes on from the folder's last checkpoint
    and raises KeyboardInterrupt where it was stopped. Other processes import it, so it must stand in a module."""
    settings: dict[str, Any]
    """As JSON has them."""
    about: dict[str, Any]
    """What stands first in its line, and tells its line from that of another run of the same name. As JSON has it."""
    threads: int = 1
    """Of torch on the CPU. Not by how many runs happen to be side by side: that must not change what comes out."""
    length: tuple[str, int] = ("frames", 1)
    """The counter that says how far it is, and where it ends."""

    @property
    def job(self) -> Job:
        function = f"{self.finish.__module__}:{self.finish.__qualname__}"
        methods = {name: to_dict(method) for name, method in METHODS.items()}
        job = {"finish": function, "settings": self.settings, "folder": str(self.folder), "threads": self.threads}
        return job | {"methods": methods}

    def share_done(self) -> float:
        """How much of it its last checkpoint holds."""
        counter, end = self.length
        try:
            return min(1.0, json.loads(read_text(self.folder / STATE))["counters"][counter] / end)
        except (OSError, ValueError, KeyError):
            return 0.0


class Results:
    """The lines of results.jsonl, by the name of their run. See `results_in`."""

    def __init__(self, path: Path) -> None:
        self.path, self.lines = path, read_results(path)

    def missing(self, runs: Sequence[NamedRun]) -> list[NamedRun]:
        """Those that have no line, or one of another run: a setting was changed since."""
        abouts = json.loads(json.dumps([run.about for run in runs]))  # with lists for tuples, as in lines
        return [
            run
            for run, about in zip(runs, abouts, strict=True)
            if not about.items() <= self.lines.get(run.name, {}).items()
        ]

    def keep(self, line: dict[str, Any]) -> None:
        """Add a line, or put it in the place of the one that its run had."""
        line, again = json.loads(json.dumps(line)), line["run"] in self.lines
        self.lines[line["run"]] = line
        if again:
            replace_file(self.path, "".join(json.dumps(line) + "\n" for line in self.lines.values()))
        else:
            append_line(self.path, json.dumps(line))

    def finish(
        self,
        runs: Sequence[NamedRun],
        workers: int | None = None,
        scheduler: str | None = None,
        progress: bool = True,
        title: str = "runs",
        on_line: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, str]:
        """Finish these runs, and keep a line of each as it ends.

        A run that fails or diverges is reported and the others go on. One whose process is killed is started again from
        its last checkpoint. Ctrl-C and SIGTERM let each run save at its next tick; called again, it goes on from there.

        Args:
            workers: runs side by side, each in a process of its own; None: one after the other in this process, with a
                bar for each.
            scheduler: address of a Dask scheduler, such as tcp://host:8786. Every thread of its workers takes a run.
            progress: show a bar over runs, with the time left.
            on_line: told each line when it is kept.

        Returns:
            The runs that could not be finished: name -> why.

        Raises:
            UserError: no scheduler.
            KeyboardInterrupt: after Ctrl-C.
        """
        failures: dict[str, str] = {}
        if not runs:
            return failures
        if workers is None and scheduler is None:
            answers = ((run, in_this_process(run.job, progress)) for run in runs)
        else:
            answers = _side_by_side(runs, workers or 1, scheduler, progress, title)
        with closing(answers):
            for run, answer in answers:
                if "line" in answer:
                    self.keep({"run": run.name, **run.about, **answer["line"]})
                    if on_line is not None:
                        on_line(self.lines[run.name])
                    told = answer["line"].get("diverged")
                else:
                    told = failures[run.name] = answer.get("error", "it was stopped from outside; start again")
                if told:
                    tqdm.write(f"{run.name}: {told}", file=sys.stderr)
        return failures


@contextmanager
def results_in(folder: str | Path, doing: str) -> Iterator[Results]:
    """The results of a folder, which no other process may add to inside the block.

    Args:
        doing: what is done there, as in "another process is sweeping".

    Raises:
        UserError: another process has it, or results.jsonl is damaged.
    """
    from filelock import FileLock, Timeout

    folder = make_folder(folder)
    try:
        lock = FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout:
        raise UserError(f"another process is {doing} {str(folder)!r}; wait for it or choose another folder") from None
    with lock:
        yield Results(folder / RESULTS)


def read_results(path: Path, mend: bool = True) -> dict[str, dict[str, Any]]:
    """The finished runs of a results.jsonl by name. Half a line at the end, left by a kill, is cut off: its run is
    finished, so that it only has to be judged again.

    Args:
        mend: cut it off in the file, too; False for somebody who only looks, while others may be writing.

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
            raise UserError(f"line {number} of {str(path)!r} is damaged; delete that line and start again") from None
        if name in results:
            raise UserError(f"line {number} of {str(path)!r} counts run {name!r} twice; delete one of the two")
        results[name] = line
    if mend and whole != content:
        replace_file(path, whole)
    return results


def check_all_finished(failures: dict[str, str], of: int) -> None:
    """For tables that need every run.

    Raises:
        UserError: some failed.
    """
    if failures:
        name, why = next(iter(failures.items()))
        raise UserError(f"{len(failures)} of {of} runs failed, the others are kept; the first is {name}: {why}")


def fitting_workers(device: str, threads: int) -> int:
    """As many runs side by side as the cores have threads for, or one where there is a GPU."""
    return 1 if choose_device(device).type == "cuda" else max(1, available_cores() // max(1, threads))


def check_scheduler(address: str) -> None:
    """
    Raises:
        UserError: no Dask scheduler answers there, or it has no workers.
    """
    with _dask(address):
        pass


Submit = Callable[[Job], Any]


def _side_by_side(
    runs: Sequence[NamedRun], workers: int, scheduler: str | None, progress: bool, title: str
) -> Iterator[tuple[NamedRun, Answer]]:
    """Runs as they end, each in a process of its own."""
    placing = _local(min(workers, len(runs))) if scheduler is None else _dask(scheduler)
    with stop_at_next_tick() as stopped, placing as submit, _bar(runs, progress, title) as show:
        pending, shown = {submit(run.job): run for run in runs}, 0.0
        while pending:
            if stopped():
                raise KeyboardInterrupt
            for future in [future for future in pending if future.done()]:
                yield pending.pop(future), _answer(future)
            if time.monotonic() - shown > REFRESH:
                show()
                shown = time.monotonic()
            time.sleep(POLL)
        show()


def _answer(future: Any) -> Answer:
    try:
        return future.result()
    except Exception as error:  # such as Dask's: its worker died too often
        return {"error": f"{type(error).__name__}: {error}"}


@contextmanager
def _local(workers: int) -> Iterator[Submit]:
    """A way to hand jobs to local processes. Left by an exception, they save and stop."""
    stop = threading.Event()
    with ThreadPoolExecutor(workers) as threads:  # each waits for a process of its own
        try:
            yield lambda job: threads.submit(in_own_process, job, stop.is_set)
        except BaseException:
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
    _find_scheduler(address)
    with Client(address, timeout=PATIENCE) as client:  # leaving it, by an exception too, cancels what is not done
        if not client.nthreads():
            raise UserError(f"the Dask scheduler at {address!r} has no workers; start some with dask worker {address}")
        # A key for each run folder: a task that is handed in again while it still runs is not run twice.
        yield lambda job: client.submit(on_dask, job, key=job["folder"], pure=False, retries=2)


def _find_scheduler(address: str) -> None:
    """Wait for the scheduler to say what it is; a client would wait for ever where something else listens, whatever
    its `timeout`.

    Raises:
        UserError: it did not answer in time, or is something else.
    """
    from distributed import Security
    from distributed.core import rpc

    async def ask() -> dict[str, Any]:
        async with rpc(address, connection_args=Security().get_connection_args("client")) as there:
            return await there.identity()

    try:
        with ThreadPoolExecutor(1) as thread:  # in a notebook this one has a loop already
            kind = thread.submit(lambda: asyncio.run(asyncio.wait_for(ask(), PATIENCE))).result()["type"]
        why = "" if kind == "Scheduler" else f"there is a {kind}"
    except Exception as error:  # there are as many kinds as there are programs that could listen
        why = f"{type(error).__name__}: {error}".split("\n")[0].rstrip(": ")
    if why:
        raise UserError(
            f"no Dask scheduler answers at {address!r} within {PATIENCE:g} s ({why}); start one with dask scheduler "
            "and give its address as tcp://HOST:PORT"
        )


@contextmanager
def _bar(runs: Sequence[NamedRun], progress: bool, title: str) -> Iterator[Callable[[], None]]:
    """A bar over runs; what it gives moves it, in fractions of a run, to where their checkpoints are."""

    def done() -> float:
        return sum(run.share_done() for run in runs)

    layout = "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total} runs [{elapsed}<{remaining}]"
    with tqdm(total=len(runs), initial=done(), desc=title, bar_format=layout, disable=not progress) as bar:
        yield lambda: bar.update(max(0.0, done() - bar.n)) and None
