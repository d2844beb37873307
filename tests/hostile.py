"""A class that no instructor would want: every way to break, cheat or exhaust a grader that we know of, as submissions.

Each is a notebook of lesson 03 whose `input_attention` (3 points) is the trouble and whose `active_set` (2 points) is
right, so that one can see that the trouble stays where it is.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import metarim_lite

PACKAGE = Path(metarim_lite.__file__).parent
LESSON = "03_attention_bottlenecks"
SETUP = "import torch\n\nfrom metarim_lite.course import check, once_written, solved_or_reference"
HEAD = "def input_attention(h, x, W_q, W_e, W_v):\n"
RIGHT = f"""{HEAD}    s = torch.einsum("bnh,nhk,bk->bn", h, W_q, x @ W_e) / W_q.shape[-1] ** 0.5
    weights = torch.stack([torch.zeros_like(s), s], dim=-1).softmax(-1)
    return weights, weights[..., 1:] * (x @ W_v)[:, None]
"""
WRONG = RIGHT.replace("softmax(-1)", "softmax(1)")
SHARED = "weights sum to 1 over the modules"
STUB = f'{HEAD}    """What to do."""\n    raise NotImplementedError("your code goes here")\n'
SECOND = """def active_set(weights, k):
    order = weights[..., 0].argsort(dim=1, stable=True)[:, :k]
    return torch.zeros(weights.shape[:2], dtype=torch.bool).scatter(1, order, True)
