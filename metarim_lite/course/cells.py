"""An exercise's cells: what a source need not write, because its declaration says it already.

A source has the answer (with its solution), a tiny example, and what comes next; header, check and hints are made here,
unless the source has its own.
"""

from __future__ import annotations

from typing import Any

from .checks import EXERCISES
from .declaring import Exercise

FOLDS = ("where to begin", "the next step", "nearly all of it")


def header(e: Exercise) -> str:
    """Title, table and mathematics."""
    numbers = f"| {e.difficulty} of 5 | {e.importance} of 5 | {e.minutes} minutes | {e.points} | {e.needs} |"
    table = f"| difficulty | importance | time | points | needs |\n|---|---|---|---|---|\n{numbers}"
    return f"## {e.number} `{e.name}`\n\n{table}\n\n{e.formula}"


def hints(e: Exercise) -> str:
    """One fold for each hint, each telling more."""
    return "\n\n".join(
        f"<details><summary>Hint {number}: {what}</summary>\n\n{hint}\n</details>"
        for number, (what, hint) in enumerate(zip(FOLDS, e.hints, strict=False), start=1)
    )


def completed(cells: list[Any]) -> list[Any]:
    """`cells` (of a notebook) with header, check and hints around each answer to an exercise of the course."""
    roles = {(ours["exercise"], ours["role"]) for c in cells if len(ours := c.metadata.get("metarim", {})) > 1}
    found: list[Any] = []
    for cell in cells:
        ours = cell.metadata.get("metarim", {})
        name, role = ours.get("exercise"), ours.get("role")
        e = EXERCISES.get(name)
        if e is not None and role == "answer":
            ours["points"] = e.points
            if (name, "header") not in roles:
                found.append(_cell(e, "header", header(e), {"slideshow": {"slide_type": "slide"}}, points=e.points))
        found.append(cell)
        last = "example" if (name, "example") in roles else "answer"
        if e is not None and role == last:
            if (name, "check") not in roles:
                found.append(_cell(e, "check", f'check("{name}", {name})', {}, points=e.points))
            if (name, "hints") not in roles:
                found.append(_cell(e, "hints", hints(e), {}))
    return found


def _cell(e: Exercise, role: str, source: str, metadata: dict[str, Any], **more: Any) -> Any:
    import nbformat

    make = nbformat.v4.new_code_cell if role == "check" else nbformat.v4.new_markdown_cell
    return make(source, metadata={**metadata, "metarim": {"exercise": e.name, "role": role, **more}})
