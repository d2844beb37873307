"""Small charts as SVG: curves over frames, and a heat map of shares. Pure functions of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .still import svg_png
from .svg import BLUE, FAINT, GREY_TINT, INK, QUIET, disc, document, line, number, path, placed, rect, text

WIDTH, HEIGHT = 420, 232
LEFT, RIGHT, TOP, BOTTOM = 46, 404, 50, 204  # the box that the curves lie in
MOST_POINTS = 200  # of a curve: what more there is would not be seen


class Curve(NamedTuple):
    """Points to be joined, in the order of x."""

    name: str
    points: Sequence[tuple[float, float]]
    color: str
    width: float = 2.5
    dash: str = ""
    dots: bool = False
    """Dots instead of a line."""


def curves_svg(
    title: str, curves: Sequence[Curve], across: float, up: tuple[float, float], *, log: bool = False, empty: str = ""
) -> str:
    """Curves over frames 0 … `across`, in the order given, so that later ones lie on top.

    Args:
        up: the least and the largest y; what lies beyond is drawn at the edge.
        log: y grows by factors.
        empty: what to say where no curve has a point.
    """
    low, high = (math.log10(y) for y in up) if log else up
    drawn = [text(14, 22, title, size=15, bold=True), *_names(curves)]
    for y in _marks(low, high, log):
        at = _down(y, low, high)
        drawn.append(line(LEFT, at, RIGHT, at, stroke=FAINT))
        drawn.append(text(LEFT - 6, at + 4, _short(10**y) if log else _short(y), size=14, fill=QUIET, anchor="end"))
    for x in np.linspace(0, across, 5):
        at = LEFT + (RIGHT - LEFT) * x / across
        anchor = "start" if x == 0 else "end" if x == across else "middle"
        drawn.append(text(at, BOTTOM + 18, _short(x), size=14, fill=QUIET, anchor=anchor))
    for curve in curves:
        known = [
            (x, math.log10(y) if log else y) for x, y in thinned(curve.points) if x <= across and (y > 0 or not log)
        ]
        places = [(LEFT + (RIGHT - LEFT) * x / across, _down(min(max(y, low), high), low, high)) for x, y in known]
        if curve.dots or len(places) == 1:
            drawn += [disc(x, y, 4, fill=curve.color) for x, y in places]
        elif places:
            d = "M" + "L".join(f"{number(x)} {number(y)}" for x, y in places)
            drawn.append(path(d, stroke=curve.color, line=curve.width, dash=curve.dash))
    if not any(curve.points for curve in curves):
        drawn.append(text((LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2, empty, fill=QUIET, anchor="middle"))
    said = [f"{c.name} {_short(c.points[-1][1])} at {c.points[-1][0]:,.0f} frames" for c in curves if c.points]
    return document(WIDTH, HEIGHT, drawn, title, f"{title}: {'; '.join(said) or empty}.")


def shares_svg(title: str, columns: Sequence[Float[np.ndarray, "N"]], ends: tuple[str, str], width: int = WIDTH) -> str:
    """One row a module, one column a moment; the darker, the larger its share there.

    Args:
        columns: at least one, in the order of time; neighbours are averaged where there are many.
        ends: what stands below the first and the last column.
        width: of the panel; a narrow one calls the modules by their numbers alone, and leaves out the last shares as
            numbers.
    """
    latest, many = columns[-1], np.stack(columns)  # (columns, N)
    parts = np.array_split(many, min(40, len(many)))
    wide = width >= WIDTH
    word, left, right = ("module ", 88, width - 60) if wide else ("", 32, width - 14)
    top, bottom = 34, BOTTOM
    row, cell = min(28.0, (bottom - top) / len(latest)), (right - left) / len(parts)
    drawn = [text(14, 22, title, size=15, bold=True)]
    for n, share in enumerate(latest):
        y = top + n * row
        size = min(14.0, row)
        drawn.append(text(14, y + row / 2 + 5, f"{word}{n}", size=size, fill=QUIET))
        if wide:
            drawn.append(text(width - 14, y + row / 2 + 5, f"{share:.0%}", size=size, anchor="end"))
        for i, part in enumerate(parts):
            drawn.append(rect(left + i * cell, y + 1, cell + 0.3, row - 2, fill=BLUE, shade=float(part[:, n].mean())))
        drawn.append(rect(left, y + 1, right - left, row - 2, stroke=FAINT))
    foot = top + len(latest) * row + 16
    drawn += [
        text(left, foot, ends[0], size=14, fill=QUIET),
        text(right, foot, ends[1], size=14, fill=QUIET, anchor="end"),
    ]
    if wide:
        drawn.append(text(width - 14, foot, "now", size=14, fill=QUIET, anchor="end"))
    said = ", ".join(f"module {n} {share:.0%}" for n, share in enumerate(latest))
    return document(width, HEIGHT, drawn, title, f"{title}: {said}.")


def words_svg(title: str, words: Sequence[str]) -> str:
    """A panel that has only something to say."""
    drawn = [rect(14, 40, WIDTH - 28, HEIGHT - 60, fill=GREY_TINT, radius=8), text(14, 22, title, size=15, bold=True)]
    drawn += [text(WIDTH / 2, 108 + 22 * i, words, fill=INK, anchor="middle") for i, words in enumerate(words)]
    return document(WIDTH, HEIGHT, drawn, title, f"{title}: {' '.join(words)}")


def row_png(panels: Sequence[str]) -> bytes:
    """Panels side by side as one PNG, for pages without a kernel."""
    drawn, across, tallest = [], 0, 0
    for panel in panels:
        head, _title, _description, *elements, _end = panel.split("\n")
        width, height = (int(size) for size in head.partition('viewBox="0 0 ')[2].partition('"')[0].split())
        drawn += placed(elements, across, 0)
        across, tallest = across + width, max(tallest, height)
    return svg_png(document(across, tallest, drawn, "", ""))


def thinned(points: Sequence[tuple[float, float]], most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """Every n-th of many points, the last one among them."""
    every = -(-len(points) // most) or 1
    return list(points[::-1][::every][::-1])


def _down(y: float, low: float, high: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * (y - low) / (high - low)


def _marks(low: float, high: float, log: bool) -> list[float]:
    if log:
        return [float(y) for y in range(math.ceil(low), math.floor(high) + 1)]
    return [low, (low + high) / 2, high]


def _names(curves: Sequence[Curve]) -> list[str]:
    """The names side by side below the title, each after a bit of its line."""
    drawn, x = [], 14.0
    for curve in curves:
        name = curve.name if len(curve.name) < 24 else curve.name[:22] + "…"
        if curve.dots:
            drawn.append(disc(x + 7, 36, 4, fill=curve.color))
        else:
            drawn.append(line(x, 36, x + 14, 36, stroke=curve.color, width=curve.width, dash=curve.dash))
        drawn.append(text(x + 18, 41, name, size=14, fill=QUIET))
        x += 30 + 7.7 * len(name)
    return drawn


def _short(value: float) -> str:
    """A number for an axis: 1.5M, 200k, 0.25."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.3g}{letter}"
    return f"{value:.2g}"
