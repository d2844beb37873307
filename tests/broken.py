"""Submissions that break a grader, by their form or by accident: every way that we know of."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from handed_in import LESSON, RIGHT, STUB, WRONG, answer, cell, check, notebook, saved
from troubles import SHARED, Trouble, add, body

BROKEN: list[Trouble] = []
trouble = partial(add, BROKEN)


def raw(group: str, name: str, says: str, write: Callable[[Path, Path], None], **expected) -> None:
    BROKEN.append(Trouble(group, name, write, says, **expected))


# --- structure ------------------------------------------------------------------------------------------------------

STRUCTURE, ACCIDENT = "structure", "accident"
gone = dict(points=0, second=0)

raw(
    STRUCTURE,
    "corrupt",
    "no notebook",
    lambda f, o: (f / "a.ipynb").write_text('{"cells": [', encoding="utf-8"),
    **gone,
)
raw(
    STRUCTURE, "nested", "no notebook", lambda f, o: (f / "a.ipynb").write_text("[" * 200_000, encoding="utf-8"), **gone
)
raw(STRUCTURE, "no bytes", "no notebook", lambda f, o: (f / "a.ipynb").write_bytes(b""), **gone)
raw(STRUCTURE, "no cells", "the notebook is empty", saved({"cells": [], "metadata": {}}), **gone)
raw(
    STRUCTURE,
    "odd cells",
    "no cell of your notebook makes",
    saved({"cells": [3, {"source": 5}, {"cell_type": {}}]}),
    **gone,
)
raw(STRUCTURE, "no notebook", "no notebook was handed in", lambda f, o: (f / "essay.txt").write_text("hi"), **gone)
trouble(STRUCTURE, "check deleted", SHARED, answer(WRONG))
trouble(STRUCTURE, "check deleted, right", "passed", answer(RIGHT), points=3)
trouble(STRUCTURE, "turned to text", "stands in a text cell", cell(RIGHT, "markdown"), check())
trouble(STRUCTURE, "two answers, the last wrong", SHARED, RIGHT, answer(WRONG), note="the last one counts")
trouble(STRUCTURE, "two answers, the last right", "passed", WRONG, answer(RIGHT), points=3, note="the last one counts")
split = RIGHT.replace('torch.einsum("bnh,nhk,bk->bn", h, W_q, x @ W_e)', "scores(h, x, W_q, W_e)")
helper = 'def scores(h, x, W_q, W_e):\n    return torch.einsum("bnh,nhk,bk->bn", h, W_q, x @ W_e)\n'
trouble(STRUCTURE, "split over one id", "passed", answer(helper), answer(split), check(), points=3)
trouble(STRUCTURE, "reordered", "passed", check(), answer(split), cell(helper), points=3)
trouble(STRUCTURE, "in another cell", "passed", answer(STUB), check(), cell(RIGHT), points=3)
tags = {"tags": ["nbval-skip", "raises-exception", "nbval-ignore-output"], "metarim": {"exercise": "input_attention"}}
trouble(STRUCTURE, "tags", SHARED, answer(WRONG, metadata=tags), check(metadata=tags))
rich = {"metarim": {"exercise": "input_attention", "role": "answer", "points": 99}}
trouble(STRUCTURE, "points edited", SHARED, answer(WRONG, metadata=rich), check())
trouble(STRUCTURE, "points edited, right", "passed", answer(RIGHT, metadata=rich), check(), points=3)
other = {"kernelspec": {"name": "julia-1.9", "language": "julia"}, "metarim": {"lesson": LESSON}}
raw(STRUCTURE, "other kernel", "passed", saved(notebook(answer(RIGHT), metadata=other)), points=3)
trouble(STRUCTURE, "other language", "cannot be read as Python", "input_attention <- function(h) {\n  h %*% x\n}")
without_ids = notebook(answer(RIGHT), check(), nbformat_minor=2)
for made in without_ids["cells"]:
    del made["id"]
raw(STRUCTURE, "older Jupyter", "passed", saved(without_ids), points=3)
ancient = [
    {"cell_type": "code", "input": c["source"], "outputs": [], "metadata": {}} for c in notebook(cell(RIGHT))["cells"]
]
raw(
    STRUCTURE, "ancient", "passed", saved({"worksheets": [{"cells": ancient}], "nbformat": 3, "metadata": {}}), points=3
)
lesson_4 = {"metarim": {"lesson": "04_recurrent_independent_mechanisms"}}
raw(STRUCTURE, "wrong lesson", "which was not asked for", saved(notebook(answer(RIGHT), metadata=lesson_4)), **gone)
raw(STRUCTURE, "renamed", "passed", saved(notebook(answer(RIGHT), metadata={}), "final (2) NEW.ipynb"), points=3)


def beside(files: dict[str, str], content: dict) -> Callable[[Path, Path], None]:
    def write(folder: Path, outside: Path) -> None:
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        saved(content)(folder, outside)

    return write


conftest = {"conftest.py": "def pytest_runtest_call(item): pass", "pytest.ini": "[pytest]\naddopts = --co"}
raw(STRUCTURE, "conftest beside it", SHARED, beside(conftest, notebook(answer(WRONG), check())))
fakes = dict.fromkeys(("torch.py", "minigrid.py", "numpy.py", "json.py"), "allclose = lambda *a, **k: True")
raw(STRUCTURE, "torch.py beside it", SHARED, beside(fakes, notebook(answer(WRONG), check())))


def link(folder: Path, outside: Path) -> None:
    os.symlink(folder.parent / "honest first" / f"{LESSON}.ipynb", folder / f"{LESSON}.ipynb")


raw(STRUCTURE, "symlink", "a link was handed in", link, **gone)


def zipped(names: dict[str, str]) -> Callable[[Path, Path], None]:
    def write(folder: Path, outside: Path) -> None:
        with zipfile.ZipFile(folder / "mine.zip", "w") as archive:
            for name, text in names.items():
                archive.writestr(name.replace("@OUTSIDE@", str(outside)), text)

    return write


evil = {f"../../{LESSON}.ipynb": "x", "@OUTSIDE@/written.ipynb": "x"}
raw(
    STRUCTURE,
    "zip with ..",
    "passed",
    zipped(evil | {f"work/{LESSON}.ipynb": json.dumps(notebook(answer(RIGHT)))}),
    points=3,
)
raw(STRUCTURE, "broken zip", "zip cannot be read", lambda f, o: (f / "a.zip").write_bytes(b"PK\x03\x04 no"), **gone)
large = answer(RIGHT, outputs=[{"output_type": "stream", "name": "stdout", "text": "@LARGE@"}])


def write_large(folder: Path, outside: Path) -> None:
    before, after = json.dumps(notebook(large, check())).split("@LARGE@")
    with (folder / f"{LESSON}.ipynb").open("w", encoding="utf-8") as file:
        file.write(before)
        for _ in range(100):
            file.write("a" * 1_000_000)
        file.write(after)


raw(STRUCTURE, "100 MB of outputs", "passed", write_large, points=3)

# --- accident -------------------------------------------------------------------------------------------------------

trouble(ACCIDENT, "stub", "not attempted", STUB)
trouble(ACCIDENT, "syntax error", "SyntaxError", RIGHT.replace("W_v):", "W_v:"))
trouble(
    ACCIDENT, "out of order", "differ from", cell("half = 0.9"), RIGHT.replace("** 0.5", "** half"), cell("half = 0.5")
)
trouble(ACCIDENT, "a global for an argument", "raises RuntimeError", cell("xx = torch.randn(5, 70)"),
        RIGHT.replace("x @ W_e", "xx @ W_e"))  # fmt: skip
trouble(ACCIDENT, "changes its inputs", "changes its argument `h` in place", body("h.mul_(1.5)"))
trouble(ACCIDENT, "a shape that broadcasts", "has shape", RIGHT.replace("return weights,", "return weights[:1],"))
trouble(ACCIDENT, "another dtype", "torch.float64", RIGHT.replace("return weights,", "return weights.double(),"))
trouble(ACCIDENT, "NaN", "NaN or infinity", RIGHT.replace("return weights,", "return weights * float('nan'),"))
trouble(ACCIDENT, "infinity", "NaN or infinity", RIGHT.replace("return weights,", "return weights + float('inf'),"))
trouble(ACCIDENT, "detached", "no gradient flows back", RIGHT.replace("return weights,", "return weights.detach(),"))
trouble(ACCIDENT, "warning", "passed", body("import sys, warnings; warnings.warn('old'); print('!', file=sys.stderr)"),
        points=3)  # fmt: skip
trouble(ACCIDENT, "input()", "calls input()", body("n = input('how many?')"))
trouble(ACCIDENT, "input() in the cell", "fails: EOFError", "input_attention = input('which?')")
trouble(
    ACCIDENT,
    "leftover !pip",
    "passed",
    "!pip install torch\n%matplotlib inline\n" + RIGHT + "input_attention?\n",
    points=3,
)
trouble(ACCIDENT, "global settings", "passed", "torch.manual_seed(0); torch.set_default_dtype(torch.float64)\n"
        + body("torch.set_num_threads(8); torch.manual_seed(1); torch.set_grad_enabled(True)"), points=3)  # fmt: skip
trouble(ACCIDENT, "right but slow", "passed", body("import time; time.sleep(0.05)"), points=3)
trouble(ACCIDENT, "broken scratch cell", "passed", cell("1 / 0\nraise SystemExit"), cell("def oops(:"), RIGHT, points=3)
trouble(ACCIDENT, "failing cell above", "passed", cell("import not_installed_anywhere"), RIGHT, cell("1 / 0"), points=3)
trouble(ACCIDENT, "set-up deleted", "passed", cell("pass"), RIGHT, points=3)
trouble(ACCIDENT, "a broken try below", "passed", RIGHT + "\nprint(input_attention(1, 2, 3, 4, 5))\n", points=3)
trouble(ACCIDENT, "no return", "returns None", RIGHT.replace("    return", "    result ="))
trouble(ACCIDENT, "another name", "has it another name", RIGHT.replace("input_attention", "attention"))
trouble(ACCIDENT, "a helper that fails", "fails: ZeroDivisionError", cell("factor = 1 / 0"), body("h = h * factor"))
