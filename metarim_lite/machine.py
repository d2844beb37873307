"""This machine: its devices, and what decides speed on its CPU: memory that is kept, no more threads than cores, and
several processes where there is much to do."""

from __future__ import annotations

import ctypes
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from .errors import UserError

log = logging.getLogger(__name__)

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # numbers from glibc's malloc.h
MADV_HUGEPAGE = 14  # from Linux's mman.h
IN_HUGE_PAGES = 2**29  # bytes of address space, of which only what is used takes memory


def keep_freed_memory() -> bool:
    """Tell glibc's allocator to keep what is freed, for this process. False where there is no glibc.

    Otherwise it hands large freed blocks back to the system and faults them in anew, page by page, at the next
    allocation, which costs programs that make the same tensors thousands of times a second a third of their time.
    What it keeps lies in huge pages where the system has them for who asks: a tensor of a megabyte then is one entry
    in the processor's table of pages and not 256, which saved a virtual machine another tenth of a training.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return False
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 2**24}
    kept = all([libc.mallopt(option, value) == 1 for option, value in settings.items()])
    if kept:
        _prefer_huge_pages(libc)
    return kept


def _prefer_huge_pages(libc: ctypes.CDLL) -> None:
    """Ask for huge pages at the end of the heap, where what is allocated next will lie. It is only advice."""
    libc.malloc.restype = ctypes.c_void_p
    block = libc.malloc(ctypes.c_size_t(IN_HUGE_PAGES))
    if block is None:
        return  # the process may not have so much address space
    first = -(-block // 2**21) * 2**21  # a page of the system's, of any size, begins here
    libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(block + IN_HUGE_PAGES - first), MADV_HUGEPAGE)
    libc.free(ctypes.c_void_p(block))


def peak_memory_gb() -> float | None:
    """Peak resident memory of this process in GB (10⁹ bytes); None on Windows, which has no such count."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e9


def available_cores() -> int:
    """Cores this process may use: its affinity and, in a container, its quota (Binder gives 1 of many)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = Path("/sys/fs/cgroup/cpu.max")
    if limit.is_file():
        quota, _, period = limit.read_text(encoding="utf-8").partition(" ")
        if quota.isdigit():
            cores = min(cores, max(1, math.ceil(int(quota) / int(period))))
    return cores


def fitting_threads() -> int:
    """At most one of torch's threads per available core; more would wait for each other."""
    return min(torch.get_num_threads(), available_cores())


def fit_threads_to_cores() -> int:
    """Let torch use no more threads than fit. Returns the number."""
    threads = fitting_threads()
    torch.set_num_threads(threads)
    return threads


@contextmanager
def fixed_threads(threads: int) -> Iterator[None]:
    """Inside, torch uses so many threads on a CPU, though there be fewer cores; after it, as many as before.

    A sum that is shared by threads is added up in another order, which rounds otherwise: only with as many threads
    as before are a run's numbers the same to the last bit.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    if torch.get_num_threads() != threads:
        log.warning("torch uses %d threads, not %d: numbers will differ by rounding", torch.get_num_threads(), threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def check_device(device: str | torch.device) -> torch.device:
    """The device of that name.

    Raises:
        UserError: there is none here.
    """
    try:
        found = torch.device(device)
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError, TypeError):
        raise UserError(f"device {str(device)!r} is not available here; use 'cpu'") from None
    return found


def choose_device(name: str) -> torch.device:
    """ "auto" is a GPU if there is one.

    Raises:
        UserError: the device is unknown or not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = check_device(name)
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device {name!r} is not supported; use 'auto', 'cpu' or 'cuda'")
    return device


def memory_of(device: torch.device) -> int:
    """Bytes of a GPU."""
    return torch.cuda.get_device_properties(device).total_memory


PATIENCE = 10.0  # seconds of work from which on starting processes pays


def in_processes(
    work: Callable[[Sequence[Any]], list[Any]],
    items: Sequence[Any],
    workers: int | None = None,
    label: str | None = None,
    chunk: int = 32,
) -> list[Any]:
    """work(items), chunk by chunk, here or in several processes; one result per item, in order.

    Args:
        workers: processes; None takes all cores if the first chunks tell that the work is long.
        label: of the progress bar; None shows none.
        chunk: items handed to a process at a time.

    Raises:
        UserError: fewer than one worker.
    """
    from tqdm.auto import tqdm

    if workers is not None and workers < 1:
        raise UserError(f"workers must be at least 1 or None, got {workers}")
    chunks = [items[i : i + chunk] for i in range(0, len(items), chunk)]
    results: list[Any] = []
    start = time.monotonic()
    with tqdm(total=len(items), desc=label, unit="level", disable=label is None or not items) as bar:
        while chunks:
            remaining = (time.monotonic() - start) * len(chunks) / max(len(results) / chunk, 1)
            use = workers or (available_cores() if results and remaining > PATIENCE else 1)
            if use > 1 and len(chunks) > 1:
                from joblib.externals.loky import ProcessPoolExecutor

                with ProcessPoolExecutor(use) as pool:
                    for made in pool.map(work, chunks):
                        results += made
                        bar.update(len(made))
                break
            made = work(chunks.pop(0))
            results += made
            bar.update(len(made))
    return results
