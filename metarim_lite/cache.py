"""What was made once and is kept for the next time: levels and demonstrations."""

from __future__ import annotations

import functools
import os
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .errors import UserError
from .files import replace_file, user_path


def cache_folder() -> Path | None:
    """Where generated levels are kept: $METARIM_CACHE, or the user's cache folder; None: they have no home folder."""
    try:
        if folder := os.environ.get("METARIM_CACHE"):
            return user_path(folder)
        import platformdirs

        return Path(platformdirs.user_cache_dir("metarim-lite"))
    except (RuntimeError, KeyError, UserError):
        return None


def cached_path(kind: str, level_id: str, name: str) -> Path | None:
    """The cache's file of that name for one level as this minigrid makes it; None: there is no cache.

    Args:
        kind: "levels" or "demonstrations".
    """
    folder = cache_folder()
    return None if folder is None else folder / kind / f"minigrid-{version('minigrid')}" / level_id / name


def read_cached(path: Path | None) -> bytes:
    """What is in a file of the cache; nothing where there is none that is readable."""
    try:
        return b"" if path is None else path.read_bytes()
    except OSError:
        return b""


def write_cached(path: Path | None, content: bytes, kind: str) -> None:
    """Put a file into the cache; that it cannot be written costs a warning, not what was to be kept."""
    if path is None:
        warn_once("levels and demonstrations are not cached: no home folder is known; name a folder in METARIM_CACHE")
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content, shared=True)
    except (OSError, UserError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        warn_once(f"{kind} are not cached: cannot write to {cache_folder()} ({reason})")


@functools.cache
def warn_once(text: str) -> Any:
    warnings.warn(text, stacklevel=4)
