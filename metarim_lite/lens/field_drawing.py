"""A policy field as pictures: four wedges a cell, one for each direction the agent could face there."""

from __future__ import annotations

import base64
from html import escape

from .drawing import png_bytes
from .field import CLEARED, WITH_MEMORY, PolicyField
from .svg import BLUE, FAINT, INK, ORANGE, PAPER, QUIET, VERMILLION, document, number, path, rect, text

WIDTH, TOP, FOOT = 440, 42, 38
OUT = ((1, 0), (0, 1), (-1, 0), (0, -1))  # right, down, left, up
LEFT, RIGHT, FORWARD = 0, 1, 2
OTHERS = {3: "p", 4: "d", 5: "t", 6: "·"}  # pick up, drop, toggle, done
FULL = 0.65  # of the colour, at the highest value; an arrow still stands out on it


def panel_svg(field: PolicyField, which: int) -> str:
    """One of the two fields, WITH_MEMORY or CLEARED.

    In each free cell the wedge on a side is for the agent facing that side. Its shade is the value, its arrow the
    likeliest action: a full arrow goes forward, an open one turns to where it points, letters are other actions. Wedges
    with an orange edge are those where the memory changes the action.
    """
    low, high = value_range(field)
    side = (WIDTH - 28) / max(field.size)
    left = 14 + (WIDTH - 28 - side * field.size[0]) / 2
    titles = {WITH_MEMORY: f"with the memory of step {field.t}", CLEARED: "with a cleared memory"}
    drawn = [text(14, 29, titles[which], size=19, bold=True), _room(field, left, side)]
    for x, y in sorted({(x, y) for x, y, _ in field.places.tolist()}):  # paper, for shades to lie on
        drawn.append(rect(left + x * side, TOP + y * side, side, side, fill=PAPER))
    marked = []
    for n, (x, y, direction) in enumerate(field.places.tolist()):
        middle = left + (x + 0.5) * side, TOP + (y + 0.5) * side
        share = (float(field.values[which, n]) - low) / (high - low)
        edge = ORANGE if field.changed[n] else FAINT
        thick = 2 if field.changed[n] else 0.5
        wedge = path(_wedge(middle, direction, side), fill=BLUE, shade=FULL * share, stroke=edge, line=thick)
        (marked if field.changed[n] else drawn).append(wedge)
        if side >= 18:
            chances = field.probabilities[which, n]
            marked += _action(middle, direction, side, int(chances.argmax()), float(chances.max()))
    drawn += marked
    x, y, _ = field.places[field.here].tolist()
    drawn.append(rect(left + x * side, TOP + y * side, side, side, stroke=VERMILLION, line=3))
    height = round(TOP + side * field.size[1] + FOOT)
    drawn += _scale(low, high, height)
    said = f"Policy and value at every free place, {titles[which]}. {field}"
    return document(WIDTH, height, drawn, titles[which], said)


def field_html(field: PolicyField) -> str:
    """Both fields side by side, one below the other where there is no room, and what they show in words; how to read
    them is folded up there. It needs the styles of `page.styled`."""
    panels = "".join(f"<div>{panel_svg(field, which)}</div>" for which in (WITH_MEMORY, CLEARED))
    return (
        f'<div class="metarim-field metarim-room"><div class="metarim-fields">{panels}</div>'
        f'<p role="status" style="font-size:14px;line-height:1.35;margin:4px 0">{field}</p>'
        f'<p class="metarim-wordy" style="font-size:13px;line-height:1.35;margin:2px 0">{escape(LEGEND)}</p>'
        f'<details class="metarim-fold"><summary>how to read it</summary>{escape(LEGEND)}</details></div>'
    )


LEGEND = (
    "A cell's four wedges are for the agent facing right, down, left and up there. Shade: value. Arrow: the likeliest "
    "action; full: forward; open: turn to where it points; p, d, t, ·: pick up, drop, toggle, done. Orange edge: the "
    "memory changes the action. Red square: where the agent is."
)


def value_range(field: PolicyField) -> tuple[float, float]:
    """Least and largest value of both fields, so that the same shade means the same in both."""
    low, high = float(field.values.min()), float(field.values.max())
    return low, max(high, low + 1e-6)


def _room(field: PolicyField, left: float, side: float) -> str:
    frame = field.trace.frame(field.t, max(8, round(side / 2)))
    data = base64.b64encode(png_bytes(frame)).decode()
    w, h = (number(side * cells) for cells in field.size)
    return f'<image x="{number(left)}" y="{TOP}" width="{w}" height="{h}" href="data:image/png;base64,{data}"/>'


def _wedge(middle: tuple[float, float], direction: int, side: float) -> str:
    """The quarter of a cell that lies on this side of its middle."""
    (x, y), (dx, dy), r = middle, OUT[direction], side / 2 - 0.5
    corners = [(x + r * (dx - dy), y + r * (dy + dx)), (x + r * (dx + dy), y + r * (dy - dx))]
    return f"M{number(x)} {number(y)}" + "".join(f"L{number(a)} {number(b)}" for a, b in corners) + "z"


def _action(middle: tuple[float, float], direction: int, side: float, action: int, chance: float) -> list[str]:
    """The likeliest action in a wedge: the likelier, the larger."""
    dx, dy = OUT[direction]
    x, y = middle[0] + 0.31 * side * dx, middle[1] + 0.31 * side * dy
    if action in OTHERS:
        return [text(x, y + side / 9, OTHERS[action], size=max(6.0, side / 3), fill=INK, bold=True, anchor="middle")]
    to = (direction + {LEFT: -1, RIGHT: 1, FORWARD: 0}[action]) % 4
    ux, uy = OUT[to]
    r = side * (0.07 + 0.07 * chance)
    tip, wing = (x + r * ux, y + r * uy), 0.9 * r
    d = "M" + "L".join(
        f"{number(a)} {number(b)}"
        for a, b in (
            (x - r * ux - wing * uy, y - r * uy + wing * ux), tip, (x - r * ux + wing * uy, y - r * uy - wing * ux),
        )
    )  # fmt: skip
    return [path(d + "z", fill=INK)] if action == FORWARD else [path(d, stroke=INK, line=max(1.0, side / 30))]


def _scale(low: float, high: float, height: int) -> list[str]:
    """What the shades mean."""
    drawn = [text(14, height - 13, f"value {low:.2f}", size=17, fill=QUIET)]
    for i in range(20):
        drawn.append(rect(120 + 6 * i, height - 26, 6.3, 14, fill=BLUE, shade=FULL * (i + 0.5) / 20))
    return [*drawn, text(250, height - 13, f"{high:.2f}", size=17, fill=QUIET)]
