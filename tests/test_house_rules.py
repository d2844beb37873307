"""The house's own rules: who may import whom, what an import costs, names that outside users rely on."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest
from plant_mistakes import read_table

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "metarim_lite"
ROOMS = ("envs", "models", "training", "runs", "bots", "tasks", "experiments", "analysis", "lens", "course", "grading")
LEAVES = {"errors", "config", "files", "flat", "cache", "processes", "machine", "recording", "compiling"}
MAY_IMPORT = {
    "envs": set(),
    "models": set(),
    "tasks": set(),
    "analysis": set(),
    "runs": {"models"},
    "bots": {"envs"},
    "training": {"envs", "models", "runs", "bots", "analysis", "data"},
    "experiments": {"envs", "models", "runs", "training", "tasks", "analysis", "data"},
    "lens": {"envs", "models", "analysis"},
    "course": {
        "envs",
        "models",
        "training",
        "runs",
        "bots",
        "tasks",
        "experiments",
        "analysis",
        "lens",
        "data",
        "doctor",
    },
    "grading": {"course", "experiments"},
}
DRIVES = {
    "lens/use.py": {"experiments"},  # a map of modules at play, whose recording the study shares
    "lens/watching.py": {"training", "runs", "experiments"},  # `watch` shows a training while it drives it
    "lens/choosing.py": {"training", "runs"},  # agents by name, levels that are held out
}


def imported_rooms(source: str, depth: int) -> set[str]:
    """Names directly under metarim_lite that this source imports; `depth` is how deep its file lies."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            path = (node.module or "").split(".")
            if node.level == depth + 1:
                found |= {path[0]} if path[0] else {a.name for a in node.names}
            elif node.level == 0 and path[0] == "metarim_lite":
                found |= {path[1]} if len(path) > 1 else {"(package)"}
        elif isinstance(node, ast.Import):
            for alias in node.names:
                path = alias.name.split(".")
                if path[0] == "metarim_lite":
                    found.add(path[1] if len(path) > 1 else "(package)")
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_what_they_may(room):
    allowed = MAY_IMPORT[room] | LEAVES | {room}
    if room == "course":
        allowed |= {"(package)"}  # exercises and lessons use the public names
    for path in (PACKAGE / room).rglob("*.py"):
        depth = len(path.relative_to(PACKAGE).parts) - 1
        drives = DRIVES.get(path.relative_to(PACKAGE).as_posix(), set())
        extra = imported_rooms(path.read_text(), depth) - allowed - drives
        assert not extra, f"{path.relative_to(PACKAGE)} imports {sorted(extra)}"


def test_leaves_import_nothing_but_leaves():
    for leaf in LEAVES:
        assert imported_rooms((PACKAGE / f"{leaf}.py").read_text(), depth=0) <= LEAVES


def test_the_import_rule_sees_every_form_of_import():
    source = (
        "from ..training import x\nfrom .. import lens\nimport metarim_lite.course.checks\nfrom metarim_lite import y"
    )
    assert imported_rooms(source, depth=1) == {"training", "lens", "course", "(package)"}


def imported_files(path: Path, package: Path) -> set[Path]:
    """Files of the package that a file imports, on top or in a function.

    Left out is what only a type checker reads (`if TYPE_CHECKING`), and what a room's front door (`__init__.py`)
    imports when it is called: it only shows the way.
    """
    nodes = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if not isinstance(node, ast.If)]
    found = set()
    for node in nodes if path.name == "__init__.py" else [inner for top in nodes for inner in ast.walk(top)]:
        if not isinstance(node, ast.ImportFrom):
            continue
        module = (node.module or "").split(".")
        if node.level:
            base = path.parents[node.level - 1].joinpath(*module)
        elif module[0] == package.name:
            base = package.joinpath(*module[1:])
        else:
            continue
        for name in node.names:
            places = (
                base / f"{name.name}.py",
                base / name.name / "__init__.py",
                Path(f"{base}.py"),
                base / "__init__.py",
            )
            found |= {next(place for place in places if place.is_file())}
    return found - {path}


def import_circle(package: Path) -> list[str]:
    """Files that import each other in a circle; none where there is no circle."""
    graph = {path: imported_files(path, package) for path in package.rglob("*.py")}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return [str(path.relative_to(package)) for path in reversed(error.args[1])]
    return []


def test_no_files_import_each_other_in_a_circle():
    assert import_circle(PACKAGE) == []


