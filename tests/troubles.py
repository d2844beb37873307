"""A submission that no instructor would want, and what must come of it.

Each is a notebook of lesson 03 whose `input_attention` (3 points) is the trouble and whose `active_set` (2 points) is
right, so that one can see that the trouble stays where it is.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from handed_in import HEAD, RIGHT, answer, check, notebook, saved

SHARED = "weights sum to 1 over the modules"


class Trouble(NamedTuple):
    """A submission and what must come of it."""

    group: str
    name: str
    write: Callable[[Path, Path], None]  # (folder of the student, folder where nothing may be written)
    says: str  # stands in what is said of input_attention, or in the remarks
    points: int = 0  # of input_attention
    second: int = 2  # of active_set
    note: str = ""


def add(kept: list[Trouble], group: str, name: str, says: str, *cells: dict | str, **expected) -> None:
    """Keeps one whose notebook has these cells; a text is an answer, with its check behind it."""
    made = [c for given in cells for c in ([answer(given), check()] if isinstance(given, str) else [given])]
    kept.append(Trouble(group, name, saved(notebook(*made)), says, **expected))


def body(*lines: str, before: str = "", last: str = RIGHT.removeprefix(HEAD)) -> str:
    """An answer that does something else first, and is `last` then."""
    return before + HEAD + "".join(f"    {line}\n" for line in lines) + last
