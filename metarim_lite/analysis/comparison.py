"""Methods side by side, from the lines that a sweep leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import unknown
from .statistics import interquartile_mean, probability_of_improvement, stratified_bootstrap

FEW = 5  # with fewer seeds a bootstrap interval is too narrow: it has too little to resample


def label(line: dict[str, Any]) -> str:
    """The method of a run, with the settings that the sweep varied."""
    return " ".join([line["method"], *(f"{name}={value}" for name, value in line["varied"].items())])


def comparison_table(results: Sequence[dict[str, Any]], baseline: str | None = None, draws: int = 2000) -> str:
    """For each level, and for all together, a Markdown table of methods.

    Columns: interquartile mean over seeds of held-out success, with its 95 % interval; the number of seeds; frames
    per second (median); the probability that a run beats one of the baseline.

    Arguments:
        results: lines with `method`, `varied`, `level`, `success`, `frames_per_second`.
        baseline: the method to compare with, as its row is labelled; default: the first.
        draws: resamplings for each interval.

    Raises:
        UserError: the baseline is not among the methods.
    """
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {}  # method -> level -> lines
    levels = list(dict.fromkeys(line["level"] for line in results))
    for line in results:
        runs.setdefault(label(line), {}).setdefault(line["level"], []).append(line)
    if not runs:
        return "no run is finished yet"
    baseline = baseline or next(iter(runs))
    if baseline not in runs:
        raise unknown("baseline", baseline, runs)
    parts = [_table(level, {m: {level: on[level]} for m, on in runs.items() if level in on}, baseline, draws)
             for level in levels]  # fmt: skip
    everywhere = {m: on for m, on in runs.items() if len(on) == len(levels)}
    if len(levels) > 1 and everywhere:
        parts.append(_table("all levels", everywhere, baseline, draws))
    if min(len(lines) for on in runs.values() for lines in on.values()) < FEW:
        parts.append(f"Intervals over fewer than {FEW} seeds are too narrow to be trusted.")
    return "\n\n".join(parts)


def _table(title: str, runs: dict[str, dict[str, list[dict[str, Any]]]], baseline: str, draws: int) -> str:
    rows = [f"| {title} | success (IQM) | seeds | frames/s | P(better than {baseline}) |", "|---|---|---|---|---|"]
    scores = {m: [np.array([r["success"]["value"] for r in lines]) for _, lines in sorted(on.items())]
              for m, on in runs.items()}  # fmt: skip
    enough = {m: min(map(len, groups)) > 1 for m, groups in scores.items()}
    for name, groups in scores.items():
        rng = np.random.default_rng(0)  # the same table each time
        success = f"{interquartile_mean(*groups):.3f} (no interval)"
        better = "–"
        if enough[name]:
            success = str(stratified_bootstrap(interquartile_mean, *groups, rng=rng, draws=draws))
            if name != baseline and enough.get(baseline):
                better = str(probability_of_improvement(groups, scores[baseline], rng=rng, draws=draws))
        seeds = " + ".join(map(str, dict.fromkeys(map(len, groups))))
        speed = np.median([r["frames_per_second"] for lines in runs[name].values() for r in lines])
        rows.append(f"| {name} | {success} | {seeds} | {speed:,.0f} | {better} |")
    return "\n".join(rows)
