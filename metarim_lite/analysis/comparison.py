"""Methods side by side, from the lines that a sweep leaves behind."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import unknown
from .curves import median
from .statistics import interquartile_mean, probability_of_improvement, stratified_bootstrap

FEW = 5  # with fewer seeds a bootstrap interval is too narrow: it has too little to resample
NONE = "–"
Lines = list[dict[str, Any]]


def label(line: dict[str, Any]) -> str:
    """The method of a run, with the settings that the sweep varied."""
    return " ".join([line["method"], *(f"{name}={value}" for name, value in line["varied"].items())])


def comparison_table(
    results: Sequence[dict[str, Any]],
    baseline: str | None = None,
    draws: int = 2000,
    missing: Sequence[dict[str, Any]] = (),
) -> str:
    """For each level, and for all together, a Markdown table of methods.

    Columns, with 95 % intervals over seeds: interquartile mean of held-out success at the end; the same of the area
    under the held-out curve; median of the frames after which held-out success was first measured at 90 % or more; the
    number of seeds; frames per second (median); the probability that a run ends better than one of the baseline.

    A run that diverged is a result: success 0 at the end, its own curve up to its last evaluation and 0 after it. The
    column of seeds says how many did. A run that failed is none, and is named below the table.

    Args:
        results: lines with `method`, `varied`, `level` and `success`; and where they were recorded
            `frames_per_second`, `area`, `frames_to` and `diverged`.
        baseline: the method to compare with, as its row is labelled; default: the first.
        draws: resamplings for each interval.
        missing: runs without a result: `run` (its name), `method`, `varied`, `level`, `why`.

    Raises:
        UserError: the baseline is not among the methods.
    """
    runs: dict[str, dict[str, Lines]] = {}  # method -> level -> lines
    levels = list(dict.fromkeys(line["level"] for line in [*results, *missing]))
    for line in results:
        runs.setdefault(label(line), {}).setdefault(line["level"], []).append(line)
    for line in missing:
        runs.setdefault(label(line), {}).setdefault(line["level"], [])
    named = "\n".join(["Missing, and in no number above:", *(f"- {line['run']}: {line['why']}" for line in missing)])
    if not results:
        return "\n\n".join(["no run is finished yet", *([named] if missing else [])])
    baseline = baseline or next(iter(runs))
    if baseline not in runs:
        raise unknown("baseline", baseline, runs)
    lost = {m: [sum(label(line) == m and line["level"] == level for line in missing) for level in levels] for m in runs}
    parts = [
        _table(level, {m: {level: on[level]} for m, on in runs.items() if level in on}, baseline, draws,
               {m: counts[i] for m, counts in lost.items()})
        for i, level in enumerate(levels)
    ]  # fmt: skip
    everywhere = {m: on for m, on in runs.items() if len(on) == len(levels)}
    if len(levels) > 1 and everywhere:
        parts.append(_table("all levels", everywhere, baseline, draws, {m: sum(lost[m]) for m in everywhere}))
    parts += notes_on_seen(levels, [_seen(results, level) for level in levels])
    if any("diverged" in line for line in results):
        parts.append("A run that diverged counts as success 0 at the end, and from its last evaluation on.")
    if missing:
        parts.append(named)
    if min(len(lines) for on in runs.values() for lines in on.values()) < FEW:
        parts.append(f"Intervals over fewer than {FEW} seeds are too narrow to be trusted.")
    return "\n\n".join(parts)


def notes_on_seen(names: Sequence[str], shares: Sequence[float | None]) -> list[str]:
    """What has to be said beside figures on held-out levels: for each name that has some, the share of them that are
    identical to a training level."""
    return [
        f"{name}: {seen:.1%} of the held-out levels are identical to training levels"
        for name, seen in zip(names, shares, strict=False)
        if seen
    ]


def _seen(results: Sequence[dict[str, Any]], level: str) -> float:
    """The largest share that a run on this level has: runs have the same but where the levels trained on are varied."""
    return max((line.get("seen") or 0.0 for line in results if line["level"] == level), default=0.0)


def _table(title: str, runs: dict[str, dict[str, Lines]], baseline: str, draws: int, lost: dict[str, int]) -> str:
    columns = [
        "success (IQM)",
        "area (IQM)",
        "frames to 90 % (median)",
        "seeds",
        "frames/s",
        f"P(better than {baseline})",
    ]
    rows = ["| " + " | ".join([title, *columns]) + " |", "|---" * (1 + len(columns)) + "|"]
    for name, on in runs.items():
        rng = np.random.default_rng(0)  # the same table each time
        scores = _numbers(on, _success)
        success = _summary(interquartile_mean, scores, draws, rng, "{:.3f}".format)
        better, against = NONE, _numbers(runs.get(baseline, {}), _success)
        if name != baseline and scores and against and min(map(len, [*scores, *against])) > 1:
            better = str(probability_of_improvement(scores, against, rng=rng, draws=draws))
        area = _summary(interquartile_mean, _numbers(on, lambda r: r.get("area")), draws, rng, "{:.3f}".format)
        frames = NONE  # of several levels together a number of frames says nothing
        if len(on) == 1:
            frames = _summary(median, _numbers(on, _frames_to_90), draws, rng, _count)
        lines = [line for of_level in on.values() for line in of_level]
        speeds = [line["frames_per_second"] for line in lines if line.get("frames_per_second")]
        speed = f"{np.median(speeds):,.0f}" if speeds else NONE
        rows.append("| " + " | ".join([name, success, area, frames, _seeds(on, lost[name]), speed, better]) + " |")
    return "\n".join(rows)


def _success(line: dict[str, Any]) -> float:
    return 0.0 if "diverged" in line else line["success"]["value"]


def _frames_to_90(line: dict[str, Any]) -> float | None:
    if "frames_to" not in line:
        return None
    reached = line["frames_to"]["0.9"]
    return math.inf if reached is None else float(reached)


def _numbers(on: dict[str, Lines], what: Callable[[dict[str, Any]], float | None]) -> list[np.ndarray] | None:
    """One number of every run [runs], for each level in order. None where some run has none: a mean of the others would
    pass for that of the method."""
    groups = [[what(line) for line in lines] for _, lines in sorted(on.items())]
    if not groups or not all(groups) or any(number is None for group in groups for number in group):
        return None
    return [np.array(group) for group in groups]


def _summary(
    statistic: Callable[..., np.ndarray],
    groups: list[np.ndarray] | None,
    draws: int,
    rng: np.random.Generator,
    written: Callable[[float], str],
) -> str:
    if groups is None:
        return NONE
    if min(map(len, groups)) < 2:
        return f"{written(float(statistic(*groups)))} (no interval)"
    value, low, high = map(written, stratified_bootstrap(statistic, *groups, rng=rng, draws=draws))
    return f"{value} [{low}, {high}]"


def _count(frames: float) -> str:
    return f"{frames:,.0f}" if math.isfinite(frames) else "never"


def _seeds(on: dict[str, Lines], lost: int) -> str:
    """ "4", or "4, 2 of 4 diverged", or "3, 1 missing"."""
    runs = sum(map(len, on.values()))
    diverged = sum("diverged" in line for lines in on.values() for line in lines)
    words = [" + ".join(map(str, dict.fromkeys(map(len, on.values()))))]
    words += [f"{diverged} of {runs} diverged"] if diverged else []
    return ", ".join(words + ([f"{lost} missing"] if lost else []))
