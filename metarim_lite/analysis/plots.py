"""Drawings of recorded numbers. matplotlib is imported when something is drawn, not before."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..files import user_path
from .report import of_agents
from .statistics import Estimate, interquartile_mean, stratified_bootstrap

# Okabe and Ito's palette: distinct for colour-blind readers. Line styles repeat the distinction.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))


def learning_curves(
    runs: dict[str, list[dict[str, Any]]],
    path: str | Path,
    *,
    held_out: dict[str, Estimate] | None = None,
    title: str = "",
) -> str:
    """Success while training against frames, one curve per run; held-out success as points with intervals.

    Args:
        runs: name -> the lines of its metrics.jsonl (`frames`, and `success` where an episode ended).
        path: where the PNG goes.
        held_out: name -> success on held-out levels after training.

    Returns:
        One sentence that says in words what the picture shows.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    words = []
    for i, (name, metrics) in enumerate(runs.items()):
        color, style = COLORS[i % len(COLORS)], STYLES[i % len(STYLES)]
        known = [m for m in metrics if "success" in m]  # where an episode ended
        frames = np.array([m["frames"] for m in known], dtype=float) / 1e6
        success = np.array([m["success"] for m in known], dtype=float)
        axes.plot(frames, success, color=color, linestyle=style, linewidth=2, label=name)
        if len(success):
            words.append(f"{name} ends at {success[-1]:.0%} after {frames[-1]:.2f} million frames")
        if held_out and name in held_out and metrics:
            e = held_out[name]
            axes.errorbar(
                metrics[-1]["frames"] / 1e6,
                e.value,
                yerr=[[e.value - e.low], [e.high - e.value]],
                fmt="o",
                color=color,
                capsize=4,
            )
    if held_out:
        for name, e in held_out.items():
            if name not in runs:
                axes.axhline(e.value, color="#777777", linestyle=":", linewidth=1.5, label=name)
                words.append(f"{name} reaches {e.value:.0%}")
    axes.set(xlabel="frames (millions)", ylabel="success rate", ylim=(-0.02, 1.02), title=title)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(user_path(path), dpi=120)
    return "Success rate against training frames: " + "; ".join(words) + "."


