"""The parent's side of the boundary: a child is asked, waited for as long as we want to, and ended.

>>> with Nursery() as nursery, nursery.child(Limits()) as child:
...     child.ask({"name": "f", "pieces": […], "outputs": […]})
...     child.ask(["case", …])

Whatever goes wrong in a child is an `Ended`, whose text is a sentence for the student. What goes wrong here, through no
fault of an answer, is a `NoSandbox`.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..course.errors import NoVerdict
from ..errors import UserError
from .wire import Garbled, TooLarge, pack, receive

PACKAGE = Path(__file__).resolve().parents[1]
START_SECONDS = 120  # to import torch on a busy machine
NO_ANSWER = "what came back was no answer; does your code write into files that it has not opened?"
MOST_FILES, MOST_FOLDER_BYTES = 200, 16 << 20


class NoSandbox(NoVerdict):
    """No child could be had: nothing is known about the answer."""


class Ended(Exception):
    """The child is no more, or not to be listened to any longer; the text says why, to the student."""


@dataclass(frozen=True)
class Limits:
    """What an answer may use.

    Args:
        seconds: of computing time: a busy machine takes nothing away from anybody.
        patience: seconds on the clock, for those that compute nothing and do not answer either; None: three times
            `seconds` and ten more.
        memory: bytes, beside what torch needs.
        file_bytes: of one file in its own folder.
    """

    seconds: int = 20
    patience: float | None = None
    memory: int = 1 << 30
    file_bytes: int = 1 << 20

    @property
    def clock(self) -> float:
        return 3 * self.seconds + 10 if self.patience is None else self.patience

    def for_child(self) -> dict[str, int]:
        return {"seconds": self.seconds, "memory": self.memory, "file_bytes": self.file_bytes}


def check_system() -> None:
    """
    Raises:
        UserError: processes cannot be walled in here.
    """
    if not hasattr(os, "fork"):
        raise UserError("metarim grade needs Linux or macOS, whose processes can be walled in; use WSL or a container")


class Nursery:
    """A process that has torch loaded and makes children; see nursery.py.

    Args:
        without: walls that are left out, to see what remains on a system that lacks them.
    """

    def __init__(self, without: str = "") -> None:
        check_system()
        ours, theirs = socket.socketpair()
        self._home = tempfile.TemporaryDirectory(prefix="metarim-grade-")
        env = {"PATH": os.defpath, "HOME": self._home.name, "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1"}
        env |= {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        command = [sys.executable, "-I", "-B", str(Path(__file__).with_name("nursery.py")), str(theirs.fileno())]
        command += [str(PACKAGE), without]
        if sys.platform != "win32":
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env,
                cwd=self._home.name, start_new_session=True, pass_fds=[theirs.fileno()],
            )  # fmt: skip
        theirs.close()
        self._control, self._heard = ours, b""
        self._control.settimeout(START_SECONDS)
        self.walls: list[str] = self._reply()["walls"]
        self.strays = self.left = 0

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """End it, and all children with it."""
        self._control.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stderr.close()
        self._home.cleanup()

    @property
    def pid(self) -> int:
        return self._process.pid

    @contextlib.contextmanager
    def child(self, limits: Limits, hidden: Iterable[Path] = ()) -> Iterator[Child]:
        """A new process in an empty folder; both are gone at the end of the block.

        Args:
            hidden: files and folders that it may not read, beside the package itself.

        Raises:
            NoSandbox: there is none to be had.
        """
        folder = Path(tempfile.mkdtemp(prefix="answer-", dir=self._home.name))
        ours, theirs = socket.socketpair()
        request: dict[str, Any] = {"do": "begin", "folder": str(folder), "limits": limits.for_child()}
        request["hidden"] = [str(PACKAGE), *map(str, hidden)]
        child = None
        try:
            with theirs:
                pid = self._ask(request, theirs)["pid"]
            child = Child(self, pid, ours, folder, limits)
            if (built := child.receive()) != ["walls", self.walls]:
                raise NoSandbox(f"the walls around an answer could not be built ({built}); nothing was graded")
            yield child
        finally:
            if child is not None:
                child.end()
            ours.close()
            shutil.rmtree(folder, ignore_errors=True)

    def end(self, pid: int) -> dict[str, Any]:
        ending = self._ask({"do": "end", "pid": pid})
        self.strays += ending["strays"]
        self.left += ending["left"]
        return ending

    def _ask(self, request: dict[str, Any], handle: socket.socket | None = None) -> dict[str, Any]:
        words = json.dumps(request).encode()
        try:
            if handle is None:
                self._control.sendall(words)
            else:
                socket.send_fds(self._control, [words], [handle.fileno()])
        except OSError:
            raise NoSandbox("the process that makes children has ended; grade again") from None
        return self._reply()

    def _reply(self) -> dict[str, Any]:
        while b"\n" not in self._heard:
            try:
                more = self._control.recv(1 << 16)
            except OSError:
                more = b""
            if not more:
                self._process.kill()
                said = self._process.stderr.read().decode("utf-8", "replace").strip().splitlines()
                raise NoSandbox(f"the process that makes children has ended ({(said or ['no reason given'])[-1]})")
            self._heard += more
        line, _, self._heard = self._heard.partition(b"\n")
        return json.loads(line)


class Child:
    """One process with one answer in it."""

    def __init__(self, nursery: Nursery, pid: int, line: socket.socket, folder: Path, limits: Limits) -> None:
        self.pid, self._nursery, self._line, self._folder, self._limits = pid, nursery, line, folder, limits
        self._until = time.monotonic() + limits.clock
        self._looked = 0.0
        self._ending: dict[str, Any] | None = None
        line.setblocking(False)

    def ask(self, message: Any) -> Any:
        """Send, and hear the answer.

        Raises:
            Ended: there will be none.
        """
        waiting = memoryview(pack(message))
        while waiting:
            self._wait(writing=True)
            try:
                waiting = waiting[self._line.send(waiting) :]
            except BlockingIOError:
                continue
            except OSError:
                raise Ended(self._why()) from None
        return self.receive()

    def receive(self) -> Any:
        """Raises Ended."""
        try:
            return receive(self._exactly)
        except Garbled:
            raise Ended(NO_ANSWER) from None
        except TooLarge:
            raise Ended("your function returns far more than it was asked for.") from None

    def end(self) -> dict[str, Any]:
        """Kill it, if it is still there; how it ended."""
        if self._ending is None:
            self._ending = self._nursery.end(self.pid)
        return self._ending

    def _exactly(self, count: int) -> bytes:
        parts = []
        while count:
            self._wait()
            try:
                part = self._line.recv(min(count, 1 << 20))
            except BlockingIOError:
                continue
            except OSError:
                part = b""
            if not part:
                raise Ended(self._why())
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _wait(self, writing: bool = False) -> None:
        """Until the line can be used.

        Raises:
            Ended: time is up, or the folder is full.
        """
        lines = [self._line]
        ready = False
        while not ready:
            ready = any(select.select([] if writing else lines, lines if writing else [], [], 0.1))
            now = time.monotonic()
            if now > self._until:  # whatever it sends: a byte now and then is no answer either
                self.end()
                raise Ended(
                    f"your code gave no answer within {self._limits.clock:g} seconds; look for a loop without an end, "
                    "or for something that it waits for."
                )
            if ready and now < self._looked + 0.1:
                return
            self._looked = now
            with os.scandir(self._folder) as entries:
                sizes = [entry.stat(follow_symlinks=False).st_size for entry in entries]
            if len(sizes) > MOST_FILES or sum(sizes) > MOST_FOLDER_BYTES:
                self.end()
                raise Ended("your code writes more files than anybody needs; an answer returns its result.")

    def _why(self) -> str:
        """The sentence for a child that has hung up."""
        time.sleep(0.02)  # it hangs up a moment before it has ended
        ending = self.end()
        status = ending["status"]
        if status in ("SIGXCPU", "SIGKILL") and ending["seconds"] > self._limits.seconds - 0.5:
            return (
                f"your code needs more than {self._limits.seconds} seconds of computing time; look for a loop without "
                "an end."
            )
        if status == "SIGKILL":
            return "your code was stopped by the system; does it need very much memory?"
        if isinstance(status, str):
            return (
                f"your code crashed Python itself ({status}); look for a recursion without an end, or too much memory."
            )
        if isinstance(status, int):
            return "your code ended the program before it had answered; take out exit(), quit() or os._exit()."
        return "your code closed the line that its answer should have come over."
