"""What each notebook costs who runs it: seconds, and the memory of its kernel at its peak.

Every source is run from nothing, top to bottom, as a student would run it: exercises unsolved, checks failing. What
must not happen (a cell fails, other than a check) stops the report.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError
from .build import CELL_SECONDS, Job, client_for, jobs, kernel_environment, repository
from .sources import read

SECONDS, ALL_SECONDS = 240, 900  # a notebook; all of them
MEMORY = 1.0e9  # bytes; a free Binder has 2 GB, for the kernel and for Jupyter


class Cost(NamedTuple):
    """Of one notebook. `peak` is None where the system does not say."""

    name: str
    seconds: float
    longest: float  # cell, in seconds
    peak: int | None

    @property
    def fits(self) -> bool:
        return self.seconds <= SECONDS and (self.peak or 0) <= MEMORY


def peak_memory(pid: int) -> int | None:
    """The largest resident memory of a process so far, in bytes; None where there is no /proc to say it."""
    status = Path(f"/proc/{pid}/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), None)


def report(only: Iterable[str] | None = None, root: Path | None = None) -> bool:
    """Run every notebook (or the lessons of `only`) and print a line for each; True when all keep within the limits.

    Raises:
        UserError: a cell fails that should not, or hangs.
    """
    root = repository() if root is None else root
    print(f"{'notebook':<56} {'seconds':>8} {'longest cell':>13} {'peak GB':>8}")
    costs = []
    for job in jobs(root, only):
        if job.kind == "page":
            continue
        cost = measure(job)
        costs.append(cost)
        peak = "unknown" if cost.peak is None else f"{cost.peak / 1e9:.2f}"
        over = "" if cost.fits else f"  over the limit of {SECONDS} s and {MEMORY / 1e9:.1f} GB"
        print(f"{cost.name:<56} {cost.seconds:>8.1f} {cost.longest:>13.1f} {peak:>8}{over}", flush=True)
    total = sum(cost.seconds for cost in costs)
    print(f"{'all':<56} {total:>8.1f}" + (f"  over the limit of {ALL_SECONDS} s" if total > ALL_SECONDS else ""))
    return total <= ALL_SECONDS and all(cost.fits for cost in costs)


def measure(job: Job) -> Cost:
    """Run one notebook in a kernel of its own, started and stopped within the time."""
    from nbclient.exceptions import CellExecutionError, CellTimeoutError

    notebook, name = read(job.source, job.kind), f"{job.target.parent.name}/{job.target.name}"
    job.target.parent.mkdir(parents=True, exist_ok=True)
    client = client_for(notebook, job)
    began, longest = time.perf_counter(), 0.0
    try:
        with client.setup_kernel(env=kernel_environment()):
            for number, cell in enumerate(notebook.cells):
                at = time.perf_counter()
                client.execute_cell(cell, number)
                longest = max(longest, time.perf_counter() - at)
            peak = peak_memory(client.km.provisioner.pid)
    except CellExecutionError as error:
        raise UserError(f"{name} stops at cell {number}: {error.ename}: {error.evalue}") from None
    except CellTimeoutError:
        raise UserError(f"{name} hangs at cell {number}, for more than {CELL_SECONDS} s") from None
    return Cost(name, time.perf_counter() - began, longest, peak)