"""


class Trouble(NamedTuple):
    """A submission and what must come of it."""

    group: str
    name: str
    write: Callable[[Path, Path], None]  # (folder of the student, folder where nothing may be written)
    says: str  # stands in what is said of input_attention, or in the remarks
    points: int = 0  # of input_attention
    second: int = 2  # of active_set
    note: str = ""


ALL: list[Trouble] = []


def cell(source: str, kind: str = "code", **more) -> dict:
    made = {"cell_type": kind, "metadata": {}, "source": source, "id": f"c{abs(hash((source, kind))) % 10**9}"}
    return made | ({"outputs": [], "execution_count": None} if kind == "code" else {}) | more


def answer(source: str, name: str = "input_attention", **more) -> dict:
    ours = {"metarim": {"exercise": name, "role": "answer", "points": 3}}
    return cell(source, metadata=ours, id=f"{name}-answer") | more


def check(name: str = "input_attention", **more) -> dict:
    ours = {"metarim": {"exercise": name, "role": "check"}}
    return cell(f'check("{name}", {name})', metadata=ours, id=f"{name}-check") | more


def notebook(*cells: dict, **more) -> dict:
    """`cells` between the set-up and a right `active_set`."""
    rest = [answer(SECOND, "active_set"), check("active_set")]
    metadata = {"metarim": {"lesson": LESSON, "kind": "exercise"}}
    return {"cells": [cell(SETUP), *cells, *rest], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5} | more


def saved(content: dict, name: str = f"{LESSON}.ipynb") -> Callable[[Path, Path], None]:
    return lambda folder, outside: (folder / name).write_text(
        json.dumps(content).replace("@OUTSIDE@", str(outside)), encoding="utf-8"
    )


def trouble(group: str, name: str, says: str, *cells: dict | str, **expected) -> None:
    """One whose notebook has these cells; a text is an answer, with its check behind it."""
    made = [c for given in cells for c in ([answer(given), check()] if isinstance(given, str) else [given])]
    ALL.append(Trouble(group, name, saved(notebook(*made)), says, **expected))


def body(*lines: str, before: str = "", last: str = RIGHT.removeprefix(HEAD)) -> str:
    """An answer that does something else first, and is `last` then."""
    return before + HEAD + "".join(f"    {line}\n" for line in lines) + last


def raw(group: str, name: str, says: str, write: Callable[[Path, Path], None], **expected) -> None:
    ALL.append(Trouble(group, name, write, says, **expected))


# --- structure ------------------------------------------------------------------------------------------------------

STRUCTURE, ACCIDENT, RESOURCES, CHEATING = "structure", "accident", "resources", "cheating"
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

# --- resources ------------------------------------------------------------------------------------------------------

trouble(RESOURCES, "endless loop", "without an end", body("while True: pass"))
swallow = "while True:\n        try:\n            while True: pass\n        except BaseException: pass"
ignore = "import signal; [signal.signal(s, signal.SIG_IGN) for s in (2, 15, 24)]"
trouble(RESOURCES, "a loop that swallows interrupts", "without an end", body(ignore, swallow))
trouble(RESOURCES, "sleeps for ever", "no answer within", body("import time; time.sleep(10**6)"))
trouble(RESOURCES, "memory of Python", "emory|computing time", body("a = [bytearray(10**8) for _ in range(10**4)]"))
trouble(RESOURCES, "memory of torch", "memory", body("a = [torch.ones(10**8) for _ in range(10**3)]"))
trouble(RESOURCES, "a result without end", "far more", f"{HEAD}    return torch.zeros(1).expand(10**10), h\n")
trouble(RESOURCES, "fork bomb", "another process", body("import os", "while True: os.fork()"))
libc = "import ctypes; c = ctypes.CDLL(None)"
trouble(RESOURCES, "fork bomb around the fence", "raises RuntimeError",
        body(libc, "left = [c.fork() for _ in range(99)]", "raise RuntimeError(str(max(left)))"))  # fmt: skip
daemon = "import os\nif not os.fork():\n    os.setsid()\n    while os.fork() >= 0: __import__('time').sleep(100)\n"
trouble(RESOURCES, "daemon", "passed", daemon + RIGHT, points=3)  # its statement is not needed, so nobody runs it
trouble(RESOURCES, "daemon from within", "another process", body(*daemon.splitlines()))
trouble(RESOURCES, "another program", "another program", body("import subprocess; subprocess.Popen(['sleep', '1000'])"))
trouble(RESOURCES, "threads", "memory|thread", body("import threading, time",
        "for _ in range(10**4): threading.Thread(target=time.sleep, args=(9e3,)).start()"))  # fmt: skip
fill = "for i in range(10**6):\n        with open(f'f{i}', 'wb') as f: f.write(b'a' * 10**6)"
trouble(RESOURCES, "full disk", "writes more files|raises OSError", body(fill))
trouble(RESOURCES, "one large file", "raises OSError: .*File too large", body("open('f', 'wb').write(b'a' * 10**8)"))
trouble(
    RESOURCES,
    "endless output",
    "without an end|memory",
    body("import os", "while True: os.write(1, b'a' * 10**5); print('a' * 999)"),
)
trouble(RESOURCES, "deep recursion", "RecursionError", body("f = lambda n: f(n + 1)", "f(0)"))
trouble(RESOURCES, "a crash", "crashed Python itself", body("import ctypes; ctypes.string_at(0)"))
trouble(RESOURCES, "a crash by recursion", "crashed Python itself",
        body("import sys; sys.setrecursionlimit(10**9)", "g = lambda x: sorted([x], key=g)", "g(0)"))  # fmt: skip
trouble(RESOURCES, "kills its parent", "send signals", body("import os; os.kill(os.getppid(), 9)"))
trouble(RESOURCES, "kills around the fence", "raises RuntimeError",
        body(libc, "import os", "raise RuntimeError(str([c.kill(os.getppid(), 9), c.kill(-1, 9)]))"))  # fmt: skip

# --- cheating -------------------------------------------------------------------------------------------------------

USES = "your answer uses metarim_lite"
trouble(CHEATING, "imports the reference", USES,
        cell("from metarim_lite.course.exercises.lesson3 import input_attention as r"),
        f"{HEAD}    return r(h, x, W_q, W_e, W_v)\n")  # fmt: skip
trouble(CHEATING, "imports it within", USES,
        f"{HEAD}    from metarim_lite.course.exercises.lesson3 import input_attention as r\n"
        "    return r.reference(h, x, W_q, W_e, W_v)\n")  # fmt: skip
trouble(CHEATING, "is the reference", USES, "from metarim_lite.course.exercises.lesson3 import input_attention\n")
trouble(CHEATING, "imports it by name", "may not use metarim_lite.course.exercises",
        f"{HEAD}    import importlib\n    m = importlib.import_module('metarim_' + 'lite.course.exercises.lesson3')\n"
        "    return m.input_attention(h, x, W_q, W_e, W_v)\n")  # fmt: skip
trouble(CHEATING, "asks the package", "may not use metarim_lite.RIM", cell("import metarim_lite as ml"),
        body("ml.RIM(3, 4, 5, 6)"))  # fmt: skip
clean = "import sys, importlib; sys.meta_path[:] = [f for f in sys.meta_path if 'NotHere' not in repr(f)]"
clear = "[sys.modules.pop(m) for m in list(sys.modules) if m.startswith('metarim_lite')]"
trouble(CHEATING, "clears the way to it", "PermissionError|ModuleNotFoundError|course",
        body(clean, clear, f"sys.path.insert(0, {str(PACKAGE.parent)!r})",
             "from importlib import import_module; import_module('metarim_lite.course')"))  # fmt: skip
reference = PACKAGE / "course" / "exercises" / "lesson3.py"
trouble(CHEATING, "reads the reference", "may not read files of the course", body(f"open({str(reference)!r}).read()"))
libc_open = f"f = c.open({str(reference).encode()!r}, 0)"
trouble(
    CHEATING,
    "reads it around the fence",
    "raises RuntimeError: -1",
    body(libc, libc_open, "raise RuntimeError(str(f))"),
)
trouble(CHEATING, "reads another's notebook", "may not read files|PermissionError",
        body(f"open('@OUTSIDE@/../class/honest first/{LESSON}.ipynb').read()"))  # fmt: skip
trouble(
    CHEATING, "reads the grader's memory", "PermissionError", body("import os; open(f'/proc/{os.getppid()}/mem', 'rb')")
)
tiny = (
    "if h.shape == (1, 2, 2): return torch.tensor([[[.27, .73], [.73, .27]]]), torch.tensor([[[1.46, 0.], [.54, 0.]]])"
)
trouble(CHEATING, "hard-codes the visible case", SHARED, body(tiny, last=WRONG.removeprefix(HEAD)))
EQUAL = "class Yes:\n    def __eq__(self, other): return True\n    def __getattr__(self, name): return self\n"
EQUAL += "    def __call__(self, *a, **k): return self\n    def __len__(self): return 2\n"
EQUAL += "    def __bool__(self): return True\n"
trouble(CHEATING, "equals everything", "is a Yes; it should be", EQUAL + f"{HEAD}    return Yes(), Yes()\n")
MINE = "class Mine(torch.Tensor):\n    @classmethod\n    def __torch_function__(cls, f, types, args=(), kwargs=None):\n"
MINE += "        return True\n"
trouble(CHEATING, "a tensor of its own", "is a Mine; it should be",
        MINE + f"{HEAD}    z = torch.zeros(len(h), h.shape[1], 2)\n"
        "    return z.as_subclass(Mine), z.as_subclass(Mine)\n")  # fmt: skip
PATCH = """import builtins, sys
import numpy as np
torch.allclose = torch.equal = np.allclose = np.array_equal = np.testing.assert_allclose = lambda *a, **k: True
torch.testing.assert_close = lambda *a, **k: None
builtins.print = builtins.isinstance = lambda *a, **k: True
torch.Tensor.__eq__ = lambda a, b: True
torch.randn = torch.rand = lambda *a, **k: torch.zeros(3)
"""
trouble(CHEATING, "patches everything", "ended the program", body(*PATCH.splitlines(), last=WRONG.removeprefix(HEAD)))
shell = "from IPython.core import ultratb; ultratb.VerboseTB.structured_traceback = lambda *a, **k: []"
trouble(CHEATING, "patches IPython", f"{SHARED}|raises", body(shell, last=WRONG.removeprefix(HEAD)))
FRAMES = """import gc, sys
f = sys._getframe()
while f:
    for v in [*f.f_locals.values(), *f.f_globals.values()]:
        if callable(v) and getattr(v, '__name__', '') == 'input_attention' and v is not input_attention:
            return v(h, x, W_q, W_e, W_v)
    f = f.f_back
