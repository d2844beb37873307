"""What the agent sees: a 7x7 window turned to its direction, with what walls and closed doors hide taken out.

minigrid floods light row by row, from the agent's row to the farthest: inside a row it spreads left and right
through transparent cells, and every lit transparent cell also lights the cells above it. The light that enters a
row and the row's transparent cells are 7 bits each, so the whole routine for one row is a table of 128 x 128
entries, and a view costs seven look-ups.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from .cells import DIRECTIONS, SEEN, hides, row_stride

VIEW = 7
AGENT_COLUMN, AGENT_ROW = 3, 6


def visibility_table() -> tuple[Int[Tensor, "16384"], Int[Tensor, "16384"]]:
    """minigrid's visibility routine for one row, for every case.

    Entry `light * 128 + transparent` (7 bits each, bit i for column i) gives the row's lit cells, and the light
    that it hands to the next row.
    """
    case = torch.arange(128 * 128)
    lit, transparent = case // 128, case % 128
    onward = torch.zeros_like(case)
    for columns, side in ((range(0, VIEW - 1), 1), (range(VIEW - 1, 0, -1), -1)):
        for i in columns:
            spreads = (lit >> i) & (transparent >> i) & 1  # this cell is lit and lets light through
            lit = lit | spreads << (i + side)
            onward = onward | spreads << i | spreads << (i + side)
    return lit, onward


class Vision(NamedTuple):
    """Tables for the views of grids of one width, on one device."""

    window: Int[Tensor, "4 49"]  # int32: offset of each cell of the view from the agent's, for each direction
    row_bits: Tensor  # float32 [7, 49]: sums the cells of a row into its 7 bits
    onward: Int[Tensor, "16384"]  # times 128, plus 127: the next row's case, were it all transparent
    lit: Int[Tensor, "16384"]  # int64: the lit cells of a row, one to a byte
    row_value: Int[Tensor, "7 1"]  # int64: 2^row
    column: Int[Tensor, "128 7"]  # int32: for the 7 bits of a column, which bytes of its cells may be seen


def seen_place(i, j, direction: int):
    """Column i and row j of a view as (dx, dy) from the agent. Works on ints and tensors."""
    (fx, fy), ahead, aside = DIRECTIONS[direction], AGENT_ROW - j, i - AGENT_COLUMN
    return fx * ahead - fy * aside, fy * ahead + fx * aside  # (-fy, fx) points to the agent's right


def make_vision(width: int, device: torch.device) -> Vision:
    """The tables for padded grids of this width."""
    stride = row_stride(width)
    i = torch.arange(VIEW).repeat_interleave(VIEW)  # (49,) column of each cell of an image, column by column
    j = torch.arange(VIEW).repeat(VIEW)  # (49,) row
    steps = [seen_place(i, j, direction) for direction in range(4)]
    row_bits = torch.zeros(VIEW, VIEW * VIEW)
    row_bits[j, torch.arange(VIEW * VIEW)] = (2.0**i).float()
    lit, onward = visibility_table()
    bits = torch.arange(VIEW)
    tables = Vision(
        window=torch.stack([dx + stride * dy for dx, dy in steps]).int(),
        row_bits=row_bits,
        onward=onward * 128 + 127,
        lit=(((lit[:, None] >> bits) & 1) << 8 * bits).sum(1),
        row_value=(1 << bits)[:, None],
        column=(((torch.arange(128)[:, None] >> bits) & 1) * SEEN).int(),
    )
    return Vision(*(table.to(device) for table in tables))


def lit_columns(opaque: Int[Tensor, "7 B"], vision: Vision) -> Int[Tensor, "B"]:
    """The lit cells of a view: byte i of an int64 holds column i, its bit j row j.

    Args:
        opaque: minus the opaque cells of each row, bit i for column i. Row 6 is the agent's.
    """
    *farther, own = opaque.unbind(0)
    case = own + ((128 << AGENT_COLUMN) + 127)  # the flood starts in the agent's cell
    cases = [case]
    for row in reversed(farther):
        case = vision.onward.index_select(0, case) + row
        cases.append(case)
    lit = vision.lit.index_select(0, torch.cat(cases[::-1])).view(VIEW, -1)  # (7 rows, B)
    return (lit * vision.row_value).sum(0)


def view_cells(
    grid: Int[Tensor, "B P"], agent: Int[Tensor, "B"], direction: Int[Tensor, "B"], vision: Vision, see_through=None
) -> tuple[Int[Tensor, "B 49"], Int[Tensor, "B"]]:
    """The cells of each world's view, column by column, and which of them are lit (see `lit_columns`).

    Args:
        grid: padded grids; `agent` is the agent's index into all of them flattened, int64.
        see_through: bool [B], worlds whose walls hide nothing; None for none.
    """
    where = vision.window.index_select(0, direction) + agent.int()[:, None]  # (B, 49)
    cells = grid.view(-1).index_select(0, where.view(-1)).view(-1, VIEW * VIEW)  # (B, 49)
    opaque = torch.mm(vision.row_bits, hides(cells).float().t()).long()  # (7, B) sums of powers of two are exact
    if see_through is not None:
        opaque = opaque * ~see_through
    return cells, lit_columns(opaque, vision)


def make_image(
    cells: Int[Tensor, "B 49"], lit: Int[Tensor, "B"], carrying: Int[Tensor, "B"], vision: Vision
) -> UInt8[Tensor, "B 7 7 3"]:
    """The observed image: what is not lit is 0, the agent's own cell shows what it carries."""
    columns = lit.view(torch.uint8).int()  # (8 B,) of each world seven columns and an empty one
    seen = vision.column.index_select(0, columns).view(-1, 8 * VIEW)  # (B, 56)
    image = seen[:, : VIEW * VIEW] & cells  # (B, 49)
    image[:, AGENT_COLUMN * VIEW + AGENT_ROW] = carrying & SEEN
    return three_bytes(image.view(-1)).view(-1, VIEW, VIEW, 3)


def three_bytes(values: Int[Tensor, "n"]) -> UInt8[Tensor, "n 3"]:
    """The three low bytes of each int32.

    A strided view of the bytes would be free here and dear for everybody who reads it; and copying plane by plane
    is five times faster than asking for a contiguous copy.
    """
    four = values.view(torch.uint8).view(-1, 4)
    three = torch.empty(len(values), 3, dtype=torch.uint8, device=values.device)
    for plane in range(3):
        three[:, plane] = four[:, plane]
    return three
