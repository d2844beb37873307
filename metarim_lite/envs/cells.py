"""How a cell of a grid is written down: one int32 whose four bytes are (type, colour, state, slot and flags).

The three low bytes are minigrid's own encoding, so a masked grid *is* the observation. The high byte holds

- bits 0-5: the object's slot in its level (1..63), 0 when the cell holds no object that can be named;
- bit 6 (`PASSABLE`): the agent may step on it; bit 7 (`OPAQUE`): it hides what is behind it.

A cell with neither flag is therefore a thing that can be picked up: key, ball or box.
"""

from __future__ import annotations

ACTIONS = ("left", "right", "forward", "pickup", "drop", "toggle", "done")
TYPES = ("unseen", "empty", "wall", "floor", "door", "key", "ball", "box", "goal", "lava", "agent")
COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
DOOR_STATES = ("open", "closed", "locked")
DIRECTIONS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # (x, y) of: right, down, left, up

TYPE = {name: index for index, name in enumerate(TYPES)}
COLOUR = {name: index for index, name in enumerate(COLOURS)}

MAX_SLOTS = 63  # sets of objects are bit masks in an int64, bit 0 means "no object"
SLOT_SHIFT, SLOT_MASK = 24, 63
FLAG_SHIFT = 30
PASSABLE = 1 << 30
OPAQUE = -(1 << 31)  # the sign bit of an int32
SEEN = 0xFFFFFF  # the three bytes an agent may see

# Opening a closed door or closing an open one changes the state byte by 1 and swaps the two flags.
FLIP_DOOR = PASSABLE + OPAQUE + (1 << 16)

MARGIN = 6  # walls around every grid, as far as the view reaches, so that no look-up needs a bounds check


def make_cell(kind: str, colour: str = "red", state: int = 0, slot: int = 0) -> int:
    """The int32 of one cell, as a Python int (negative when opaque).

    >>> make_cell("ball", "blue") & 255, make_cell("wall", "grey") < 0
    (6, True)
    """
    value = TYPE[kind] | COLOUR[colour] << 8 | state << 16 | slot << SLOT_SHIFT
    if kind == "wall" or (kind == "door" and state != 0):
        return value + OPAQUE
    return value + (0 if kind in ("key", "ball", "box") else PASSABLE)


EMPTY = make_cell("empty")
WALL = make_cell("wall", "grey")


def row_stride(width: int) -> int:
    """Cells from one row of a padded grid to the next; a row's right margin is the next row's left margin."""
    return width + MARGIN


def padded_cells(width: int, height: int) -> int:
    """Cells of a padded grid of this size (rounded up to a multiple of 8)."""
    return -(-((height + 2 * MARGIN) * row_stride(width) + MARGIN) // 8) * 8


def flat_index(x, y, width: int):
    """Where cell (x, y) of a grid lies in its padded, flattened form. Works on ints and tensors."""
    return (y + MARGIN) * row_stride(width) + x + MARGIN
