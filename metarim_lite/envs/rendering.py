"""Pictures of a world, drawn with minigrid's own tiles and therefore equal to its `get_frame` in every pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

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
    steps = [seen_place(i, j, direction) for i, j in _seen(lit)]
    return _draw(cells, [(x + dx, y + dy) for dx, dy in steps], (x, y), direction, tile_size)


def draw_view(image: UInt8[Tensor, "7 7 3"], lit: int, tile_size: int) -> UInt8[Tensor, "h w 3"]:
    """What the agent sees: itself below, looking up."""
    return _draw(image, _seen(lit), (AGENT_COLUMN, AGENT_ROW), 3, tile_size)


def _seen(lit: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(VIEW) for j in range(VIEW) if lit >> (8 * i + j) & 1]


def _draw(
    cells: Tensor, highlight: list[tuple[int, int]], agent: tuple[int, int], direction: int, tile_size: int
) -> UInt8[Tensor, "h w 3"]:
    from minigrid.core.grid import Grid
    from minigrid.core.world_object import WorldObj

    width, height, _ = cells.shape
    picture = np.zeros((height, tile_size, width, tile_size, 3), dtype=np.uint8)
    for x, column in enumerate(cells.tolist()):
        for y, cell in enumerate(column):
            thing: Any = WorldObj.decode(*cell)
            heading = direction if (x, y) == agent else None
            picture[y, :, x] = Grid.render_tile(thing, heading, (x, y) in highlight, tile_size)
    return torch.from_numpy(picture.reshape(height * tile_size, width * tile_size, 3))
