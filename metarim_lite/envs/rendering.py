"""Pictures of a world, drawn with minigrid's own tiles and therefore equal to its `get_frame` in every pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from .cells import MARGIN
from .vision import AGENT_COLUMN, AGENT_ROW, VIEW, seen_place


def draw_world(
    cells: UInt8[Tensor, "w h 3"], agent: tuple[int, int, int], lit: int, tile_size: int
) -> UInt8[Tensor, "h w 3"]:
    """The whole grid, the cells that the agent sees highlighted.

    Args:
        agent: x, y, direction.
        lit: which cells of its view it sees, as `vision.lit_columns` gives them.
    """
    x, y, direction = agent
    width, height, _ = cells.shape
    highlight = np.zeros((width + 2 * MARGIN, height + 2 * MARGIN), dtype=bool)  # a view may reach beyond the grid
    for i, j in np.argwhere(_seen(lit)):
        dx, dy = seen_place(i, j, direction)
        highlight[x + dx + MARGIN, y + dy + MARGIN] = True
    return _draw(cells, highlight[MARGIN:-MARGIN, MARGIN:-MARGIN], (x, y), direction, tile_size)


def draw_view(image: UInt8[Tensor, "7 7 3"], lit: int, tile_size: int) -> UInt8[Tensor, "h w 3"]:
    """What the agent sees: itself below, looking up."""
    return _draw(image, _seen(lit), (AGENT_COLUMN, AGENT_ROW), 3, tile_size)


def _seen(lit: int) -> Bool[np.ndarray, "7 7"]:
    return np.unpackbits(np.array([lit]).view(np.uint8), bitorder="little").reshape(8, 8)[:VIEW, :VIEW].astype(bool)


def _draw(
    cells: Tensor, highlight: np.ndarray, agent: tuple[int, int], direction: int, tile_size: int
) -> UInt8[Tensor, "h w 3"]:
    from minigrid.core.grid import Grid
    from minigrid.core.world_object import WorldObj

    width, height, _ = cells.shape
    picture = np.zeros((height, tile_size, width, tile_size, 3), dtype=np.uint8)
    for x, column in enumerate(cells.tolist()):
        for y, cell in enumerate(column):
            thing: Any = WorldObj.decode(*cell)
            heading = direction if (x, y) == agent else None
            picture[y, :, x] = Grid.render_tile(thing, heading, bool(highlight[x, y]), tile_size)
    return torch.from_numpy(picture.reshape(height * tile_size, width * tile_size, 3))
