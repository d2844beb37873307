"""From a notebook that somebody handed in to the statements that an answer needs. Nothing is executed here.

A notebook of an honest student is a workshop: experiments, broken cells, helpers, two versions of one answer. So an
answer is not a cell. It is the last statement that makes the function, and with it whatever that function needs: a
helper from another cell, an import, a constant. What it does not need is not run, and can do no harm: a broken cell, a
training that takes an hour, a check cell that was changed.

    answer     the last `def NAME` (or `NAME = …`) in any code cell that is more than the exercise's own stub
    needs      names that it does not make itself: the nearest statements above it that make them, else the first below;
               then what those need; then the notebook's published imports; then `BY_DEFAULT`
"""

from __future__ import annotations

import ast
import json
import re
import symtable
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

PACKAGE = "metarim_lite"
OPEN = {  # what answers may import from the package; nursery.py has it
    PACKAGE: {"check"},
    f"{PACKAGE}.course": {"check", "once_written", "solved_or_reference"},
    f"{PACKAGE}.envs.cells": None,  # all of it
}
USES_PACKAGE = "your answer uses {} of the package, which may hold the solution; write it yourself."
LONGEST, MOST = 100_000, 5_000  # letters of a cell that is read, statements of a notebook: to read is work, too
BY_DEFAULT = {
    "torch": "import torch", "np": "import numpy as np", "numpy": "import numpy", "math": "import math",
    "F": "import torch.nn.functional as F", "nn": "from torch import nn", "Tensor": "from torch import Tensor",
}  # fmt: skip


class Unreadable(ValueError):
    """A file that is no notebook; the text says why."""


class Cell(NamedTuple):
    """A cell as it was handed in. `number` counts all cells from 1, as a reader does."""

    number: int
    kind: str
    source: str
    exercise: str | None = None
    role: str | None = None


class Notebook(NamedTuple):
    lesson: str | None
    cells: list[Cell]


class Piece(NamedTuple):
    """A statement to be run: the name of its cell, the line there, its source; whether it makes the answer."""

    cell: str
    line: int
    source: str
    ours: bool


class Found(NamedTuple):
    """What a notebook has for an exercise: pieces, or a reason why there are none. `notes` are for the report."""

    pieces: tuple[Piece, ...] = ()
    reason: str = ""
    attempted: bool = True
    notes: tuple[str, ...] = ()


def read_notebook(data: bytes) -> Notebook:
    """Any version of the format, as far as it can be read.

    Raises:
        Unreadable: it is no notebook.
    """
    try:
        tree = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"the file is no notebook ({type(error).__name__}); save it again from Jupyter.") from None
    if not isinstance(tree, dict):
        raise Unreadable("the file is no notebook; save it again from Jupyter.")
    cells = tree.get("cells")
    if cells is None and isinstance(tree.get("worksheets"), list):  # before 2015
        cells = [cell for sheet in tree["worksheets"] for cell in _dict(sheet).get("cells", [])]
    if not isinstance(cells, list):
        raise Unreadable("the file has no cells; save it again from Jupyter.")
    if not cells:
        raise Unreadable("the notebook is empty.")
    lesson = _dict(_dict(tree.get("metadata")).get(PACKAGE.split("_")[0])).get("lesson")
    return Notebook(lesson if isinstance(lesson, str) else None, [_cell(n, _dict(c)) for n, c in enumerate(cells, 1)])


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _cell(number: int, cell: dict[str, Any]) -> Cell:
    source = cell.get("source", cell.get("input", ""))
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    ours = _dict(_dict(cell.get("metadata")).get("metarim"))
    exercise, role = ours.get("exercise"), ours.get("role")
    if not isinstance(exercise, str) and isinstance(cell.get("id"), str):
        named = re.fullmatch(r"([A-Za-z_]\w*)-(header|answer|example|check|hints|next)", cell["id"])
        exercise, role = named.groups() if named else (None, None)
    kind = str(cell.get("cell_type"))
    source = source.replace("\r\n", "\n") if isinstance(source, str) else ""
    return Cell(number, kind, source, exercise, role if isinstance(role, str) else None)