@pytest.mark.parametrize(
    "back",
    ["from .a import x", "def f():\n    from . import a", "from house.room.a import x", "from ..room.a import x"],
)
def test_the_rule_about_circles_sees_every_form_of_import(tmp_path, back):
    files = {"a.py": "from .b import y", "b.py": "from . import c", "c.py": back, "__init__.py": "from .a import x"}
    room = tmp_path / "house" / "room"
    room.mkdir(parents=True)
    for name, text in files.items():
        (room / name).write_text(text, encoding="utf-8")
    assert sorted(set(import_circle(tmp_path / "house"))) == ["room/a.py", "room/b.py", "room/c.py"]
    (room / "c.py").write_text("if TYPE_CHECKING:\n    from .a import x", encoding="utf-8")
    assert import_circle(tmp_path / "house") == []


def test_steps_of_worlds_do_not_know_who_makes_levels():
    """Everything that one step needs, found by following imports, leaves out the generator, its levels and minigrid."""
    needed, ahead = set(), [PACKAGE / "envs" / "simulation.py"]
    while ahead:
        path = ahead.pop()
        needed.add(path)
        ahead += imported_files(path, PACKAGE) - needed
    names = {path.stem for path in needed if path.parent.name == "envs"}
    assert {"missions", "vision", "state", "cells"} <= names
    assert not names & {"generation", "levels", "storage", "engine"}