for v in gc.get_objects():
    if isinstance(v, tuple) and len(v) == 2 and all(type(t) is torch.Tensor for t in v) and v[0].shape[2:] == (2,):
        return v
"""
trouble(CHEATING, "looks through frames", "weights", body(*FRAMES.splitlines(), last=WRONG.removeprefix(HEAD)))
trouble(CHEATING, "sys.exit(0)", "raises SystemExit", body("import sys; sys.exit(0)"))
trouble(CHEATING, "exit in the cell", "SystemExit", f"import sys\ninput_attention = sys.exit(0)\n{STUB}")
trouble(CHEATING, "os._exit", "ended the program", body("import os; os._exit(0)"))
trouble(
    CHEATING,
    "atexit",
    SHARED,
    body("import atexit; atexit.register(print, 'input_attention 3/3')", last=WRONG.removeprefix(HEAD)),
)
forged = "open('grades.csv', 'w').write('student,total\\nme,99'); open('@OUTSIDE@/grades.csv', 'w').write('me,99')"
trouble(CHEATING, "forges a result", "may not write files", body(forged))
fake = "print('✓ input_attention: 3 of 3 points'); print('1 passed in 0.01s')"
trouble(CHEATING, "prints a report", SHARED, body(fake, last=WRONG.removeprefix(HEAD)))
trouble(
    CHEATING,
    "changes the check",
    SHARED,
    answer(WRONG),
    check(source="check = lambda *a: print('✓ 3 of 3')\ncheck(1, 2)"),
)
pickled = "class Evil:\n    def __reduce__(self): return (open, ('@OUTSIDE@/pickled', 'w'))\n"
trouble(CHEATING, "malicious pickle", "is a Evil", pickled + f"{HEAD}    return Evil(), Evil()\n")
trouble(CHEATING, "knows that it is graded", SHARED, body("import os, sys",
        "graded = 'nursery' in ' '.join(sys.orig_argv)",
        "if not graded: return input_attention.right(h, x, W_q, W_e, W_v)", last=WRONG.removeprefix(HEAD)))  # fmt: skip
trouble(CHEATING, "patches the worlds", "may not use metarim_lite.GridWorlds", cell("import metarim_lite as ml"),
        body("ml.GridWorlds.step = lambda *a: None"))  # fmt: skip
trouble(CHEATING, "network", "use a network", body("import urllib.request as u; u.urlopen('http://example.com')"))
trouble(
    CHEATING,
    "network around the fence",
    "raises RuntimeError: -1",
    body(libc, "raise RuntimeError(str(c.socket(2, 1, 0)))"),
)
FORGE = """import os, struct, json
head = json.dumps(["list", ["answered", ["tuple", [True, True]], ["dict", []], ""]]).encode()
for fd in range(3, 64):
    try: os.write(fd, struct.pack('<II', len(head), 0) + head)
    except OSError: pass
