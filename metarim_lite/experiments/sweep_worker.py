"""One run of a sweep, in a process of its own: when it is killed, no other run is lost, and its memory goes with it.

The parent hands over the job as one line of JSON on the process's stdin and keeps that pipe open. When the pipe
closes, because the parent wants to stop or because it died, the run saves at its next tick and ends; so it does on
SIGTERM, which clusters send to every process. The process
answers with one line of JSON on stdout; everything else that is printed goes to `log.txt` in the run's folder.
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
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..analysis.curves import SHARES, area, frames_to
from ..config import from_dict
from ..errors import Diverged, UserError
from ..files import make_folder
from ..machine import fixed_threads
from ..runs.checkpoints import STATE
from ..runs.metrics import recorded_metrics
from ..training.banks import held_out_bank
from ..training.evaluation import Evaluation, evaluate
from ..training.methods import METHODS, MethodConfig
from ..training.trainer import Run, TrainConfig, Trainer, train
from .shipped import command_of

ATTEMPTS = 3  # a run whose process dies this often is given up
PATIENCE = 120.0  # seconds to wait for an orphan that is still saving the same run
POLL = 0.1  # seconds between two looks at a process
STOPPED = {"stopped": True}
START = "from metarim_lite.experiments.sweep_worker import main; main()"


def in_own_process(job: dict[str, Any], stop: Callable[[], bool]) -> dict[str, Any]:
    """Finish a run in a new process; start it again if it is killed.

    Arguments:
        job: `folder`, `config` and `method` (of the run, as dicts), `episodes` (held-out levels of each id).
        stop: says whether the run should save and stop.

    Returns:
        {"result": a line of results.jsonl}, {"error": a sentence} or {"stopped": True}.
    """
    log = make_folder(job["folder"]) / "log.txt"
    env = os.environ | {"OMP_NUM_THREADS": str(job["config"]["threads"])}
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


def on_dask(job: dict[str, Any]) -> dict[str, Any]:
    """`in_own_process` as a task of Dask: when the task is cancelled, or its client gone, the run saves and stops."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()

    def cancelled() -> bool:
        task = worker.state.tasks.get(key)
        return task is None or task.state == "cancelled"

    return in_own_process(job, cancelled)


def finish_run(config: TrainConfig, folder: Path, episodes: int) -> dict[str, Any] | None:
    """Train, from the last checkpoint on if there is one, and play the held-out levels. None: stopped before the end.

    A run that diverges is a result, too, with its sentence as `diverged`.

    Raises:
        UserError: what `train` refuses; or another process is at work in the folder and does not end.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        raise UserError(f"another process is still training in {str(folder)!r}; end it and sweep again") from None
    with lock, fixed_threads(config.threads):  # when it is judged, too
        try:
            run = train(config, folder=folder, progress=False)
        except Diverged as error:
            lines = recorded_metrics(folder) if (folder / STATE).exists() else []
            return {"diverged": str(error)} | _result(config, lines, None)
        if not run.finished:
            return None
        return _result(config, run.metrics, _judge(run, episodes)) | ({"lost": run.lost} if run.lost else {})


def _judge(run: Run, episodes: int) -> Evaluation:
    held_out = held_out_bank(run.config.levels, episodes, run.config.train_levels)
    return evaluate(run.agent, held_out, len(held_out))


def _before(config: TrainConfig) -> float:
    """Success of the agent as it begins, on the levels that are played while training."""
    levels = held_out_bank(config.levels, config.evaluate_episodes, config.train_levels)
    begins = Trainer(replace(config, imitate=False, cuda_graphs=False), levels)  # nobody trains: the agent is the same
    return evaluate(begins.agent, levels, len(levels)).success.value


def _result(config: TrainConfig, lines: list[dict[str, Any]], judged: Evaluation | None) -> dict[str, Any]:
    """What results.jsonl keeps of a run, from its lines of metrics and the last evaluation; None: it diverged.

    frames             played at the end, or when the last checkpoint was written before the run diverged
    planned            frames asked for
    success            value, low, high; of a run that diverged 0
    reward, length     the same (not of a run that diverged)
    episodes           held-out levels played at the end
    seen               share of them that are identical to a training level
    curve              `frames` and held-out `success` there: at the beginning, while training, at the end
    area               mean height of that curve between 0 and `frames`; up to `planned`, for a run that diverged
    frames_to          "0.5", "0.9", "0.98" -> frames after which the curve was first that high; null: never
    updates            of each group of parameters, as far as the metrics count them
    frames_by_clock    that each clock learned from, likewise
    training_success   of the episodes between the last two reports
    lost               only where a power cut took lines of the metrics: how many; the curve lacks what they held
    threads            of torch on the CPU
    seconds            of training, evaluations apart
    """
    last = lines[-1] if lines else {"frames": 0, "seconds": 0.0}
    points = {0: _before(config)}
    points |= {line["frames"]: line["held_out_success"] for line in lines if "held_out_success" in line}
    if judged is not None:
        points[last["frames"]] = judged.success.value
    frames, success = list(points), list(points.values())
    result: dict[str, Any] = {"frames": last["frames"], "planned": config.frames}
    if judged is None:
        result |= {"success": {"value": 0.0, "low": 0.0, "high": 0.0}, "episodes": 0}
    else:
        result |= {name: getattr(judged, name)._asdict() for name in ("success", "reward", "length")}
        result |= {"episodes": judged.episodes, "seen": judged.seen}
    return result | {
        "curve": {"frames": frames, "success": success},
        "area": area(frames, success, config.frames if judged is None else None),
        "frames_to": {str(share): frames_to(frames, success, share) for share in SHARES},
        "updates": _by_name(last, "updates/"),
        "frames_by_clock": _by_name(last, "frames/"),
        "training_success": last.get("success"),
        "threads": config.threads,
        "seconds": last["seconds"],
        "frames_per_second": last["frames"] / last["seconds"] if last["seconds"] else None,
        "command": command_of(config),
    }


def _by_name(line: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in line.items() if key.startswith(prefix)}


def main() -> None:
    """The process: job from stdin, answer to stdout."""
    job = json.loads(sys.stdin.buffer.readline())
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=_stop_when_stdin_closes, daemon=True).start()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            # It may have been added to the parent's METHODS alone.
            METHODS[job["config"]["method"]] = from_dict(MethodConfig, job["method"])
            result = finish_run(from_dict(TrainConfig, job["config"]), Path(job["folder"]), job["episodes"])
        answer = STOPPED if result is None else {"result": result}
    except KeyboardInterrupt:
        answer = STOPPED
    except UserError as error:
        answer = {"error": str(error)}
    except Exception as error:
        traceback.print_exc()
        answer = {"error": f"{type(error).__name__}: {error} (see log.txt in {job['folder']})"}
    with contextlib.suppress(BrokenPipeError):  # nobody is left to hear it
        print(json.dumps(answer), flush=True)


def _stop_when_stdin_closes() -> None:
    while os.read(0, 4096):
        pass
    _thread.interrupt_main()  # as Ctrl-C: training saves at its next tick
