"""The loop around the ticks of a learner: a bar, and a Ctrl-C or SIGTERM that waits for a tick's end."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..errors import Diverged
from ..processes import leads, place
from .folder import Learner, RunFolder
from .metrics import record_divergence

log = logging.getLogger(__name__)

LARGE_STATE = 100.0  # |h| of an LSTM stays below 1, of a RIM with bounded messages below 2


@dataclass
class Loop:
    """The inside of `looping`."""

    learner: Learner
    count: str
    unit: str
    total: int
    bar: Any
    stopped: Callable[[], bool]
    """Whether Ctrl-C was pressed, or SIGTERM came."""
    folder: Path | None
    """That of the run, if it has one."""

    def advance(self, tick: Callable[[], dict[str, Tensor]], due: Callable[[], bool]) -> tuple[dict[str, float], float]:
        """Ticks up to the next report: (means of the numbers they watched, counts per second).

        Raises:
            Diverged: one of the numbers is not finite.
        """
        counters, watched = self.learner.counters, {}
        began, first = time.perf_counter(), counters[self.count]
        while True:
            before = counters[self.count]
            for name, number in self._finite(tick()).items():
                watched.setdefault(name, []).append(number)
            self.bar.update(counters[self.count] - before)
            if due() or self.stopped():
                break
        means = torch.stack([torch.stack(numbers).mean() for numbers in watched.values()]).tolist() if watched else []
        means = dict(zip(watched, means, strict=True))
        self._warn_of_large_states(means)
        seconds = time.perf_counter() - began
        counters["seconds"] += seconds
        counters["reports"] += 1
        return means, (counters[self.count] - first) / seconds

    def report(
        self,
        kept: RunFolder,
        next_line: Callable[[], dict[str, Any]],
        on_report: Callable[[dict[str, Any]], None] | None = None,
        **more: Any,
    ) -> bool:
        """Lines of metrics, one after the other, each with a checkpoint: until all is counted, or somebody stops it.

        Args:
            next_line: advances up to the next report, and gives its line.
            on_report: called with each line.
            more: for each checkpoint, as in `RunFolder.save`.

        Returns:
            whether all was counted.
        """
        while (missing := self.learner.counters[self.count] < self.total) and not self.stopped():
            line = next_line()
            kept.report(line, self.learner, **more)
            if on_report is not None:
                on_report(line)
        if missing:
            self.say_where()
        return not missing

    def say_where(self) -> None:
        """Say how to go on with a run that was stopped."""
        count = f"{self.learner.counters[self.count]:,} {self.unit}"
        how = f"and saved in {str(self.folder)!r}; start it again with the same settings and folder to go on"
        lost = "; nothing of it is kept on disk, which needs a folder"
        self.bar.write(f"stopped after {count}" + (f" {how}" if self.folder else lost), file=sys.stderr)

    def _warn_of_large_states(self, means: dict[str, float]) -> None:
        """One log line a run when a controller's state grows beyond all use: long before the loss is not finite."""
        top = max((value for key, value in means.items() if key.endswith("/largest_h")), default=0.0)
        if top > LARGE_STATE and not self.learner.warned:
            self.learner.warned = True
            log.warning(
                "the largest |h| is %.3g after %s %s, where a healthy run has less than 10: it may diverge; choose "
                "agent.output_gate='bounded' or lower rates",
                top,
                f"{self.learner.counters[self.count]:,}",
                self.unit,
            )

    def _finite(self, watched: dict[str, Tensor]) -> dict[str, Tensor]:
        """The same, after one look at all of them: a look makes the host wait for the device."""
        if watched and not torch.stack(list(watched.values())).isfinite().all():
            name = next(k for k, v in watched.items() if not v.isfinite())
            kept = self.folder is not None and self.learner.counters["reports"] > 0
            where = f"{self.learner.counters[self.count]:,} {self.unit}"
            told = (
                f"{name} is not finite at {where}; "
                f"{'the last good checkpoint is kept' if kept else 'there was no checkpoint yet'}: begin a run with "
                "lower learning rates in a new folder"
            )
            if self.folder is not None and leads():
                record_divergence(self.folder, where, told)
            raise Diverged(told)
        return watched


@contextmanager
def looping(
    learner: Learner, count: str, unit: str, total: int, title: str, progress: bool, folder: Path | None
) -> Iterator[Loop]:
    """A bar from where the learner is to `total`, and a Ctrl-C or SIGTERM that waits for the end of a tick.

    Args:
        count: the counter that says how far the run is.
        unit: what it counts.
        folder: that of the run, if it has one.
    """
    done, scale = learner.counters[count], unit == "frames"
    bar = tqdm(total=total, initial=done, unit=f" {unit}", unit_scale=scale, desc=title, disable=not progress)
    with stop_at_next_tick() as stopped, bar:
        yield Loop(learner, count, unit, total, bar, stopped, folder)


@contextmanager
def stop_at_next_tick() -> Iterator[Callable[[], bool]]:
    """Inside, Ctrl-C or SIGTERM asks to stop after the current tick, when a run can be saved whole.

    A second Ctrl-C stops at once. SIGTERM, which clusters and notebooks send before they kill, is meant for more than
    the run: at the end it is raised once more, for whoever would have got it. Most processes it ends, with status 143.
    """
    asked: set[int] = set()

    def ask(number: int, _: Any) -> None:
        if number == signal.SIGINT and number in asked:
            raise KeyboardInterrupt
        if not asked:
            how = b"Ctrl-C again to stop at once" if number == signal.SIGINT else b"asked by SIGTERM"
            os.write(2, b"\nstopping after this tick (" + how + b")\n")
        asked.add(number)

    # Several processes would not stop at the same tick; torchrun ends them all, and the last checkpoint stays.
    if threading.current_thread() is not threading.main_thread() or place().size > 1:
        yield lambda: bool(asked)
        return
    previous = {signal.SIGINT: signal.getsignal(signal.SIGINT), signal.SIGTERM: signal.getsignal(signal.SIGTERM)}
    # One that is ignored stays so; None: it was set outside Python, which could not put it back.
    ours = [n for n, handler in previous.items() if n == signal.SIGINT or handler not in (signal.SIG_IGN, None)]
    for number in ours:
        signal.signal(number, ask)
    try:
        yield lambda: bool(asked)
    finally:
        for number in ours:
            signal.signal(number, previous[number])
        if signal.SIGTERM in asked:
            signal.raise_signal(signal.SIGTERM)
