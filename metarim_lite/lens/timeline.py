"""The whole episode as strips over time, with a cursor at the step shown."""

from __future__ import annotations

import math

import numpy as np

from .svg import BLUE, FAINT, GREEN, INK, ORANGE, QUIET, line, number, path, rect, text

TOP, BOTTOM = 412, 588


def timeline_picture(trace, t: int, left: float, width: float) -> list[str]:
    """Value and activity of each module over the T steps, cursor at t (0 … T). Returns SVG elements."""
    steps = trace.num_steps
    x0, across = left + 78, width - 78
    cell = min(24.0, across / (steps + 1))  # one column more than steps: the end of the episode
    title = "the episode so far and to come" if trace.active is None else "who was active, step by step"
    drawn = [text(left, TOP, title, bold=True)]

    strip_top, strip_height = TOP + 12, 36
    drawn += _curve("value", trace.values, x0, strip_top, cell, strip_height, left, GREEN)
    rows_top, rows_bottom = strip_top + strip_height + 10, BOTTOM - 22
    if trace.active is not None:
        drawn += _raster(trace.active, x0, rows_top, cell, rows_bottom - rows_top, left)
    elif trace.hidden_norms.shape[1]:
        norms = np.linalg.norm(trace.hidden_norms, axis=1)  # (T, N) -> (T)
        drawn += _curve("size of h", norms, x0, rows_top, cell, rows_bottom - rows_top, left, BLUE)
    drawn += _axis(steps, x0, cell)
    if trace.success:
        drawn.append(text(x0 + (steps + 0.5) * cell, strip_top + 12, "✓", fill=GREEN, bold=True, anchor="middle"))
    cursor = x0 + t * cell
    drawn.append(rect(cursor, strip_top - 4, max(cell, 3), BOTTOM - 14 - strip_top, stroke=ORANGE, line=2.5, radius=2))
    return drawn


def _curve(
    name: str, series: np.ndarray, x0: float, top: float, cell: float, height: float, left: float, color: str
) -> list[str]:
    low, high = min(0.0, float(series.min())), max(float(series.max()), 1e-6)
    ys = top + height * (1 - (series - low) / (high - low))
    points = [f"{number(x0 + (i + 0.5) * cell)} {number(float(y))}" for i, y in enumerate(ys)]
    base, zero = top + height, top + height * (1 - (0 - low) / (high - low))
    drawn = [text(left, top + height / 2 + 5, name, size=14, fill=QUIET)]
    drawn.append(text(x0 - 5, top + 10, f"{high:.2f}", size=13, fill=QUIET, anchor="end"))
    drawn.append(text(x0 - 5, base, f"{low:.2f}" if low else "0", size=13, fill=QUIET, anchor="end"))
    drawn.append(line(x0, zero, x0 + cell * (len(series) + 1), zero, stroke=FAINT))
    if len(points) == 1:
        points.append(points[0])
    drawn.append(path("M" + "L".join(points), stroke=color, line=2))
    return drawn


def _raster(active: np.ndarray, x0: float, top: float, cell: float, height: float, left: float) -> list[str]:
    """One row a module: a filled block where it was active, a thin line where it was not."""
    steps, count = active.shape
    row = min(24.0, height / count)
    drawn = []
    every = max(1, math.ceil(13 / row))  # rows too low for words share one
    for n in range(count):
        y = top + n * row
        if n % every == 0:
            drawn.append(text(left, y + row / 2 + 5, f"module {n}", size=min(14, max(row, 13)), fill=QUIET))
        drawn.append(line(x0, y + row / 2, x0 + steps * cell, y + row / 2, stroke=FAINT))
        gap = 1 if cell > 4 else 0
        blocks = ""
        for first, end in _spans(active[:, n], merge=cell <= 4):
            w = number((end - first) * cell - gap)
            blocks += f"M{number(x0 + first * cell)} {number(y + 2)}h{w}v{number(max(row - 4, 1))}h-{w}z"
        if blocks:
            drawn.append(path(blocks, fill=BLUE))
    return drawn


def _spans(on: np.ndarray, merge: bool) -> list[tuple[int, int]]:
    """[first, last + 1) of each stretch of True; one per step unless `merge`."""
    if not merge:
        return [(int(i), int(i) + 1) for i in np.flatnonzero(on)]
    edges = np.flatnonzero(np.diff(np.concatenate([[0], on.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _axis(steps: int, x0: float, cell: float) -> list[str]:
    every = next(e for e in (1, 2, 5, 10, 20, 50, 100, 200, 500, 10**9) if e * cell >= 32)
    ticks = [
        text(x0 + (i + 0.5) * cell, BOTTOM - 4, i, size=14, fill=QUIET, anchor="middle")
        for i in range(0, steps, every)
        if (steps - i) * cell >= 46
    ]
    ticks.append(text(x0 + (steps + 1) * cell, BOTTOM - 4, "end", size=14, fill=INK, anchor="end"))
    return ticks
