"""Speed as ratios: ours and a peer measured alternately in one run. `metarim bench NAME`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median
from typing import Any


def _worlds() -> Iterator[dict[str, Any]]:
    from .worlds import bench_worlds

    yield from bench_worlds()


def _rim() -> Iterator[dict[str, Any]]:
    from .rim import bench_rim

    yield from bench_rim()


def _train() -> Iterator[dict[str, Any]]:
    from .train import bench_train

    yield from bench_train()


def _solve() -> Iterator[dict[str, Any]]:
    from .train import bench_solve

    yield from bench_solve()


def _watch() -> Iterator[dict[str, Any]]:
    from .watch import bench_watch

    yield from bench_watch()


def _gpu() -> Iterator[dict[str, Any]]:
    from .gpu import bench_gpu

    yield from bench_gpu()


BENCHES: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
    "worlds": _worlds,
    "rim": _rim,
    "train": _train,
    "solve": _solve,
    "watch": _watch,
    "gpu": _gpu,
}


def alternate(ours: Callable[[], float], theirs: Callable[[], float] | None, rounds: int = 3) -> tuple[float, float]:
    """Medians of two measurements taken in turns, so that a noisy machine disturbs both alike.

    Args:
        ours, theirs: measure once and return a speed (per second). `theirs` None: not installed.

    Returns:
        (our median, their median or nan).
    """
    a, b = [], []
    for _ in range(rounds):
        a.append(ours())
        if theirs is not None:
            b.append(theirs())
    return median(a), median(b) if b else float("nan")


def in_pairs(
    ours: Callable[[], float], theirs: Callable[[], float], rounds: int = 3
) -> tuple[float, float, list[float]]:
    """Like `alternate`, for two that are nearly alike: also the ratio of each round, in which each is measured once;
    which of them comes first changes from round to round.

    Returns:
        (our median, their median, ours / theirs of each round).
    """
    a, b = [], []
    for number in range(rounds):
        for measure, found in ((ours, a), (theirs, b))[:: 1 if number % 2 == 0 else -1]:
            found.append(measure())
    return median(a), median(b), [x / y for x, y in zip(a, b, strict=True)]


def row(bench: str, case: str, mode: str, ours: float | None, peer: str, theirs: float | None) -> dict[str, Any]:
    """One line of a bench. `ours` None: there is nothing to measure, and `case` says why. `theirs` None: the peer is
    not installed."""
    known = theirs is not None and theirs == theirs
    return {
        "bench": bench,
        "case": case,
        "mode": mode,
        "ours": None if ours is None else round(ours, 1),
        "peer": peer if known else f"{peer} (not installed)",
        "theirs": round(theirs, 1) if known else None,
        "ratio": round(ours / theirs, 3) if known and ours is not None else None,
    }


def format_row(r: dict[str, Any]) -> str:
    """A row for people: case, mode, both speeds, ratio, and its spread where it has one."""
    ours, theirs = (f"{r[k]:>14,.0f}" if r.get(k) is not None else f"{'–':>14s}" for k in ("ours", "theirs"))
    ratio = f"{r['ratio']:>8.2f}×" if r.get("ratio") is not None else f"{'–':>9s}"
    if "spread" in r:
        ratio += " ({:.2f} to {:.2f})".format(*r["spread"])
    return f"{r['bench']:7s} {r['case']:38s} {r['mode']:14s} {ours}  {r['peer']:28s} {theirs} {ratio}"