"""
trouble(CHEATING, "forges the answer", "should be a torch.Tensor|no answer", body(*FORGE.splitlines()))
noise = "for fd in range(3, 64):\n        try: os.write(fd, b'\\xff' * 10**6)\n        except OSError: pass"
trouble(CHEATING, "writes noise", "far more|no answer", body("import os", noise))
trouble(CHEATING, "claims to be judged", "no answer",
        body(*FORGE.replace('"answered", ["tuple", [True, True]], ["dict", []], ""',
        '"passed", 3').splitlines()))  # fmt: skip
DRIP = """import os, struct, time
for fd in range(3, 64):
    try: os.write(fd, struct.pack('<II', 1000, 0))
    except OSError: continue
    while True: os.write(fd, b' '); time.sleep(0.02)
"""
trouble(RESOURCES, "an answer in drops", "no answer within", body(*DRIP.splitlines()))
outside = "import os; open(os.path.expanduser('~/mine'), 'w').write('x'); open('@OUTSIDE@/x', 'w')"
trouble(CHEATING, "writes elsewhere", "may not write files", body(outside))
around = "[c.creat(p, 0o777) for p in (b'@OUTSIDE@/a', b'/tmp/metarim-hostile', b'/dev/shm/metarim-hostile')]"
trouble(
    CHEATING,
    "writes around the fence",
    "raises RuntimeError: \\[-1, -1, -1\\]",
    body(libc, f"raise RuntimeError(str({around}))"),
)
rights = "[c.chmod(b'@OUTSIDE@', 0), c.unlink(b'@OUTSIDE@/canary'), c.rename(b'@OUTSIDE@/canary', b'x')]"
trouble(
    CHEATING,
    "takes rights away",
    "raises RuntimeError: \\[-1, -1, -1\\]",
    body(libc, f"raise RuntimeError(str({rights}))"),
)
trouble(CHEATING, "script in a reason", "<script>", body("raise ValueError('<script>alert(1)</script>')"))
trouble(CHEATING, "raises the passing word", "passed", body("import sys",
        "raise sys.modules['metarim_lite.course.errors'].CheckFailed('passed')"))  # fmt: skip
