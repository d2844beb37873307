"""One of many runs, in a process of its own: when it is killed, no other run is lost, and its memory goes with it.

The parent hands over the job as one line of JSON on the process's stdin and keeps that pipe open. When the pipe
closes, because the parent wants to stop or because it died, the run saves at its next tick and ends; so it does on
SIGTERM, which clusters send to every process. The process answers with one line of JSON on stdout; everything else
that is printed goes to `log.txt` in the run's folder. A job says

    finish     "MODULE:FUNCTION", what is to be called as FUNCTION(folder, progress, **settings); it returns the run's
               line, and raises KeyboardInterrupt where it was stopped before the end
    settings   its other arguments
    folder     of the run
    threads    of torch on the CPU
    methods    what the names in METHODS stand for in the parent, where some may have been added

and an answer is {"line": what came of it}, {"error": a sentence} or {"stopped": True}.
"""

from __future__ import annotations

import _thread
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Any

from ..config import from_dict
from ..errors import UserError
from ..files import make_folder
from ..machine import fixed_threads
from ..training.methods import METHODS, MethodConfig

ATTEMPTS = 3  # a run whose process dies this often is given up
PATIENCE = 120.0  # seconds to wait for an orphan that is still saving the same run
POLL = 0.1  # seconds between two looks at a process
STOPPED = {"stopped": True}
START = "from metarim_lite.experiments.worker import main; main()"
Job = dict[str, Any]
Answer = dict[str, Any]


def in_own_process(job: Job, stop: Callable[[], bool]) -> Answer:
    """Finish a run in a new process; start it again if it is killed.

    Args:
        job: see above.
        stop: says whether the run should save and stop.
    """
    log = make_folder(job["folder"]) / "log.txt"
    env = os.environ | {"OMP_NUM_THREADS": str(job["threads"])}
    process = None
    for _ in range(ATTEMPTS):
        if stop():
            return STOPPED
        with log.open("ab") as errors:
            process = subprocess.Popen(
                [sys.executable, "-c", START], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=env,
                start_new_session=True,  # Ctrl-C in the terminal is for the parent, which then asks each run once
            )  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        # Two ways to die early: before it has read its job (BrokenPipeError), before it has answered (ValueError).
        with contextlib.suppress(BrokenPipeError, ValueError), process:
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()
            while process.poll() is None and not stop():
                time.sleep(POLL)
            process.stdin.close()
            answer = json.loads(process.stdout.read())  # one short line: the pipe holds it until we come
            if answer != STOPPED or stop():
                return answer
    assert process is not None
    end = process.returncode
    how = f"killed by signal {-end}" if end < 0 else f"ended with status {end}"
    return {"error": f"its process died {ATTEMPTS} times without an answer (last {how}; out of memory?), see {log}"}


def on_dask(job: Job) -> Answer:
    """`in_own_process` as a task of Dask: when the task is cancelled, or its client gone, the run saves and stops."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()

    def cancelled() -> bool:
        task = worker.state.tasks.get(key)
        return task is None or task.state == "cancelled"

    return in_own_process(job, cancelled)


def in_this_process(job: Job, progress: bool = False) -> Answer:
    """Finish a run here.

    Raises:
        KeyboardInterrupt: it was stopped before the end.
    """
    from filelock import FileLock, Timeout

    module, _, function = job["finish"].partition(":")
    finish, folder = getattr(import_module(module), function), make_folder(job["folder"])
    try:
        with FileLock(folder / ".lock").acquire(timeout=PATIENCE), fixed_threads(job["threads"]):
            return {"line": finish(folder, progress, **job["settings"])}
    except Timeout:
        return {"error": f"another process is still at work in {str(folder)!r}; end it and start again"}
    except UserError as error:
        return {"error": str(error)}


def main() -> None:
    """The process: job from stdin, answer to stdout."""
    job = json.loads(sys.stdin.buffer.readline())
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=_stop_when_stdin_closes, daemon=True).start()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            METHODS.update({name: from_dict(MethodConfig, method) for name, method in job["methods"].items()})
            answer = in_this_process(job)
    except KeyboardInterrupt:
        answer = STOPPED
    except Exception as error:
        traceback.print_exc()
        answer = {"error": f"{type(error).__name__}: {error} (see log.txt in {job['folder']})"}
    with contextlib.suppress(BrokenPipeError):  # nobody is left to hear it
        print(json.dumps(answer), flush=True)


def _stop_when_stdin_closes() -> None:
    while os.read(0, 4096):
        pass
    _thread.interrupt_main()  # as Ctrl-C: training saves at its next tick
