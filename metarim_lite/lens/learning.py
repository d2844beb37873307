"""What `watch` shows of a training, as pure functions of recorded numbers: no widget, no thread."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
from jaxtyping import Float

from .background import CLOSED, FAILED, FINISHED, RUNNING, STOPPED
from .charts import Curve, curves_svg, shares_svg, words_svg
from .svg import (
    BLUE,
    FONT,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    QUIET,
    VERMILLION,
)

Line = dict[str, Any]
OF_GROUP = {"encoder": ORANGE, "modules": BLUE, "attention": PURPLE, "heads": GREEN}
PALE = ("#9AA4AE", "#C0A48A", "#8FB3AA", "#B5A0B8")  # of earlier curves: there, but not what one looks at
DASHES = ("", "6 3", "2 3", "8 3 2 3")
FRAME_SECONDS = 0.22
CARD = f'class="metarim-room metarim-panel" style="font-family:{escape(FONT)}'  # to be closed with "


@dataclass
class Learning:
    """A training as far as it has come."""

    method: str
    level: str
    total: int
    """Frames that are to be played."""
    has_modules: bool
    frames: int = 0
    lines: list[Line] = field(default_factory=list)
    """Of the metrics."""
    shares: list[Float[np.ndarray, "N"]] = field(default_factory=list)
    """Of the worlds, share in which each module is active, at one moment after the other."""
    shares_from: int = 0
    """Frames at the first of these moments."""
    earlier: dict[str, list[Line]] = field(default_factory=dict)
    """Metrics of other runs."""
    episode: Any = None
    """A Trace."""
    episode_frames: int = 0
    """Frames that the agent had learnt from when it played the episode."""
    state: str = RUNNING
    asked: bool = False
    """It runs, but somebody wants it to stop."""
    problem: str = ""
    """Why it failed, or why there is no picture."""
    folder: str = ""
    """Where it is kept, if anywhere."""


def sentence(learning: Learning) -> str:
    """How things stand, for eyes, ears and text-only output."""
    where = f"{learning.frames:,} of {learning.total:,} frames"
    last = learning.lines[-1] if learning.lines else {}
    speed = last.get("frames_per_second", 0.0)
    success = next((line["success"] for line in reversed(learning.lines) if "success" in line), None)
    so_far = f", success {success:.0%}" if success is not None else ""
    if learning.state == FAILED:
        return f"✗ Failed after {where}: {learning.problem}"
    kept = f" Kept in {learning.folder}." if learning.folder else ""
    if learning.state == FINISHED:
        took = last.get("seconds", 0.0)
        return f"✓ Finished: {where} in {took:.0f} s{so_far}; .agent is the trained agent.{kept}"
    if learning.state == STOPPED:
        return f"Stopped after {where}{so_far}; press “go on”.{kept}"
    if learning.state == CLOSED:
        again = "watch the same folder again to go on" if learning.folder else "watch again to begin anew"
        return f"Closed after {where}{so_far}; {again}.{kept}"
    if learning.asked:
        return f"Stopping at the end of this tick: {where}."
    if not last:
        return f"Training {learning.method} on {learning.level}: {where}; the first report will come in a moment."
    left = (learning.total - learning.frames) / max(speed, 1e-9)
    ahead = f"{left:.0f} s" if left < 100 else f"{left / 60:.0f} min"
    return f"Training: {where}, {speed:,.0f} frames/s{so_far}, about {ahead} left."


def status_html(learning: Learning) -> str:
    """Name of the run, a bar, and the sentence; a problem that did not stop it stands below."""
    tone = {RUNNING: "plain", FINISHED: "good"}.get(learning.state, "still")
    tone = "alarm" if learning.state == FAILED or learning.problem else tone
    done = 100 * min(1.0, learning.frames / learning.total)
    more = "" if learning.state == FAILED or not learning.problem else f"<br>No picture: {escape(learning.problem)}"
    return (
        f'<div {CARD};max-width:868px;box-sizing:border-box"><div class="metarim-{tone}">'
        f'<span style="font-size:16px;font-weight:650">{escape(learning.method)}</span> '
        f'<span class="metarim-quiet">learns {escape(learning.level)}</span>'
        '<div style="height:6px;background:#8a939c55;border-radius:3px;margin:6px 0">'
        f'<div style="height:6px;width:{done:.1f}%;background:var(--edge);border-radius:3px"></div></div>'
        f'<p role="status" class="metarim-status" style="overflow-wrap:anywhere">'
        f"{escape(sentence(learning))}{more}</p></div></div>"
    )


def success_svg(learning: Learning) -> str:
    """Success of the episodes played, and on held-out levels where that was measured; earlier runs pale behind."""
    curves = [
        Curve(name, _points(lines, "success"), PALE[i % len(PALE)], 2, DASHES[i % len(DASHES)])
        for i, (name, lines) in enumerate(learning.earlier.items())
    ]
    curves.append(Curve("this run", _points(learning.lines, "success"), GREEN, 3))
    if held_out := _points(learning.lines, "held_out_success"):
        curves.append(Curve("held-out levels", held_out, INK, dots=True))
    return curves_svg("success", curves, learning.total, (0.0, 1.0), empty="episodes count once the longest are over")


def gradients_svg(learning: Learning) -> str:
    """Norm of each group's gradient before clipping, over frames, by factors of ten."""
    found: dict[str, list[tuple[float, float]]] = {}
    for line in learning.lines:
        for key, value in line.items():
            if "/grad_norm/" in key and value > 0:
                found.setdefault(key.split("/grad_norm/")[1], []).append((line["frames"], value))
    colors = (VERMILLION, INK, QUIET)
    curves = [Curve(g, points, OF_GROUP.get(g, colors[i % 3])) for i, (g, points) in enumerate(sorted(found.items()))]
    values = [y for points in found.values() for _, y in points] or [0.1, 1.0]
    low, high = 10.0 ** np.floor(np.log10(min(values))), 10.0 ** np.ceil(np.log10(max(values)))
    ends = (float(low), float(max(high, low * 10)))
    return curves_svg("gradient norm of each group", curves, learning.total, ends, log=True, empty="no update yet")


