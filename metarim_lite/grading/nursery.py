"""The child's side: `python -I nursery.py SOCKET PACKAGE WITHOUT`; it is run, and imported by nobody.

It imports torch, which takes seconds, and then makes a process for every answer, which takes milliseconds: the first
thing in each is to build its walls. Of this package it knows the files of `SHELF`, read one by one; the package itself,
and with it every reference and every solution, is not there to be imported. Its parent speaks to it in lines of JSON:

    {"do": "begin", "folder": …, "limits": {…}, "hidden": […]} and a socket     ->  {"pid": …}
    {"do": "end", "pid": …}                                          ->  how the process ended, and who was left
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import linecache
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

NAME = "metarim_lite"
ROOMS = ("", ".course", ".envs", ".grading")
SHELF = (".errors", ".course.errors", ".course.probing", ".envs.cells", ".grading.wire", ".grading.walls")
NOT_HERE = "an answer may not use {} of the package when it is graded, for the solution may be in it; write it yourself"


class NotHere:
    """Finds nothing of the package, and says so."""

    @staticmethod
    def find_spec(name: str, *_: Any) -> None:
        if name.split(".")[0] == NAME:
            raise ImportError(NOT_HERE.format(name))


def fill_shelf(package: Path) -> None:
    """Put what answers may see into `sys.modules`: rooms without doors, and in them a few files."""
    for room in ROOMS:
        module = ModuleType(NAME + room)
        module.__path__ = []
        module.__getattr__ = partial(_missing, NAME + room)
        sys.modules[NAME + room] = module
    for name in SHELF:
        path = package.joinpath(*name.split(".")).with_suffix(".py")
        spec = importlib.util.spec_from_file_location(NAME + name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[NAME + name] = module
        spec.loader.exec_module(module)
        room, _, last = (NAME + name).rpartition(".")
        setattr(sys.modules[room], last, module)
    sys.meta_path.insert(0, NotHere)
    course = sys.modules[NAME + ".course"]
    course.once_written = course.probing.once_written
    course.check = lambda *_: None
    course.solved_or_reference = lambda _, answer: answer
    sys.modules[NAME].check = course.check


def _missing(room: str, name: str) -> Any:
    raise AttributeError(NOT_HERE.format(f"{room}.{name}") if not name.startswith("__") else name)


# --- a process for one answer ---------------------------------------------------------------------------------------


def grow_up(line: socket.socket, request: dict[str, Any], without: str) -> None:
    """The whole life of a child; it never returns."""
    wire = sys.modules[NAME + ".grading.wire"]
    try:
        try:
            standing = wall_in(line, without, **request)
        except Exception as error:
            standing = [f"{type(error).__name__}: {error}"]
        line.sendall(wire.pack(["walls", standing]))
        serve(partial(wire.receive, partial(exactly, line)), partial(say, line, wire))
    except (EOFError, OSError):
        pass  # the parent has hung up
    finally:
        os._exit(0)


def wall_in(line: socket.socket, without: str, folder: str, limits: dict[str, int], hidden: list[str]) -> list[str]:
    """Build all walls that this system has, but for `without`; what was built."""
    walls, own, secret = sys.modules[NAME + ".grading.walls"], Path(folder).resolve(), list(map(Path, hidden))
    os.setsid()
    walls.close_all_but(line.fileno())
    os.chdir(own)
    os.environ.update({name: str(own) for name in ("HOME", "TMPDIR")})
    if sys.platform == "linux":
        walls.libc().prctl(walls.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    walls.limit(**limits)
    if hasattr(os, "getuid") and os.getuid() == 0:
        walls.give_up_root()
    standing = ["limits"]
    standing += [walls.FILES] if walls.FILES not in without and walls.wall_off_files(own, secret) else []
    standing += [walls.CALLS] if walls.CALLS not in without and walls.refuse_calls() else []
    walls.build_fence(own, secret)
    return standing


def exactly(line: socket.socket, count: int) -> bytes:
    parts = []
    while count:
        part = line.recv(min(count, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def say(line: socket.socket, wire: ModuleType, message: list[Any]) -> None:
    try:
        packed = wire.pack(message)
    except (wire.TooLarge, RecursionError):
        packed = wire.pack(["failed", "your function returns far more than it was asked for."])
    line.sendall(packed)


def serve(hear: Callable[[], Any], tell: Callable[[list[Any]], None]) -> None:
    """Load the answer, then let it work on whatever comes."""
    job = hear()
    probing, errors = sys.modules[NAME + ".course.probing"], sys.modules[NAME + ".course.errors"]
    outputs = tuple(probing.Output(*output) for output in job["outputs"])
    broken: list[str] = []
    stores: dict[int, dict[str, Any]] = {}

    def guarded(work: Callable[[], list[Any]]) -> list[Any]:
        try:
            return work()
        except errors.NotAttempted:
            return ["stub"]
        except errors.CheckFailed as failure:
            before = f" (before that, {broken[0]})" if broken and "NameError" in str(failure) else ""
            return ["failed", str(failure) + before]
        except MemoryError:
            return ["failed", "your function needs more memory than there is."]
        except BaseException as error:
            return ["failed", f"your function raises {type(error).__name__}: {str(error)[:200]}"]

    def loaded() -> list[Any]:
        nonlocal function
        function = load(job["name"], job["pieces"], broken)
        return ["ready"]

    def probed(letters: dict[str, int], inputs: dict[str, Any], extreme: bool, directions: Any) -> list[Any]:
        case = probing.Case(letters, inputs, extreme, directions)
        return ["answered", *probing.probe(function, case, outputs)]

    def acted(inputs: dict[str, Any], kept: dict[str, int]) -> list[Any]:
        given = {n: stores.setdefault(kept[n], {}) if n in kept else value for n, value in inputs.items()}
        return ["returned", probing.run(function, given)]

    function: Any = None
    tell(guarded(loaded))
    while True:
        kind, *what = hear()
        tell(guarded(lambda k=kind, w=what: (probed if k == "case" else acted)(*w)))


def load(name: str, pieces: list[list[Any]], broken: list[str]) -> Any:
    """The function `name` that these statements make, each run by itself: one that fails harms those alone that need
    it.

    Args:
        pieces: [what tracebacks call its cell, line in the cell, source, whether it makes `name`].
        broken: gets a sentence for each that failed.
    """
    failed = sys.modules[NAME + ".course.errors"].CheckFailed
    space: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    reason = ""
    for cell, line, source, ours in pieces:
        text = "\n" * (line - 1) + source
        known, added = linecache.getlines(cell), text.splitlines(keepends=True)
        lines = [*known, *["\n"] * len(added)][: line - 1] + added[line - 1 :] + known[len(added) :]
        linecache.cache[cell] = (len(text), None, lines, cell)
        try:
            exec(compile(text, cell, "exec"), space)
        except BaseException as error:
            words = (str(error).strip().splitlines() or [""])[0][:200]
            first = source.strip().splitlines()[0][:60]
            broken.append(f"`{first}` in your {cell.strip('<>')} fails: {type(error).__name__}: {words}")
            reason = broken[-1] if ours else reason
    if name not in space:
        raise failed(reason or (broken[0] if broken else f"nothing in your notebook makes `{name}`."))
    if not callable(space[name]):
        raise failed(f"`{name}` is a {type(space[name]).__name__}; it should be a function.")
    return space[name]


# --- the nursery ----------------------------------------------------------------------------------------------------


def end(pid: int) -> dict[str, Any]:
    """Kill a child and whoever it has left behind.

    Returns:
        status: its exit status, the name of the signal that ended it, or None: it was still there.
        seconds: of computing time.
        strays: processes that it had started and that lived on.
        left: those of them that could not be killed.
    """
    early, status, usage = os.wait4(pid, os.WNOHANG)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    if not early:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
    strays, until = set(), time.monotonic() + 5
    with contextlib.suppress(ChildProcessError):  # raised when nobody is left
        while time.monotonic() < until:
            gone, _ = os.waitpid(-1, os.WNOHANG)
            for other in descendants() if not gone else ():
                strays.add(other)
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(other, signal.SIGKILL)
            time.sleep(0 if gone else 0.01)
    code = os.waitstatus_to_exitcode(status)
    return {
        "status": None if not early else signal.Signals(-code).name if code < 0 else code,
        "seconds": usage.ru_utime + usage.ru_stime,
        "strays": len(strays),
        "left": len(descendants()),
    }


def descendants() -> set[int]:
    """Processes that come from this one, orphans included: they fall back to it."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parents[int(folder.name)] = int(
                (folder / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[1]
            )
    found, ahead = set(), {os.getpid()}
    while ahead:
        ahead = {pid for pid, parent in parents.items() if parent in ahead}
        found |= ahead
    return found


def main() -> None:
    number, package, without = sys.argv[1:]
    control = socket.socket(fileno=int(number))
    fill_shelf(Path(package))
    import torch

    walls = sys.modules[NAME + ".grading.walls"]
    torch.set_num_threads(1)
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # imports what optimizers need
    if sys.platform == "linux":
        walls.libc().prctl(walls.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans of answers come to us
        walls.libc().prctl(walls.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which hangs up
    control.sendall(json.dumps({"walls": [w for w in walls.standing() if w not in without]}).encode() + b"\n")
    at_work: set[int] = set()
    while True:
        text, handles, *_ = socket.recv_fds(control, 1 << 16, 1)
        if not text:
            break
        request = json.loads(text)
        if request.pop("do") == "begin":
            line = socket.socket(fileno=handles[0])
            pid = os.fork()
            if pid == 0:
                control.close()
                grow_up(line, request, without)
            line.close()
            at_work.add(pid)
            answer = {"pid": pid}
        else:
            at_work.discard(request["pid"])
            answer = end(request["pid"])
        control.sendall(json.dumps(answer).encode() + b"\n")
    for pid in at_work:
        end(pid)
    os._exit(0)  # torch takes its time to leave


if __name__ == "__main__":
    main()
