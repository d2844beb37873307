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
SLOT_SHIFT = 24
PASSABLE = 1 << 30
OPAQUE = -(1 << 31)  # the sign bit of an int32
LOCKED = 1 << 17  # the bit of a door's state in which "locked" (2) differs from "open" (0) and "closed" (1)
FLIP = PASSABLE + OPAQUE + (1 << 16)  # what changes when a door that is not locked is opened or closed
SEEN = 0xFFFFFF  # the three bytes an agent may see

GROUND, THING, BARRIER = 1, 0, -2  # what `solidity` gives: to be stepped on, to be picked up, neither

MARGIN = 6  # walls around every grid, as far as the view reaches, so that no look-up needs a bounds check


# What a cell's value says. All of these work on ints and on tensors of whole numbers.


def kind(cell):
    """Its type, a number of `TYPES`."""
    return cell & 255


def state(cell):
    """Of a door: a number of `DOOR_STATES`."""
    return (cell >> 16) & 255


def is_locked(door):
    """Of a door: is it locked?"""
    return (door & LOCKED) != 0


def slot(cell):
    """The number of its object in the level; 0 for none."""
    return (cell >> SLOT_SHIFT) & 63


def solidity(cell):
    """GROUND, THING or BARRIER."""
    return cell >> 30


def hides(cell):
    """-1 where the int32 hides what is behind it, else 0."""
    return cell >> 31


def trace(cell):
    """An empty cell that remembers the slot of what was there."""
    return (cell & (63 << SLOT_SHIFT)) | EMPTY


def fits(key, door):
    """Is this the key of that door? A key is one of the same colour."""
    return ((key ^ door) & 0xFFFF) == (TYPE["key"] ^ TYPE["door"])


def flipped(door):
    """The door after it was opened (closed, unlocked) or closed: another state, and the two flags swapped."""
    return door ^ (((door & LOCKED) >> 1) + FLIP)


def make_cell(thing: str, colour: str = "red", state: int = 0, slot: int = 0) -> int:
    """The int32 of one cell, as a Python int (negative when opaque).

    >>> make_cell("ball", "blue") & 255, make_cell("wall", "grey") < 0
    (6, True)
    """
    value = TYPE[thing] | COLOUR[colour] << 8 | state << 16 | slot << SLOT_SHIFT
    if thing == "wall" or (thing == "door" and state != 0):
        return value + OPAQUE
    return value + (0 if thing in ("key", "ball", "box") else PASSABLE)


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


def inside(grid, bank_width: int, width: int, height: int):
    """A view of a level's own cells [..., height, width] in padded, flattened grids [..., P] of a bank's widest."""
    stride = row_stride(bank_width)
    rows = grid[..., MARGIN * stride : (MARGIN + height) * stride].unflatten(-1, (height, stride))
    return rows[..., MARGIN : MARGIN + width]