def metric_curves(runs: dict[str, Sequence[dict[str, Any]]], path: str | Path) -> str:
    """Learning curves of several runs: a panel for each quantity, a colour for each run.

    For agents: success of all missions, of each kind of mission where there are several, and on held-out levels where
    it was measured; of those that imitate, how often they would act as the bot. For sequence tasks: loss, and the
    task's metric on each test split.

    Args:
        runs: name -> the lines of its metrics.jsonl, at least one.
        path: where the PNG goes.

    Returns:
        One sentence that says in words what the picture shows.

    Raises:
        UserError: no runs, agents and sequence tasks at once, or nothing to draw yet.
    """
    from matplotlib.figure import Figure

    agents = of_agents(runs)
    x, unit, scale = ("frames", "frames (millions)", 1e6) if agents else ("update", "updates", 1)
    keys = list(dict.fromkeys(key for lines in runs.values() for line in lines for key in line))
    kinds = [key for key in keys if key.startswith("success/")]
    if agents:
        wanted = ["success", *(kinds if len(kinds) > 1 else []), "held_out_success", "fast/accuracy", "slow/accuracy"]
        panels = [key for key in wanted if key in keys]
    else:
        panels = ["loss", *(key for key in keys if key.startswith("test/"))]
    if not panels:
        raise UserError("no run has reported an episode that counts yet; wait for a later report")
    width = min(3, len(panels))
    height = -(-len(panels) // width)
    figure = Figure(figsize=(4.2 * width + 1, 3.4 * height), layout="constrained")
    grid = figure.subplots(height, width, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        for i, (name, lines) in enumerate(runs.items()):
            points = [(line[x] / scale, line[panel]) for line in lines if panel in line]
            if points:
                style = {"color": COLORS[i % len(COLORS)], "linestyle": STYLES[i % len(STYLES)]}
                axes.plot(*zip(*points, strict=True), label=name, **style)
        axes.set(xlabel=unit, title=panel.replace("_", " ").replace("/", ": "))
        if agents:
            axes.set_ylim(-0.02, 1.02)
        axes.grid(alpha=0.3)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    grid.flat[0].legend(frameon=False, fontsize="small")
    figure.savefig(user_path(path), dpi=120)
    last = {name: [line[panels[0]] for line in lines if panels[0] in line][-1:] for name, lines in runs.items()}
    ends = "; ".join(f"{name} ends at {values[0]:.3f}" for name, values in last.items() if values)
    return f"{panels[0].capitalize()} against {unit}: {ends}."


Curve = tuple[Sequence[float], Sequence[float]]


def curves_in_panels(curves: Mapping[str, Sequence[Curve]], first: str | None = None) -> tuple[str, str]:
    """Learning curves of settings over several runs: a panel for each, that of `first` behind all others.

    A line is the interquartile mean over runs of curves that are straight between the places of measurement, the band
    its 95 % interval by a bootstrap over runs, at each place for itself; of a single run there is no band.

    Args:
        curves: setting -> (frames, success) of each run.
        first: the setting that the others are compared with; default: the first.

    Returns:
        The drawing as SVG, and a sentence that says in words what it shows.

    Raises:
        UserError: no curves.
    """
    if not curves or not all(curves.values()):
        raise UserError("no curves to draw; give at least one run of each setting")
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    first = first or next(iter(curves))
    end = max(max(frames) for runs in curves.values() for frames, _ in runs)
    bands = {name: _band(runs, end) for name, runs in curves.items()}
    width = 2 if len(bands) == 4 else min(3, len(bands))
    height = -(-len(bands) // width)
    figure = Figure(figsize=(3.6 * width + 0.4, 2.6 * height + 0.2), layout="constrained")
    panels = figure.subplots(height, width, squeeze=False, sharex=True, sharey=True)
    for axes, (name, (frames, *levels)) in zip(panels.flat, bands.items(), strict=False):
        if name != first:
            axes.plot(frames, bands[first][1], color="#777777", linestyle="--", label=first)
            axes.legend(frameon=False, fontsize="small", loc="lower right")
        axes.fill_between(frames, *levels[1:], color=COLORS[0], alpha=0.2, linewidth=0)
        axes.plot(frames, levels[0], color=COLORS[0], linewidth=2)
        runs = len(curves[name])
        axes.set(title=f"{name} ({runs} run{'s' * (runs > 1)})", ylim=(-0.02, 1.02))
        axes.grid(alpha=0.3)
    for axes in panels.flat[len(bands) :]:
        axes.set_visible(False)
    for axes in panels.flat[len(bands) - width : len(bands)]:  # the lowest panel of each column
        axes.tick_params(labelbottom=True)
    figure.supxlabel("frames (millions)")
    figure.supylabel("success on held-out levels")
    file = io.StringIO()
    with rc_context({"svg.hashsalt": "metarim", "svg.fonttype": "none"}):  # the same drawing each time
        figure.savefig(file, format="svg", metadata={"Date": None})
    svg = file.getvalue()
    ends = "; ".join(f"{name} ends at {levels[1][-1]:.2f}" for name, levels in bands.items())
    return svg[svg.index("<svg") :], f"Success on held-out levels against frames, interquartile mean over runs: {ends}."


def _band(runs: Sequence[Curve], end: float, points: int = 41) -> tuple[np.ndarray, ...]:
    """Frames in millions, and there the interquartile mean over runs with the ends of its interval, [points] each."""
    frames = np.linspace(0, end, points)
    success = np.array([np.interp(frames, *run) for run in runs])  # (runs, points)
    if len(runs) == 1:
        return frames / 1e6, success[0], success[0], success[0]
    found = [stratified_bootstrap(interquartile_mean, at, rng=np.random.default_rng(0), draws=1000) for at in success.T]
    return frames / 1e6, *np.array(found).T
