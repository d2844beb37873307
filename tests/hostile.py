"""Submissions that exhaust or cheat a grader: every way that we know of."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from handed_in import HEAD, LESSON, RIGHT, STUB, WRONG, answer, cell, check
from troubles import SHARED, Trouble, add, body

import metarim_lite

PACKAGE = Path(metarim_lite.__file__).parent
RESOURCES, CHEATING = "resources", "cheating"
HOSTILE: list[Trouble] = []
trouble = partial(add, HOSTILE)


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
