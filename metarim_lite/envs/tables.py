"""How levels are written down: one row each in tables of small integers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .cells import EMPTY, WALL

# name -> (dtype, axes after the first); None is an axis of any length. Places are (x, y), (-1, -1) for nowhere.
TABLES: dict[str, tuple[str, tuple[int | None, ...]]] = {
    "cells": ("int32", (None, None)),  # row by row, see cells.py
    "size": ("int16", (2,)),  # width, height
    "agent": ("int16", (3,)),  # x, y, direction
    "carried_from": ("int16", (2,)),  # where the object lies that the agent holds from the first step on
    "max_steps": ("int32", ()),
    "see_through": ("bool", ()),
    "rule": ("uint8", ()),  # how the level ends, and the one or two places that this speaks of: see missions.py
    "target": ("int16", (2,)),
    "trap": ("int16", (2,)),
    "kind": ("uint8", (4,)),  # the atoms of the mission's program: see missions.py
    "strict": ("uint8", (4,)),
    "done": ("uint8", (4,)),
    "first": ("int64", (4,)),
    "second": ("int64", (4,)),
    "contents": ("int32", (None,)),  # of the box in each slot
    "mission": ("uint8", (72,)),  # tokens
    "task": ("int64", ()),  # which of the bank's level ids
    "seeds": ("int64", ()),
}
PADDING = {"cells": WALL, "contents": EMPTY}  # of levels smaller than the largest of their bank; else 0


def wrong_table(tables: dict[str, Tensor]) -> str | None:
    """The first table that is missing or has the wrong shape or dtype."""
    count = len(tables.get("seeds", ()))
    for name, (dtype, axes) in TABLES.items():
        table = tables.get(name)
        if table is None or str(table.dtype) != f"torch.{dtype}" or table.ndim != 1 + len(axes):
            return name
        if any(wanted not in (None, size) for wanted, size in zip((count, *axes), table.shape, strict=True)):
            return name
    return None


def join(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Tables of levels of any sizes as one, padded to the largest."""
    joined = {}
    for name in parts[0]:
        tables = [part[name] for part in parts]
        largest = [max(sizes) for sizes in zip(*(table.shape[1:] for table in tables), strict=True)]
        joined[name] = tables[0].new_full((sum(map(len, tables)), *largest), PADDING.get(name, 0))
        for rows, table in zip(joined[name].split([len(table) for table in tables]), tables, strict=True):
            rows[(slice(None), *map(slice, table.shape[1:]))] = table
    return joined
