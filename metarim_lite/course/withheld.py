"""Outputs that a student should not see before having predicted them: kept beside a lesson's notebook, not in it.

From the first cell that calls `predict(` on, a lesson is shipped as if nobody had run it. What its cells gave in the
build lies in notebooks/_outputs/STEM.json, by cell id. notebooks/conftest.py puts it back before nbval compares, and so
may everybody who shows a lesson to people who need not predict (slides): `completed(path)`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import replace_file

_ASKS = re.compile(r"(?<![\w.])predict\(")


def from_first_prediction(cells: list[Any]) -> list[Any]:
    """The code cells from the first one that asks for a prediction on; all their outputs are withheld."""
    code = [cell for cell in cells if cell.cell_type == "code"]
    first = next((number for number, cell in enumerate(code) if _ASKS.search(cell.source)), len(code))
    return code[first:]


def kept_at(notebook: Path) -> Path:
    """Where the withheld outputs of this notebook are."""
    return notebook.parent / "_outputs" / f"{notebook.stem}.json"


def withhold(notebook: Any, target: Path) -> None:
    """Move the outputs that a prediction asks for out of `notebook` (in place), beside `target`."""
    kept = {}
    for cell in from_first_prediction(notebook.cells):
        kept[cell.id] = {"execution_count": cell.execution_count, "outputs": cell.outputs}
        cell.execution_count, cell.outputs = None, []
    place = kept_at(target)
    if kept:
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_file(place, json.dumps(kept, ensure_ascii=False, indent=1, sort_keys=True) + "\n")
    else:
        place.unlink(missing_ok=True)


def kept_outputs(notebook: Path) -> dict[str, Any]:
    """Cell id -> {"execution_count", "outputs"} of what was withheld; empty where nothing was."""
    place = kept_at(notebook)
    return json.loads(place.read_text(encoding="utf-8")) if place.exists() else {}


def put_back(cells: list[Any], kept: dict[str, Any], name: str) -> None:
    """Give `cells` the outputs that were withheld from them.

    Raises:
        UserError: what was kept belongs to other cells.
    """
    import nbformat

    wanted = from_first_prediction(cells)
    if {cell.id for cell in wanted} != set(kept):
        raise UserError(f"{name}: the outputs kept in _outputs/ belong to other cells; run metarim build.")
    for cell in wanted:
        cell.execution_count = kept[cell.id]["execution_count"]
        cell.outputs = [nbformat.from_dict(output) for output in kept[cell.id]["outputs"]]


def completed(path: Path) -> Any:
    """The notebook at `path` with all its outputs, those of its predictions too."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    put_back(notebook.cells, kept_outputs(path), path.name)
    return notebook
