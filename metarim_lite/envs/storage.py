"""How levels are written down: one row each in tables of small integers; in files; and as one number that tells levels
apart.

A file is safetensors (no pickle, nothing executable) in gzip, with a JSON header. The cache holds one file for each
level id, version of minigrid and thousand of seeds. Files are written to the side and moved into place, so that a
reader never meets half a file; an unreadable one counts as absent. When two processes write the same file, the last
one wins.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from ..cache import cached_path, read_cached, write_cached
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

FORMAT = 1  # raise it when the meaning of a table changes
SEEDS_PER_FILE = 1000
ROWS = 2048  # levels whose fingerprints are taken at a time, to bound memory


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


class Damaged(Exception):
    """The bytes are no bank; the text says what is wrong."""


def to_bytes(tables: dict[str, Tensor], level_ids: tuple[str, ...]) -> bytes:
    """Tables (with `task` and `seeds`) as the content of a file. The same tables give the same bytes."""
    from safetensors.torch import save

    header = {"format": FORMAT, "minigrid": version("minigrid"), "level_ids": level_ids}
    tensors = {name: table.contiguous() for name, table in tables.items()}
    return gzip.compress(save(tensors, {"levels": json.dumps(header)}), compresslevel=6, mtime=0)


def from_bytes(content: bytes) -> tuple[dict[str, Tensor], tuple[str, ...], str]:
    """Tables, level ids and version of minigrid from the content of a file.

    Raises:
        Damaged: saying which field is wrong.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        raw = gzip.decompress(content)
        length = int.from_bytes(raw[:8], "little")
        header = json.loads(json.loads(raw[8 : 8 + length])["__metadata__"]["levels"])
        tensors = load(raw)
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise Damaged(f"it cannot be read ({type(error).__name__})") from error
    if header.get("format") != FORMAT:
        raise Damaged(f"field 'format' is {header.get('format')!r}, expected {FORMAT}")
    if name := wrong_table(tensors):
        raise Damaged(f"table {name!r} is missing or has the wrong shape or dtype")
    ids = tuple(header.get("level_ids", ()))
    if not len(tensors["task"]) or not 0 <= int(tensors["task"].min()) <= int(tensors["task"].max()) < len(ids):
        raise Damaged("fields 'level_ids' and 'task' do not belong together")
    return {name: tensors[name] for name in TABLES}, ids, str(header.get("minigrid"))


def cache_path(level_id: str, block: int) -> Path | None:
    """The cache's file for seeds `block * SEEDS_PER_FILE` and following."""
    return cached_path("levels", level_id, f"{block}.v{FORMAT}")


def read_cache(level_id: str, block: int) -> dict[str, Tensor] | None:
    """The cached tables of one file; None when there is none that is readable and of this level and version."""
    try:
        tables, ids, made_with = from_bytes(read_cached(cache_path(level_id, block)))
    except Damaged:
        return None
    return tables if ids == (level_id,) and made_with == version("minigrid") else None


def write_cache(level_id: str, block: int, tables: dict[str, Tensor]) -> None:
    """Put tables into the cache, as `write_cached`."""
    write_cached(cache_path(level_id, block), to_bytes(tables, (level_id,)), "levels")


def fingerprints(tables: dict[str, Tensor]) -> Int[Tensor, "n"]:
    """A number for each level of a bank's tables: equal where the levels are, and as good as surely only there.

    Levels are equal where everything in the tables is: grid and what lies in it, agent, mission, how it ends, step
    limit. How large the other levels of the bank are does not matter.

        fingerprint = Σ over entries e of  _mix(value of e − padding) · c(name of the table, place of e)   mod 2^64
    """
    n = len(tables["size"])
    total = torch.zeros(n, dtype=torch.int64)
    for name, table in tables.items():
        for rows in range(0, n, ROWS):
            part = table[rows : rows + ROWS].long() - PADDING.get(name, 0)
            total[rows : rows + ROWS] += (_mix(part) * _weights(name, part.shape[1:])).reshape(len(part), -1).sum(1)
    return total


def _weights(name: str, shape: torch.Size) -> Int[Tensor, "..."]:
    """An odd number for each place in a table, the same in tables of any width."""
    place = torch.full(shape, zlib.crc32(name.encode()), dtype=torch.int64)
    for axis, size in enumerate(shape):
        along = torch.arange(1, size + 1).view(-1, *[1] * (len(shape) - axis - 1))
        place = _mix(place + along)
    return _mix(place) | 1


def _mix(z: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
    """Scatter the bits of numbers, no two alike; 0 stays 0."""
    z = (z ^ (z >> 32 & 0xFFFFFFFF)) * -4658895280553007687  # masked: >> repeats the sign, and z and ~z would meet
    return z ^ (z >> 29 & 0x7FFFFFFFF)
