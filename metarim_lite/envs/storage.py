"""Banks on disk: one compressed file of tensors with a JSON header, and a cache of generated levels.

The file is safetensors (no pickle, nothing executable) in gzip. The cache holds one file for each level id, version
of minigrid and thousand of seeds. Files are written to the side and moved into place, so that a reader never meets
half a file; an unreadable one counts as absent. When two processes write the same file, the last one wins.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import zlib
from importlib.metadata import version
from pathlib import Path

from torch import Tensor

from ..cache import cached_path, read_cached, write_cached
from ..errors import UserError
from ..files import replace_file, user_path
from .tables import TABLES, wrong_table

FORMAT = 1  # raise it when the meaning of a table changes
SEEDS_PER_FILE = 1000


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


def save_tables(path: str | Path, tables: dict[str, Tensor], level_ids: tuple[str, ...]) -> None:
    """
    Raises:
        UserError: the file cannot be written.
    """
    path = user_path(path)
    with contextlib.suppress(OSError):  # then it cannot be written either
        path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, to_bytes(tables, level_ids), mend="choose another place")


def load_tables(path: str | Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """
    Raises:
        UserError: no such file, or a damaged or foreign one (with the field that is wrong).
    """
    try:
        tables, level_ids, _ = from_bytes(user_path(path).read_bytes())
    except OSError as error:
        raise UserError(f"cannot read a bank from {str(path)!r}: {error.strerror}") from error
    except Damaged as error:
        raise UserError(f"{str(path)!r} is not a usable bank of levels: {error}; generate it again") from error
    return tables, level_ids


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