def test_importing_the_package_is_light():
    code = (
        "import sys, time, torch; t = time.perf_counter(); import metarim_lite; took = time.perf_counter() - t\n"
        "heavy = {'matplotlib', 'ipywidgets', 'IPython', 'jupyter_core', 'minigrid', 'pygame'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "print(took)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there():
    import metarim_lite as ml

    missing = [name for name in ml.__all__ if not hasattr(ml, name)]
    assert not missing


def test_no_file_outgrows_a_reading():
    files = [*PACKAGE.rglob("*.py"), *TESTS.rglob("*.py")]
    assert not {str(p): n for p in files if (n := len(p.read_text(encoding="utf-8").splitlines())) > 400}


def test_no_pickle_in_the_package():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert not any(a.name == "pickle" for a in node.names), path
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "torch":
                assert node.attr not in ("save", "load"), f"{path} uses torch.{node.attr}, which pickles"


WRITES_BY_ITSELF = {
    "course/student.py": "into a temporary folder",
    "experiments/worker.py": "hands an open log to a process",
}


def own_writes(source: str) -> list[int]:
    """Lines that write or rename files without `files.py`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        modes = [a.value for a in [*node.args, *(k.value for k in node.keywords)] if isinstance(a, ast.Constant)]
        opens = name in ("open", "fdopen") and any(isinstance(m, str) and set(m) & set("wax+") for m in modes[-1:])
        if name in ("write_text", "write_bytes", "mkstemp", "NamedTemporaryFile", "rename") or opens:
            found.append(node.lineno)
    return found


def test_files_are_written_by_files_py_alone():
    """Else one of them is, one day, found half."""
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        if name != "files.py" and name not in WRITES_BY_ITSELF:
            assert not own_writes(path.read_text(encoding="utf-8")), name
    assert own_writes("p.open('wb')\nopen(p, mode='a')\np.write_text(t)\nopen(p)\nos.fdopen(h, 'w')") == [1, 2, 3, 5]


def opened_in_the_locales_encoding(source: str) -> list[int]:
    """Lines that read or write text without saying in which encoding."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        by_attribute = isinstance(node.func, ast.Attribute)
        name = node.func.attr if by_attribute else getattr(node.func, "id", "")
        if name == "open" and by_attribute and getattr(node.func.value, "id", "") in ("os", "archive"):
            continue  # a descriptor, or a member of a zip: bytes
        given = {keyword.arg for keyword in node.keywords}
        modes = [*node.args[:2], *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
        texts = [mode.value for mode in modes if isinstance(mode, ast.Constant) and isinstance(mode.value, str)]
        binary = any("b" in text and set(text) <= set("rwaxb+") for text in texts)
        position = {"read_text": 0, "write_text": 1}.get(name)
        if by_attribute and position is not None and "encoding" not in given and len(node.args) <= position:
            found.append(node.lineno)
        if name in ("open", "fdopen") and not binary and "encoding" not in given:
            found.append(node.lineno)
    return found


def test_no_file_is_opened_in_the_locales_encoding():
    for path in PACKAGE.rglob("*.py"):
        lines = opened_in_the_locales_encoding(path.read_text(encoding="utf-8"))
        assert not lines, f"{path.relative_to(PACKAGE)} lines {lines}: say encoding='utf-8', or read bytes"


def test_the_encoding_rule_sees_every_form_of_opening():
    bad = ("open(p)", "open(p, 'w')", "p.open()", "p.open('a')", "p.open(mode='r')", "p.read_text()",
           "p.write_text(x)", "io.open(p, 'w')", "os.fdopen(h)")  # fmt: skip
    good = ("open(p, 'rb')", "p.open('wb')", "p.open(mode='ab')", "p.read_text(encoding='utf-8')",
            "p.read_text('utf-8')", "p.write_text(x, encoding='utf-8')", "open(p, 'w', encoding='utf-8')",
            "os.open(p, os.O_RDONLY)", "os.fdopen(h, 'wb')", "read_text(p)")  # fmt: skip
    assert all(opened_in_the_locales_encoding(text) == [1] for text in bad)
    assert not any(opened_in_the_locales_encoding(text) for text in good)


UNIX_MODULES = {"resource", "fcntl", "pwd", "grp", "termios", "tty", "pty", "posix", "syslog", "crypt", "readline"}
UNIX_NAMES = {
    "os": "fork forkpty setsid getsid getuid geteuid getgid getegid getgroups setuid setgid getpgid setpgid getpgrp "
    "killpg sched_getaffinity sched_setaffinity uname getloadavg nice chown chroot mkfifo mknod openpty wait wait3 "
    "wait4 register_at_fork sysconf statvfs O_NONBLOCK O_DIRECTORY O_NOFOLLOW WNOHANG",
    "signal": "SIGKILL SIGHUP SIGUSR1 SIGUSR2 SIGALRM SIGQUIT SIGSTOP SIGCONT SIGTSTP SIGCHLD SIGPIPE alarm setitimer "
    "pause sigwait pthread_kill pthread_sigmask set_wakeup_fd",
    "socket": "AF_UNIX",
    "time": "tzset clock_gettime",
}
GUARDS = ("sys.platform", "os.name", "hasattr(", "except ImportError", "except AttributeError", "getattr(")


def unix_only(source: str) -> list[str]:
    """What Windows lacks and this source uses, but for functions that ask first, or do without."""
    tree, found = ast.parse(source), []
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.Try, ast.If, ast.IfExp))
        and any(guard in ast.unparse(node) for guard in GUARDS)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        used = []
        if isinstance(node, ast.Import):
            used = [a.name for a in node.names if a.name in UNIX_MODULES]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = UNIX_NAMES.get(node.module, "").split()
            used = [a.name for a in node.names if node.module in UNIX_MODULES or a.name in names]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used = [node.attr] if node.attr in UNIX_NAMES.get(node.value.id, "").split() else []
        elif isinstance(node, ast.Call):
            used = [k.arg for k in node.keywords if k.arg in ("preexec_fn", "pass_fds")]
            used += [a.value for a in node.args if isinstance(a, ast.Constant) and a.value in ("fork", "forkserver")]
            used += ["CDLL(None)"] if ast.unparse(node).endswith("CDLL(None)") else []
        found += [] if id(node) in guarded else used
    return found


ASKED_BEFORE = {"grading/nursery.py"}  # run by sandbox.py, which asks


def test_nothing_is_used_that_windows_lacks_unless_somebody_asks_first():
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).as_posix() in ASKED_BEFORE:
            continue
        assert not unix_only(path.read_text(encoding="utf-8")), path.relative_to(PACKAGE)
    assert unix_only("import resource") == ["resource"] and unix_only("from os import fork") == ["fork"]
    assert unix_only("os.kill(p, signal.SIGKILL)\nPopen(x, preexec_fn=os.setsid)") == [
        "preexec_fn",
        "SIGKILL",
        "setsid",
    ]
    assert unix_only("get_context('fork')\nctypes.CDLL(None).mallopt") == ["fork", "CDLL(None)"]
    assert unix_only("try:\n    import resource\nexcept ImportError:\n    resource = None") == []
    assert unix_only("def f():\n    return os.getuid() if hasattr(os, 'getuid') else 0") == []


def test_every_planted_mistake_can_still_be_planted():
    """Else a line was rewritten, and nobody knows any more whether the tests would notice (see plant_mistakes.py)."""
    for mistake in read_table():
        planted = mistake.planted_in((PACKAGE / mistake.file).read_text(encoding="utf-8"))
        ast.parse(planted)
