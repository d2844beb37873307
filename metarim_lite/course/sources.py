"""From a source file (jupytext percent) to the cells of a notebook; nothing is executed here.

A source is a Python file with `# %%` cells. Three conventions are ours:

- `metarim={"exercise": NAME, "role": ROLE}` in a cell's header says which exercise the cell belongs to; ROLE is
  "header", "answer", "example", "check", "hints" or "next". Around an answer to an exercise of the course, header,
  check and hints come from its declaration (cells.py): the source does not write them.
- `# SOLUTION-BEGIN` and `# SOLUTION-END` inside an answer cell enclose what a student writes: the notebook of
  exercises has `raise NotImplementedError(...)` there. A cell tagged `solution-only` is left out of it.
- a markdown cell tagged `reveals` says what came of an experiment that was to be predicted: all of it but a heading is
  folded, to be opened when the cells above it have run.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import read_text
from .cells import completed
from .errors import SKELETON
from .launch import home, install_cell, launch_links

REVEALED = "When the cells above have run, open this: what came out"
BEGIN, END = "# SOLUTION-BEGIN", "# SOLUTION-END"
ROLES = ("header", "answer", "example", "check", "hints", "next")

METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def read(path: Path, kind: str) -> Any:
    """The unexecuted notebook (nbformat 4.5) of the source `path`.

    Args:
        path: a jupytext percent file; its stem names the lesson.
        kind: "lesson", "solution" (markers taken out), "exercise" (solutions taken out), or "page": Markdown, no code.

    Raises:
        UserError: the markers of an answer do not pair, or a role is unknown.
    """
    import jupytext
    import nbformat

    metadata = {**METADATA, "metarim": {"lesson": path.stem, "kind": kind}}
    if kind == "page":  # Jupyter shows a notebook as it should look, and a Markdown file as its source
        cell = nbformat.v4.new_markdown_cell(read_text(path).rstrip("\n"), id=path.stem)
        return nbformat.v4.new_notebook(cells=[cell], metadata=metadata, nbformat_minor=5)
    parsed = jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent")
    below_title = 1 if parsed.cells and parsed.cells[0].cell_type == "markdown" else 0
    cells, used = [], set()
    start = _start_cells(path, kind)
    for cell in completed([*parsed.cells[:below_title], *start, *parsed.cells[below_title:]]):
        identity = _identity(cell, used)  # from the full source: the same in solution and exercise
        tags = cell.metadata.get("tags", [])
        if kind == "exercise" and "solution-only" in tags:
            continue
        role = cell.metadata.get("metarim", {}).get("role")
        if role is not None and role not in ROLES:
            raise UserError(f"{path.name}: a cell has the role {role!r}; known roles: {', '.join(ROLES)}.")
        source = cell.source
        if role == "check" and kind == "exercise":  # *Run all* goes on below a check that fails
            cell.metadata["tags"] = [*tags, "raises-exception"]
        if cell.cell_type == "code":
            source = (without_solution if kind == "exercise" else without_markers)(source, path.name)
            cells.append(nbformat.v4.new_code_cell(source, metadata=cell.metadata, id=identity))
        else:
            source = folded(source) if "reveals" in tags else source
            cells.append(nbformat.v4.new_markdown_cell(source, metadata=cell.metadata, id=identity))
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
    notebook.nbformat_minor = 5
    return notebook


def _start_cells(path: Path, kind: str) -> list[Any]:
    """What starts a notebook anywhere: links that launch it, if there is an address, and the cell that installs."""
    import nbformat

    address = home(path.parents[2]).address
    folder = {"lesson": "notebooks", "solution": "solutions", "exercise": "exercises"}[kind]
    links = launch_links(address, f"{folder}/{path.stem}.ipynb")
    skipped = {"slideshow": {"slide_type": "skip"}}
    launch = nbformat.v4.new_markdown_cell(links, metadata={**skipped, "tags": ["launch"]})
    hidden = {**skipped, "tags": ["install"], "jupyter": {"source_hidden": True}}
    return [launch] * bool(links) + [nbformat.v4.new_code_cell(install_cell(address), metadata=hidden)]


def folded(source: str) -> str:
    """Markdown behind a fold, a heading above it excepted."""
    heading = re.match(r"(#+ .*\n+)?", source)[0]
    return f"{heading}<details><summary>{REVEALED}</summary>\n\n{source[len(heading) :].rstrip()}\n\n</details>"


def without_markers(source: str, name: str) -> str:
    """`source` without its marker lines."""
    return "".join(text for text, _ in _parts(source, name)).rstrip("\n")


def without_solution(source: str, name: str) -> str:
    """`source` with each enclosed part replaced by `raise NotImplementedError`, at the marker's indentation."""
    pieces = []
    for text, indent in _parts(source, name):
        pieces.append(text if indent is None else f'{indent}raise NotImplementedError("{SKELETON}")\n')
    return "".join(pieces).rstrip("\n")


def _parts(source: str, name: str) -> list[tuple[str, str | None]]:
    """`source` cut at its markers: (text, None) outside, (text, indentation of the marker) inside."""
    parts: list[tuple[str, str | None]] = []
    text, indent = "", None
    for line in source.splitlines(keepends=True):
        stripped = line.strip()
        if stripped in (BEGIN, END):
            if (stripped == BEGIN) != (indent is None):
                raise UserError(f"{name}: a {stripped!r} without its partner; write each pair in one cell.")
            parts.append((text, indent))
            text, indent = "", line[: len(line) - len(line.lstrip())] if stripped == BEGIN else None
        else:
            text += line
    if indent is not None:
        raise UserError(f"{name}: a {BEGIN!r} without {END!r} in the same cell.")
    return [*parts, (text + "\n", None)]


def _identity(cell: Any, used: set[str]) -> str:
    """A cell id that survives insertions elsewhere: exercise and role, what it starts, or a hash of the source."""
    ours = cell.metadata.get("metarim", {})
    of_start = {"launch", "install"} & set(cell.metadata.get("tags", []))
    if of_start:
        (base,) = of_start
    elif "exercise" in ours and "role" in ours:
        base = re.sub(r"[^A-Za-z0-9_-]", "-", f"{ours['exercise']}-{ours['role']}")[:56]
    else:
        base = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
    identity, again = base, 1
    while identity in used:
        again += 1
        identity = f"{base}-{again}"
    used.add(identity)
    return identity