# --- statements, and the names that they make and need --------------------------------------------------------------


class Statement(NamedTuple):
    """One statement at the top of a code cell."""

    cell: Cell
    node: ast.stmt
    source: str
    line: int
    makes: frozenset[str]
    changes: frozenset[str]  # things with these names: by an assignment into them, or a call of their methods
    needs: frozenset[str]
    title: str  # what tracebacks call its cell


class Workshop:
    """All statements of a notebook that can be parsed, and a sentence for each cell that cannot."""

    def __init__(self, cells: Iterable[Cell], title: str = "cell") -> None:
        self.statements: list[Statement] = []
        self.broken: dict[int, tuple[Cell, str]] = {}
        for cell in cells:
            if cell.kind != "code":
                continue
            if len(cell.source) > LONGEST or len(self.statements) > MOST:
                self.broken[cell.number] = (cell, f"your cell is too long to be read (over {LONGEST:,} letters).")
                continue
            try:
                self.statements += _statements(cell, f"<{title} {cell.number}>")
            except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
                self.broken[cell.number] = (cell, _does_not_parse(error))


def _does_not_parse(error: BaseException) -> str:
    if not isinstance(error, SyntaxError):
        return f"your cell cannot be read as Python ({type(error).__name__})."
    line = f" (at the line `{error.text.strip()[:60]}`)" if error.text and error.text.strip() else ""
    return f"your cell cannot be read as Python: {type(error).__name__}: {error.msg}{line}"


def _statements(cell: Cell, title: str) -> Iterator[Statement]:
    source = cell.source
    try:
        tree = ast.parse(source)
    except SyntaxError:
        source = without_magics(source)
        tree = ast.parse(source)
    lines = source.split("\n")
    begins = [min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))]) for node in tree.body]
    ends = [node.end_lineno for node in tree.body]
    for i, node in enumerate(tree.body):
        alone = (i == 0 or ends[i - 1] < begins[i]) and (i + 1 == len(begins) or ends[i] < begins[i + 1])
        text = "\n".join(lines[begins[i] - 1 : ends[i]]) if alone else ast.unparse(node)
        makes, changes, needs = _names(node, text)
        yield Statement(cell, node, text, begins[i], makes, changes, needs, title)


def without_magics(source: str) -> str:
    """`source` without what only a notebook understands: %magics, !commands, help?."""
    if re.match(r"\s*%%(?!time\b|timeit\b|capture\b)", source):
        return ""
    kept = []
    for line in source.split("\n"):
        indent = line[: len(line) - len(line.lstrip())]
        if re.match(r"\s*(%|!|\?)", line) or re.fullmatch(r"\s*[\w.]+\?{1,2}\s*", line):
            kept.append(f"{indent}pass")
        else:
            kept.append(re.sub(r"^(\s*[\w, ]+=)\s*[!%].*$", r"\1 None", line))
    return "\n".join(kept)


def _names(node: ast.stmt, text: str) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Names of the notebook that a statement makes, changes and needs."""
    table = symtable.symtable(ast.unparse(node), "<cell>", "exec")
    needs, makes = set(), {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}

    def look(scope: symtable.SymbolTable) -> None:
        for symbol in scope.get_symbols():
            if symbol.is_referenced() and (scope is table or symbol.is_global()):
                needs.add(symbol.get_name())
            if scope is not table and symbol.is_declared_global() and symbol.is_assigned():
                needs.add(symbol.get_name())
        for inside in scope.get_children():
            look(inside)

    look(table)
    return frozenset(makes), frozenset(_changed(node)), frozenset(needs)


def _changed(node: ast.stmt) -> Iterator[str]:
    """Names of things that are changed in place, as far as one can see without running anything."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return
    for inside in ast.walk(node):
        if isinstance(inside, (ast.Subscript, ast.Attribute)) and isinstance(inside.ctx, (ast.Store, ast.Del)):
            base = inside.value
        elif isinstance(inside, ast.Call) and isinstance(inside.func, ast.Attribute):
            base = inside.func.value
        else:
            continue
        while isinstance(base, (ast.Subscript, ast.Attribute)):
            base = base.value
        if isinstance(base, ast.Name):
            yield base.id