def modules_svg(learning: Learning) -> str:
    """Share of the worlds in which each module is active, at one moment after the other."""
    title = "which modules are active, share of worlds"
    if not learning.has_modules:
        return words_svg(title, ["An LSTM has no modules:", "all of it works at every step."])
    if not learning.shares:
        return words_svg(title, ["The first look comes with the first report."])
    return shares_svg(title, learning.shares, (f"after {learning.shares_from:,}", f"{learning.frames:,} frames"))


def episode_html(learning: Learning) -> str:
    """The last recorded episode: a moving picture, which plays three times and stands still where people asked for
    less motion, and below it who was active at each step.
    """
    trace = learning.episode
    head = (
        f'<div {CARD};font-size:13px">'
        '<div style="font-size:14px;font-weight:650">one episode, always the same level</div>'
    )
    if trace is None:
        return head + "The first one will be played after the first report.</div>"
    end = f"✓ success in {trace.num_steps} steps" if trace.success else f"✗ no success in {trace.num_steps} steps"
    told = f"after {learning.episode_frames:,} frames: “{trace.mission}”, {end}"
    gifs = episode_gif(trace), episode_gif(trace, last_only=True)
    moving, still = (f"data:image/gif;base64,{base64.b64encode(gif).decode()}" for gif in gifs)
    picture = (
        '<picture style="flex:0 0 150px"><source media="(prefers-reduced-motion: reduce)" '
        f'srcset="{still}"><img alt="the agent plays: {escape(told)}" style="width:150px" src="{moving}"></picture>'
    )
    strip = ""
    if trace.active is not None:
        strip = shares_svg("modules, step by step", list(trace.active * 1.0), ("begin", "end"), width=270)
    return (
        f'{head}{escape(told)}<div style="display:flex;flex-wrap:wrap;gap:10px;align-items:center;margin-top:6px">'
        f'{picture}<div style="flex:1 1 210px;min-width:0;max-width:270px">{strip}</div></div></div>'
    )


def episode_gif(trace: Any, last_only: bool = False) -> bytes:
    """The T + 1 worlds of a trace as a GIF of 160 pixels or so."""
    from PIL import Image

    tile = max(6, 160 // trace.worlds[0].bank.width)
    steps = [trace.num_steps] if last_only else range(trace.num_steps + 1)
    pictures = [Image.fromarray(trace.frame(t, tile)).quantize(64, Image.Quantize.FASTOCTREE) for t in steps]
    times = [int(1000 * FRAME_SECONDS)] * (len(pictures) - 1) + [1500]
    file = io.BytesIO()
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:], duration=times, loop=2)
    return file.getvalue()


def _points(lines: list[Line], key: str) -> list[tuple[float, float]]:
    return [(line["frames"], line[key]) for line in lines if key in line]
