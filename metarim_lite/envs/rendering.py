"""Pictures of a world, drawn with minigrid's own tiles and therefore equal to its `get_frame` in every pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from ..errors import UserError
from .cells import DIRECTIONS
from .vision import AGENT_COLUMN, AGENT_ROW, VIEW, make_image, view_cells

if TYPE_CHECKING:
    from .engine import GridWorlds


def draw_world(worlds: GridWorlds, b: int, tile_size: int = 32) -> UInt8[Tensor, "h w 3"]:
    """The whole grid of world b, the cells that the agent sees highlighted.

    Raises:
        UserError: a tile size below 1, or a world that does not exist.
    """
    _check(worlds, b, tile_size)
    cells = worlds.cells(b).numpy()
    x, y, direction = worlds.agent_place(b)
    _, seen = _view(worlds, b)
    width, height, _ = cells.shape
    fx, fy = DIRECTIONS[direction]
    rx, ry = -fy, fx
    highlight = np.zeros((width, height), dtype=bool)
    for i, j in zip(*np.nonzero(seen), strict=True):
        ahead, aside = AGENT_ROW - j, i - AGENT_COLUMN
        cx, cy = x + fx * ahead + rx * aside, y + fy * ahead + ry * aside
        if 0 <= cx < width and 0 <= cy < height:
            highlight[cx, cy] = True
    return _draw(cells, highlight, (x, y), direction, tile_size)


def draw_agent_view(worlds: GridWorlds, b: int, tile_size: int = 32) -> UInt8[Tensor, "h w 3"]:
    """The 7x7 view of the agent of world b, as the agent sees it: itself below, looking up.

    Raises:
        UserError: a tile size below 1, or a world that does not exist.
    """
    _check(worlds, b, tile_size)
    image, seen = _view(worlds, b)
    return _draw(image, seen, (AGENT_COLUMN, AGENT_ROW), 3, tile_size)


def _view(worlds: GridWorlds, b: int) -> tuple[np.ndarray, Bool[np.ndarray, "7 7"]]:
    s = worlds.state
    one = slice(b, b + 1)
    vision = worlds._tables.vision
    cells, lit = view_cells(s.grid[one], s.position[one], s.direction[one], vision, s.see_through[one].bool())
    image = make_image(cells, lit, s.carrying[one], vision)[0].cpu().numpy()
    bits = int(lit[0])
    return image, np.array([[bool(bits >> (8 * i + j) & 1) for j in range(VIEW)] for i in range(VIEW)])


def _draw(
    cells: np.ndarray, highlight: np.ndarray, agent: tuple[int, int], direction: int, tile_size: int
) -> UInt8[Tensor, "h w 3"]:
    from minigrid.core.grid import Grid
    from minigrid.core.world_object import WorldObj

    width, height, _ = cells.shape
    picture = np.zeros((height, tile_size, width, tile_size, 3), dtype=np.uint8)
    for x in range(width):
        for y in range(height):
            thing: Any = WorldObj.decode(*(int(v) for v in cells[x, y]))
            heading = direction if (x, y) == agent else None
            picture[y, :, x] = Grid.render_tile(thing, heading, bool(highlight[x, y]), tile_size)
    return torch.from_numpy(picture.reshape(height * tile_size, width * tile_size, 3))


def _check(worlds: GridWorlds, b: int, tile_size: int) -> None:
    worlds.check_world(b)
    if tile_size < 1:
        raise UserError(f"tile_size must be at least 1 pixel, got {tile_size}")