def is_stub(statement: Statement) -> bool:
    """Whether it is still `raise NotImplementedError` and no more."""
    node = statement.node
    if not isinstance(node, ast.FunctionDef):
        return False
    body = [s for s in node.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
    return len(body) == 1 and isinstance(body[0], ast.Raise) and "NotImplementedError" in ast.unparse(body[0])


# --- the answer -----------------------------------------------------------------------------------------------------


def find_answer(
    name: str, notebook: Notebook, published: Iterable[Cell] = (), given: dict[str, str] | None = None
) -> Found:
    """What `notebook` has for the exercise `name`.

    Args:
        published: cells of the instructor's notebook, whose imports count as there.
        given: source of functions that this exercise builds on, where the student has none of their own.
    """
    shop = Workshop(notebook.cells)
    made = [i for i, s in enumerate(shop.statements) if name in s.makes]
    real = [i for i in made if not is_stub(shop.statements[i])]
    if not real:
        return _without(name, notebook, shop, stub=bool(made))
    last = real[-1]
    cells = sorted({shop.statements[i].cell.number for i in real})
    notes = []
    if len(cells) > 1:
        notes.append(f"cells {', '.join(map(str, cells))} all make `{name}`; the last one counts.")
    if any(name in cell.source and cell.number > cells[-1] for cell, _ in shop.broken.values()):
        notes.append(f"a later cell with `{name}` cannot be read as Python and was left out.")
    chosen, outside = needed(name, last, shop, Workshop(published, "published cell"), given or {})
    pieces = [_piece(s, wanted, name) for s, wanted in chosen]
    package = next((used for s, wanted in chosen for used in _closed(s, wanted)), None)
    if package is not None:
        return Found(reason=USES_PACKAGE.format(package), notes=tuple(notes))
    first = [Piece("<given>", 1, source, False) for source in outside]
    return Found((*first, *pieces), notes=tuple(notes))


def _without(name: str, notebook: Notebook, shop: Workshop, stub: bool) -> Found:
    """Why there is nothing to run."""
    told = re.compile(rf"\bdef\s+{re.escape(name)}\b|^{re.escape(name)}\s*=", re.M)
    for cell, says in reversed(shop.broken.values()):
        if (cell.exercise, cell.role) == (name, "answer") or told.search(cell.source):
            return Found(reason=says)
    if stub:
        return Found(reason="not attempted", attempted=False)
    if any(told.search(cell.source) for cell in notebook.cells if cell.kind != "code"):
        return Found(reason=f"`{name}` stands in a text cell; make it a code cell again.")
    own = [cell for cell in notebook.cells if (cell.exercise, cell.role) == (name, "answer") and cell.source.strip()]
    if own:
        return Found(reason=f"your cell makes no function `{name}`; has it another name?")
    return Found(reason=f"no cell of your notebook makes `{name}`.", attempted=False)


Chosen = list[tuple[Statement, frozenset[str] | None]]


def needed(
    name: str, last: int, shop: Workshop, published: Workshop, given: dict[str, str]
) -> tuple[Chosen, tuple[str, ...]]:
    """All statements that statement `last` needs, in the order of the notebook, each with the names that are wanted of
    it (None: all); and sources from elsewhere."""
    wanted: dict[int, set[str]] = {last: {name}}
    lent: dict[int, set[str]] = {}
    outside: dict[str, str] = {}
    seen, ahead = {name}, [(n, last) for n in shop.statements[last].needs]
    cell = shop.statements[last].cell.number
    for i, s in enumerate(shop.statements):  # `f = faster(f)` below `def f`, and what came before `f = faster(f)`
        if name in s.makes and s.cell.number == cell and not is_stub(s) and i != last:
            wanted[i] = {name}
            ahead += [(n, i) for n in s.needs]
    while ahead:
        need, at = ahead.pop()
        if need in seen:
            continue
        seen.add(need)
        makers = _makers(need, at, shop.statements)
        if need in given and (not makers or any(_closed(shop.statements[i], frozenset([need])) for i in makers)):
            outside[given[need]] = need
            continue
        for i in makers:
            wanted.setdefault(i, set()).add(need)
            ahead += [(n, i) for n in _needs(shop.statements[i], need)]
        if not makers:
            lenders = _makers(need, len(published.statements), published.statements)
            for i in lenders:
                lent.setdefault(i, set()).add(need)
                ahead += [(n, at) for n in _needs(published.statements[i], need)]
            if not lenders and need in BY_DEFAULT:
                outside[BY_DEFAULT[need]] = need
    stars = [(s, None) for s in shop.statements if _star(s) and not _closed(s, None)]
    chosen = [(published.statements[i], frozenset(names)) for i, names in sorted(lent.items())]
    chosen += stars + [(shop.statements[i], frozenset(names)) for i, names in sorted(wanted.items())]
    return chosen, tuple(outside)


def _needs(statement: Statement, need: str) -> frozenset[str]:
    return frozenset() if isinstance(statement.node, (ast.Import, ast.ImportFrom)) else statement.needs


def _makers(need: str, at: int, statements: list[Statement]) -> list[int]:
    """Statements that make the thing called `need` as the answer at `at` sees it: those of the nearest cell above that
    has any, else of the first below; and what changes it in place since."""
    making = [i for i, s in enumerate(statements) if need in s.makes and i != at]
    above = [i for i in making if i < at] or [i for i in making if i > at][:1]
    if not above:
        return []
    cell = statements[above[-1]].cell.number
    made = [i for i in above if statements[i].cell.number == cell]
    if all(isinstance(statements[i].node, (ast.Import, ast.ImportFrom)) for i in made):
        return made
    return made + [i for i, s in enumerate(statements) if need in s.changes and made[0] < i < max(at, made[-1] + 1)]


def _star(statement: Statement) -> bool:
    return isinstance(statement.node, ast.ImportFrom) and statement.node.names[0].name == "*"


def _narrowed(statement: Statement, wanted: frozenset[str] | None) -> list[ast.alias]:
    """Of an import, what is wanted."""
    names = statement.node.names
    return [a for a in names if wanted is None or a.name == "*" or (a.asname or a.name.split(".")[0]) in wanted]


def _piece(statement: Statement, wanted: frozenset[str] | None, name: str) -> Piece:
    node, source = statement.node, statement.source
    if isinstance(node, (ast.Import, ast.ImportFrom)) and wanted is not None:
        aliases = _narrowed(statement, wanted)
        made = ast.Import(aliases) if isinstance(node, ast.Import) else ast.ImportFrom(node.module, aliases, node.level)
        source = ast.unparse(made)
    return Piece(statement.title, statement.line, source, name in statement.makes)


def _closed(statement: Statement, wanted: frozenset[str] | None) -> list[str]:
    """What of the package it imports that is not open to answers, imports inside functions included."""
    found = []
    for node in ast.walk(statement.node):
        narrow = wanted if node is statement.node else None
        if isinstance(node, ast.Import):
            for alias in _narrowed(statement, narrow) if node is statement.node else node.names:
                if alias.name.split(".")[0] == PACKAGE and alias.name not in (*OPEN, f"{PACKAGE}.envs"):
                    found.append(alias.name)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE and not node.level:
            for alias in _narrowed(statement, narrow) if node is statement.node else node.names:
                allowed = OPEN.get(node.module, set())
                if allowed is not None and alias.name not in allowed and f"{node.module}.{alias.name}" not in OPEN:
                    found.append(f"{node.module}.{alias.name}")
    return found
