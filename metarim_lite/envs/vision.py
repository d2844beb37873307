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

from .cells import DIRECTIONS, SEEN, row_stride

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

    window: Int[Tensor, "4 49"]  # offset of each cell of the view from the agent's, for each direction
    row_bits: Tensor  # float32 [7, 49]: sums the cells of a row into its 7 bits
    columns: Int[Tensor, "7 1"]  # int32: bit number of each column
    lit: Int[Tensor, "16384"]
    onward: Int[Tensor, "16384"]  # already multiplied by 128, to be the high bits of the next row's case


def make_vision(width: int, device: torch.device) -> Vision:
    """The tables for padded grids of this width."""
    stride = row_stride(width)
    i = torch.arange(VIEW).repeat_interleave(VIEW)  # (49,) column of each cell of an image, column by column
    j = torch.arange(VIEW).repeat(VIEW)  # (49,) row
    window = []
    for fx, fy in DIRECTIONS:
        rx, ry = -fy, fx  # to the right of the agent
        ahead, aside = AGENT_ROW - j, i - AGENT_COLUMN
        window.append(stride * (fy * ahead + ry * aside) + fx * ahead + rx * aside)
    row_bits = torch.zeros(VIEW, VIEW * VIEW)
    row_bits[j, torch.arange(VIEW * VIEW)] = (2.0**i).float()
    lit, onward = visibility_table()
    tables = torch.stack(window), row_bits, torch.arange(VIEW, dtype=torch.int32)[:, None], lit.int(), onward * 128
    return Vision(*(table.to(device) for table in tables))


def lit_rows(transparent: Int[Tensor, "7 B"], vision: Vision) -> Int[Tensor, "7 B"]:
    """The lit cells of each row (bits), from each row's transparent cells (bits). Row 6 is the agent's."""
    case = transparent[AGENT_ROW] + (128 << AGENT_COLUMN)  # the flood starts in the agent's cell
    cases = [case]
    for row in range(AGENT_ROW - 1, -1, -1):
        case = vision.onward.index_select(0, case) + transparent[row]
        cases.append(case)
    cases = torch.cat(cases[::-1])  # (7 B,)
    return vision.lit.index_select(0, cases).view(VIEW, -1)  # (7, B)


def view_cells(
    grid: Int[Tensor, "B P"], agent: Int[Tensor, "B"], direction: Int[Tensor, "B"], vision: Vision, see_through=None
) -> tuple[Int[Tensor, "B 49"], Int[Tensor, "B 7"]]:
    """The cells of each world's view, column by column, and the lit cells of each row as bits.

    Args:
        grid: padded grids; `agent` is the agent's index into all of them flattened, int64.
        see_through: bool [B], worlds whose walls hide nothing; None for none.
    """
    where = vision.window.index_select(0, direction) + agent[:, None]  # (B, 49)
    cells = grid.view(-1).index_select(0, where.view(-1)).view(-1, VIEW * VIEW)  # (B, 49)
    blocked = (cells >> 31).float()  # (B, 49) -1 where opaque: the sign bit
    transparent = (torch.mm(vision.row_bits, blocked.t()) + 127).long()  # (7, B) powers of two add up exactly
    if see_through is not None:
        transparent = torch.where(see_through, 127, transparent)
    return cells, lit_rows(transparent, vision).t().contiguous()


def make_image(
    cells: Int[Tensor, "B 49"], lit: Int[Tensor, "B 7"], carrying: Int[Tensor, "B"], vision: Vision
) -> UInt8[Tensor, "B 7 7 3"]:
    """The observed image: what is not lit is 0, the agent's own cell shows what it carries."""
    seen = (lit[:, None, :] >> vision.columns) & 1  # (B, 7 columns, 7 rows)
    image = (cells & SEEN).view(-1, VIEW, VIEW) * seen  # (B, 7, 7)
    image[:, AGENT_COLUMN, AGENT_ROW] = carrying & SEEN
    return three_bytes(image.view(-1)).view(-1, VIEW, VIEW, 3)


def three_bytes(values: Int[Tensor, "n"]) -> UInt8[Tensor, "m"]:
    """The three low bytes of each int32 (whose high byte is 0), one after another.

    A strided view of the bytes would be free here and dear for everybody who reads it; shifting eight values into
    three int64 words costs a twentieth of copying bytes.
    """
    n = values.numel()
    if n % 8:
        values = torch.nn.functional.pad(values, (0, -n % 8))
    pairs = values.view(torch.int64)
    pairs = torch.add(pairs, pairs >> 32, alpha=(1 << 24) - (1 << 32)).view(-1, 4)  # (m, 4) 6 bytes in each
    a, b, c, d = pairs.unbind(1)
    words = torch.empty(a.numel(), 3, dtype=torch.int64, device=values.device)
    torch.add(a, b << 48, out=words[:, 0])
    torch.add(b >> 16, c << 32, out=words[:, 1])
    torch.add(c >> 32, d << 16, out=words[:, 2])
    return words.view(-1).view(torch.uint8)[: 3 * n]
