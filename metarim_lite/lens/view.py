"""What the agent sees: its 7×7 view as a drawing and as a sentence."""

from __future__ import annotations

import numpy as np

from .svg import BLUE, FAINT, GREY_TINT, INK, PAPER, disc, document, line, path, rect, text

# minigrid's numbers for the three channels of a cell
UNSEEN, EMPTY, WALL, DOOR, KEY, BALL, BOX = 0, 1, 2, 4, 5, 6, 7
TYPES = {DOOR: "door", KEY: "key", BALL: "ball", BOX: "box"}
COLORS = ("red", "green", "blue", "purple", "yellow", "grey")
PAINT = ("#D0312D", "#1E8E3E", "#2B5FD9", "#8E44AD", "#E0B400", "#7A828B")
DOOR_STATES = ("open", "closed", "locked")
AGENT_COLUMN, AGENT_ROW, VIEW = 3, 6, 7
CELL = 44


def view_svg(image: np.ndarray) -> str:
    """A drawing of one view, the agent at the bottom looking up; each object has its shape and its colour's name.

    Arguments: `image` uint8 [7, 7, 3], column first, as in minigrid.
    """
    size = VIEW * CELL + 16
    drawn = [rect(8, 8, VIEW * CELL, VIEW * CELL, fill=GREY_TINT)]
    for column in range(VIEW):
        for row in range(VIEW):
            drawn += _cell(image[column, row], 8 + column * CELL, 8 + row * CELL)
    drawn += _agent(image[AGENT_COLUMN, AGENT_ROW])
    return document(size, size, drawn, "what the agent sees", describe_view(image))


def describe_view(image: np.ndarray) -> str:
    """One sentence that lists the objects in view, nearest first, with their place relative to the agent."""
    found = []
    for column in range(VIEW):
        for row in range(VIEW):
            kind, color, state = (int(v) for v in image[column, row])
            if kind not in TYPES or (column, row) == (AGENT_COLUMN, AGENT_ROW):
                continue
            ahead, aside = AGENT_ROW - row, column - AGENT_COLUMN
            name = f"{COLORS[color]} {TYPES[kind]}"
            if kind == DOOR:
                name = f"{DOOR_STATES[state]} {name}"
            found.append((ahead + abs(aside), f"{name} {_place(ahead, aside)}"))
    held = int(image[AGENT_COLUMN, AGENT_ROW, 0])
    sentence = "In view: " + ("; ".join(words for _, words in sorted(found)) or "no objects")
    if held in TYPES:
        sentence += f"; carried: {COLORS[image[AGENT_COLUMN, AGENT_ROW, 1]]} {TYPES[held]}"
    return sentence + "."


def _place(ahead: int, aside: int) -> str:
    parts = [f"{ahead} ahead"] if ahead else []
    if aside:
        parts.append(f"{abs(aside)} to the {'left' if aside < 0 else 'right'}")
    return " and ".join(parts)


def _cell(cell: np.ndarray, x: float, y: float) -> list[str]:
    kind, color, state = (int(v) for v in cell)
    if kind == UNSEEN:
        dark = rect(x, y, CELL, CELL, fill="#4A5159")
        return [dark, text(x + CELL / 2, y + 28, "?", fill="#AEB6BF", anchor="middle")]
    drawn = [rect(x, y, CELL, CELL, fill=PAPER, stroke=FAINT)]
    if kind == WALL:
        return [rect(x, y, CELL, CELL, fill="#AEB6BF", stroke=FAINT), line(x, y + CELL, x + CELL, y, stroke=PAPER)]
    if kind in TYPES:
        drawn += _object(kind, PAINT[color], state, x + CELL / 2, y + 17)
        drawn.append(text(x + CELL / 2, y + CELL - 5, COLORS[color], size=11, anchor="middle"))
    return drawn


def _object(kind: int, paint: str, state: int, x: float, y: float) -> list[str]:
    """The object's shape, about 24 pixels wide, centred on (x, y)."""
    if kind == BALL:
        return [disc(x, y, 10, fill=paint, stroke=INK, width=1)]
    if kind == BOX:
        return [
            rect(x - 11, y - 10, 22, 20, fill=PAPER, stroke=paint, line=4),
            line(x - 11, y, x + 11, y, stroke=paint, width=3),
        ]
    if kind == KEY:
        return [
            disc(x, y - 5, 5, fill=PAPER, stroke=paint, width=4),
            path(f"M{x} {y}v11h6m-6 -5h5", stroke=paint, line=4),
        ]
    frame = rect(x - 12, y - 13, 24, 26, fill=PAPER if state != 2 else paint, stroke=paint, line=4)
    if DOOR_STATES[state] == "open":
        return [path(f"M{x - 12} {y - 13}v26", stroke=paint, line=5)]
    handle = disc(x + 5, y, 2.5, fill=INK) if DOOR_STATES[state] == "closed" else text(x, y + 5, "⚿", anchor="middle")
    return [frame, handle]


def _agent(under: np.ndarray) -> list[str]:
    """The agent, pointing up; beside what it carries when its hands are full."""
    x, y = 8 + AGENT_COLUMN * CELL + CELL / 2, 8 + AGENT_ROW * CELL
    if int(under[0]) in TYPES:
        box = rect(x - CELL / 2, y, CELL, CELL, stroke=BLUE, line=3)
        return [box, rect(x - 22, y - 15, 44, 14, fill=PAPER), text(x, y - 4, "carries", size=11, anchor="middle")]
    return [
        path(f"M{x} {y + 6}l11 22h-22z", fill=BLUE, stroke=INK),
        text(x, y + CELL - 4, "you", size=11, anchor="middle"),
    ]
