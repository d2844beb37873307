"""What the agent sees: its 7×7 view as a drawing and as a sentence."""

from __future__ import annotations

import numpy as np

from ..envs import COLOURS, TYPES
from .svg import BLUE, FAINT, GREY_TINT, INK, ORANGE, PAPER, disc, document, line, path, rect, text

PAINT = dict(zip(COLOURS, ("#D0312D", "#1E8E3E", "#2B5FD9", "#8E44AD", "#E0B400", "#7A828B"), strict=True))
DOOR_STATES = ("open", "closed", "locked")
PORTABLE = ("key", "ball", "box")
AGENT_COLUMN, AGENT_ROW, VIEW = 3, 6, 7
CELL = 44


def view_svg(image: np.ndarray) -> str:
    """A drawing of one view, the agent at the bottom looking up; each object has its shape and its colour's name.

    Args: `image` uint8 [7, 7, 3], column first, as in minigrid.
    """
    size = VIEW * CELL + 16
    return document(size, size, view_elements(image), "what the agent sees", describe_view(image))


def view_elements(image: np.ndarray) -> list[str]:
    """The elements of `view_svg`."""
    drawn = [rect(8, 8, VIEW * CELL, VIEW * CELL, fill=GREY_TINT)]
    for column in range(VIEW):
        for row in range(VIEW):
            drawn += _cell(*names_of(image[column, row]), 8 + column * CELL, 8 + row * CELL)
    return drawn + _agent(*names_of(image[AGENT_COLUMN, AGENT_ROW])[:2])


def describe_view(image: np.ndarray) -> str:
    """One sentence that lists the objects in view, nearest first, with their place relative to the agent."""
    found = []
    for column in range(VIEW):
        for row in range(VIEW):
            kind, colour, state = names_of(image[column, row])
            if kind in ("unseen", "empty", "wall", "floor") or (column, row) == (AGENT_COLUMN, AGENT_ROW):
                continue
            ahead, aside = AGENT_ROW - row, column - AGENT_COLUMN
            name = f"{state} {colour} door" if kind == "door" else f"{colour} {kind}"
            found.append((ahead + abs(aside), f"{name} {_place(ahead, aside)}"))
    sentence = "In view: " + ("; ".join(words for _, words in sorted(found)) or "no objects")
    held, colour, _ = names_of(image[AGENT_COLUMN, AGENT_ROW])
    if held in PORTABLE:
        sentence += f"; carried: {colour} {held}"
    return sentence + "."


def names_of(cell: np.ndarray) -> tuple[str, str, str]:
    """minigrid's three numbers of a cell as (type, colour, state of a door)."""
    kind, colour, state = (int(v) for v in cell)
    return TYPES[kind], COLOURS[colour], DOOR_STATES[state] if TYPES[kind] == "door" else ""


def _place(ahead: int, aside: int) -> str:
    parts = [f"{ahead} ahead"] if ahead else []
    if aside:
        parts.append(f"{abs(aside)} to the {'left' if aside < 0 else 'right'}")
    return " and ".join(parts)


def _cell(kind: str, colour: str, state: str, x: float, y: float) -> list[str]:
    middle = x + CELL / 2
    if kind == "unseen":
        return [rect(x, y, CELL, CELL, fill="#4A5159"), text(middle, y + 28, "?", fill="#AEB6BF", anchor="middle")]
    if kind == "wall":
        return [rect(x, y, CELL, CELL, fill="#AEB6BF", stroke=FAINT), line(x, y + CELL, x + CELL, y, stroke=PAPER)]
    drawn = [rect(x, y, CELL, CELL, fill=PAPER, stroke=FAINT)]
    if kind not in ("empty", "floor"):
        drawn += _object(kind, PAINT[colour], state, middle, y + 17)
        word = kind if kind in ("goal", "lava") else colour
        drawn.append(text(middle, y + CELL - 4, word, size=12.5, anchor="middle"))
    return drawn


def _object(kind: str, paint: str, state: str, x: float, y: float) -> list[str]:
    """The object's shape, about 24 pixels wide, centred on (x, y)."""
    if kind == "ball":
        return [disc(x, y, 10, fill=paint, stroke=INK, width=1)]
    if kind == "box":
        lid = line(x - 11, y, x + 11, y, stroke=paint, width=3)
        return [rect(x - 11, y - 10, 22, 20, fill=PAPER, stroke=paint, line=4), lid]
    if kind == "key":
        bit = path(f"M{x} {y}v11h6m-6 -5h5", stroke=paint, line=4)
        return [disc(x, y - 5, 5, fill=PAPER, stroke=paint, width=4), bit]
    if kind == "door":
        return _door(paint, state, x, y)
    return [rect(x - 14, y - 12, 28, 24, fill=paint if kind == "goal" else ORANGE)]


def _door(paint: str, state: str, x: float, y: float) -> list[str]:
    """Open: a bar at the side. Closed: a panel with a handle. Locked: a filled panel with a keyhole."""
    if state == "open":
        return [path(f"M{x - 12} {y - 13}v26", stroke=paint, line=5)]
    if state == "closed":
        return [rect(x - 12, y - 13, 24, 26, fill=PAPER, stroke=paint, line=4), disc(x + 5, y, 2.5, fill=INK)]
    keyhole = [disc(x, y - 3, 3.5, fill=INK), path(f"M{x} {y - 2}l3 8h-6z", fill=INK)]
    return [rect(x - 12, y - 13, 24, 26, fill=paint, stroke=INK, line=1.5), *keyhole]


def _agent(held: str, colour: str) -> list[str]:
    """The agent, pointing up; what it carries when its hands are full, as minigrid shows it: in its own cell."""
    x, y = 8 + AGENT_COLUMN * CELL + CELL / 2, 8 + AGENT_ROW * CELL
    if held in PORTABLE:
        box = rect(x - CELL / 2, y, CELL, CELL, stroke=BLUE, line=3)
        return [box, rect(x - 22, y - 15, 44, 14, fill=PAPER), text(x, y - 4, "carries", size=11, anchor="middle")]
    arrow = path(f"M{x} {y + 6}l11 22h-22z", fill=BLUE, stroke=INK)
    return [arrow, text(x, y + CELL - 4, "you", size=12.5, anchor="middle")]
