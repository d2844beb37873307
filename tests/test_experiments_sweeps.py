"""Sweeps: every run is finished once and counted once, whatever is killed on the way."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import filelock
import psutil
import pytest
import torch
from tiny_sweeps import BASE, CONFIG, FIRST, forbidden, without_times

import metarim_lite as ml
from metarim_lite.config import to_dict
from metarim_lite.experiments import judging, many, worker
from metarim_lite.experiments.many import NamedRun, read_results
from metarim_lite.experiments.sweeps import sweep


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A sweep that nobody disturbed, two runs side by side."""
    folder = tmp_path_factory.mktemp("sweep") / "whole"
    done = sweep(CONFIG, folder, workers=2, progress=False)
    assert not done.failures
    return done


@pytest.fixture
def copied(undisturbed, tmp_path):
    return shutil.copytree(undisturbed.folder, tmp_path / "sweep")


def wait_for(condition, what):
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.005)


def job_of(run, folder):
    settings = {"config": to_dict(run.config), "episodes": 40}
    return NamedRun(run.name, folder, judging.train_and_judge, settings, {}).job


def frames_of(folder):
    try:
        return json.loads((folder / "state.json").read_text())["counters"]["frames"]
    except FileNotFoundError:
        return 0


def test_every_run_has_a_line_that_training_and_judging_it_by_hand_gives(undisturbed):
    names = [line["run"] for line in undisturbed.results]
    assert names == [run.name for run in CONFIG.runs()]
    assert sorted(names) == sorted(read_results(undisturbed.folder / "results.jsonl"))
    line = undisturbed.results[1]
    assert (line["method"], line["level"], line["seed"]) == ("rim", "MiniGrid-Empty-5x5-v0", 0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        config = dataclasses.replace(BASE, method="rim", level=line["level"], evaluate_every=1280, evaluate_episodes=20)
        run = ml.train(config, progress=False)
        before = ml.training.Trainer(config).agent
        held_out = ml.LevelBank.generate(line["level"], seeds=range(1_000_000, 1_000_040))
        by_hand = ml.evaluate(run.agent, held_out, 40)
        first = ml.evaluate(before, held_out, 20).success.value
    finally:
        torch.set_num_threads(threads)
    assert line["success"] == by_hand.success._asdict() and line["length"] == by_hand.length._asdict()
    assert line["frames"] == BASE.frames and line["episodes"] == 40 and line["threads"] == 1
    while_training = [x["held_out_success"] for x in run.metrics if "held_out_success" in x]
    assert line["curve"]["frames"] == [0, 1280, 2560, 3840, 5120]
    assert line["curve"]["success"] == [first, *while_training[:-1], by_hand.success.value]
    assert line["frames_per_second"] == pytest.approx(line["frames"] / line["seconds"])
    assert line["command"].startswith("metarim train --method rim --level MiniGrid-Empty-5x5-v0 --frames 5120 --seed 0")


def test_the_table_has_a_row_for_each_method(undisturbed):
    table = undisturbed.table()
    assert "| lstm |" in table and "| rim |" in table and "P(better than lstm)" in table


def test_sweeping_a_finished_sweep_again_does_nothing(copied, undisturbed, monkeypatch):
    monkeypatch.setattr(many, "in_own_process", forbidden)
    before = (copied / "results.jsonl").read_bytes()
    assert sweep(CONFIG, copied, progress=False).results == undisturbed.results
    assert (copied / "results.jsonl").read_bytes() == before


def test_more_seeds_add_their_runs_and_leave_the_others_alone(copied, monkeypatch):
    jobs = []

    def pretend(job, stop):
        jobs.append(job)
        return {"line": {"success": {"value": 0.5}, "frames": BASE.frames, "frames_per_second": 1.0}}

    monkeypatch.setattr(many, "in_own_process", pretend)
    before = (copied / "results.jsonl").read_bytes()
    more = sweep(dataclasses.replace(CONFIG, seeds=(0, 1, 7)), copied, progress=False)
    assert sorted(job["settings"]["config"]["method"] for job in jobs) == ["lstm", "rim"]
    assert all(job["settings"]["config"]["seed"] == 7 for job in jobs)
    assert (copied / "results.jsonl").read_bytes().startswith(before) and len(more.results) == 6


def test_a_longer_sweep_goes_on_with_every_run_and_replaces_its_line(copied, undisturbed):
    longer = dataclasses.replace(CONFIG, base=dataclasses.replace(BASE, frames=2 * BASE.frames))
    done = sweep(longer, copied, workers=2, progress=False)
    assert not done.failures and len((copied / "results.jsonl").read_text().splitlines()) == 4
    for before, line in zip(undisturbed.results, done.results, strict=True):
        assert line["run"] == before["run"] and line["frames"] == line["planned"] == 2 * BASE.frames
        assert line["curve"]["frames"] == [1280 * n for n in range(9)]
        assert line["curve"]["success"][:4] == before["curve"]["success"][:4]  # it went on, it did not begin again
    run = ml.train(
        dataclasses.replace(done.config.runs()[0].config, frames=2 * BASE.frames),
        folder=copied / "runs" / FIRST.name, progress=False,
    )  # fmt: skip
    held_out = ml.LevelBank.generate("MiniGrid-Empty-5x5-v0", seeds=range(1_000_000, 1_000_040))
    assert run.finished and ml.evaluate(run.agent, held_out, 40).success.value == done.results[0]["success"]["value"]


def test_a_longer_sweep_killed_on_the_way_counts_no_run_twice_and_no_short_run_as_a_long_one(copied, monkeypatch):
    longer = dataclasses.replace(CONFIG, base=dataclasses.replace(BASE, frames=2 * BASE.frames))
    jobs = []

    def pretend(job, stop):
        jobs.append(job["folder"])
        if len(jobs) > 1:
            return {"error": "out of memory"}
        return {"line": {"success": {"value": 0.5}, "frames": 2 * BASE.frames, "frames_per_second": 1.0}}

    monkeypatch.setattr(many, "in_own_process", pretend)
    done = sweep(longer, copied, workers=1, progress=False)
    lines = [json.loads(text) for text in (copied / "results.jsonl").read_text().splitlines()]
    assert sorted(line["run"] for line in lines) == sorted(run.name for run in CONFIG.runs())
    assert sorted(line["frames"] for line in lines) == [BASE.frames] * 3 + [2 * BASE.frames]
    assert [line["run"] for line in done.results] == [FIRST.name], "short runs stand beside long ones"
    assert len(done.failures) == 3 and "0, 2 missing" in done.table() and "1, 1 missing" in done.table()
    jobs.clear()
    sweep(longer, copied, workers=1, progress=False)
    assert len(jobs) == 3 and not any(job.endswith(FIRST.name) for job in jobs)


def test_a_run_whose_process_is_killed_goes_on_from_its_checkpoint(tmp_path, undisturbed):
    folder = tmp_path / FIRST.name
    killed = []

    def kill():
        wait_for(lambda: frames_of(folder) > 0, "the first checkpoint")
        (child,) = [p for p in psutil.Process().children() if "experiments.worker" in " ".join(p.cmdline())]
        child.send_signal(signal.SIGKILL)
        child.wait()
        killed.append(frames_of(folder))

    thread = threading.Thread(target=kill)
    thread.start()
    job = job_of(FIRST, folder)
    answer = worker.in_own_process(job, lambda: False)
    thread.join()
    assert 0 < killed[0] < BASE.frames, "the run was over before it could be killed"
    expected = undisturbed.results[0]
    assert all(answer["line"][k] == expected[k] for k in ("success", "reward", "length", "frames"))


@pytest.mark.parametrize(("asked", "threads"), [(0, 1), (3, 3)])
@pytest.mark.parametrize("workers", [None, 1, 2, 4])
def test_a_run_has_the_same_threads_whatever_runs_beside_it(asked, threads, workers, tmp_path, monkeypatch):
    """Its process is told in the environment, where torch reads it, and in the config, which is kept with the run."""
    told = []

    class Pretended(subprocess.Popen):
        def __init__(self, words, *, env, **settings):
            code = "import json, os, sys; job = json.loads(sys.stdin.readline()); print(json.dumps({'line': "
            code += "{'job': job, 'env': os.environ['OMP_NUM_THREADS'], 'success': {'value': 0.5}, 'frames': 5120}}))"
            super().__init__([sys.executable, "-c", code], env=env, **settings)

    monkeypatch.setattr(worker.subprocess, "Popen", Pretended)
    config = dataclasses.replace(CONFIG, base=dataclasses.replace(BASE, threads=asked))
    monkeypatch.setattr(many, "append_line", lambda path, line: told.append(json.loads(line)))
    sweep(config, tmp_path, workers=workers, progress=False)
    said = [(line["job"]["threads"], line["job"]["settings"]["config"]["threads"], line["env"]) for line in told]
    assert said == [(threads, threads, str(threads))] * 4


def test_a_worker_that_gets_sigterm_saves_and_says_that_it_stopped(tmp_path):
    job = job_of(FIRST, tmp_path)
    words = [sys.executable, "-c", worker.START]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(json.dumps(job).encode() + b"\n")
        process.stdin.flush()
        wait_for(lambda: frames_of(tmp_path) > 0, "the first checkpoint")
        before = frames_of(tmp_path)
        process.send_signal(signal.SIGTERM)
        assert json.loads(process.stdout.readline()) == {"stopped": True}
        assert before <= frames_of(tmp_path) < BASE.frames
        assert b"SIGTERM" in process.stderr.read() and process.wait() == 0


HALF = dataclasses.replace(CONFIG, methods=("lstm",))


def command_line(folder, *more, methods="lstm"):
    flags = (
        f"--methods {methods} --levels MiniGrid-Empty-5x5-v0 --seeds 0 1 --episodes 40 "
        "--evaluate-every 1280 --evaluate-episodes 20 "
        "--base.frames 5120 --base.num-envs 16 --base.steps 20 --base.train-levels 50 --base.report-every 1 "
        "--base.agent.num-modules 3 --base.agent.active 2 --base.agent.hidden-size 8 --base.agent.lstm-size 16 "
        "--base.agent.input-size 16 --base.agent.channels 4 --base.agent.head-size 8 "
        "--base.ppo.epochs 1 --base.ppo.minibatches 4"
    )
    words = [sys.executable, "-m", "metarim_lite.cli", "sweep", *flags.split(), "--folder", str(folder), *more]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_sweep_that_is_interrupted_killed_and_torn_ends_as_if_nothing_had_happened(tmp_path, undisturbed):
    folder = tmp_path / "sweep"
    run = folder / "runs" / FIRST.name

    process = command_line(folder, "--workers", "2")
    wait_for(lambda: frames_of(run) > 0, "the first checkpoint")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=300) == 130
    assert 0 < frames_of(run) < BASE.frames, "the run was over before it could be interrupted"
    stopped_at = frames_of(run)

    process = command_line(folder, "--workers", "1")  # the other run waits for its turn
    wait_for(lambda: frames_of(run) > stopped_at, "the next checkpoint")
    children = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=300) == 143 and not any(child.is_running() for child in children)
    assert stopped_at < frames_of(run) < BASE.frames, "the run was over before it could be ended"
    stopped_at = frames_of(run)

    process = command_line(folder, "--workers", "2")
    wait_for(lambda: frames_of(run) > stopped_at, "the next checkpoint")
    children = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGKILL)
    process.wait()
    psutil.wait_procs(children, timeout=300)
    assert not any(child.is_running() for child in children), "runs outlive their sweep"

    with (folder / "results.jsonl").open("a") as f:
        f.write(json.dumps(undisturbed.results[0])[:50])
    done = sweep(HALF, folder, workers=2, progress=False)
    assert not done.failures
    expected = [line for line in undisturbed.results if line["method"] == "lstm"]
    assert without_times(done.results) == without_times(expected)
    assert len((folder / "results.jsonl").read_text().splitlines()) == 2


def test_a_run_that_fails_is_reported_and_the_others_are_kept(copied):
    lines = (copied / "results.jsonl").read_text().splitlines(keepends=True)
    first = next(line for line in lines if json.loads(line)["run"] == FIRST.name)
    lines.remove(first)
    (copied / "results.jsonl").write_text("".join(lines))
    (copied / "runs" / FIRST.name / "state.json").write_text('{"count')
    process = command_line(copied, methods="lstm rim")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert f"{FIRST.name}: " in err and "is damaged" in err and "Traceback" not in err
    assert "| rim |" in out
    assert (copied / "results.jsonl").read_text() == "".join(lines)


@pytest.mark.parametrize(
    "code, how", [("raise SystemExit(7)", "status 7"), ("import os; os.kill(os.getpid(), 9)", "signal 9")]
)
def test_a_run_whose_process_always_dies_is_given_up_with_a_sentence(code, how, tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "START", code)
    job = {"folder": str(tmp_path), "threads": 1}
    error = worker.in_own_process(job, lambda: False)["error"]
    assert "died 3 times" in error and how in error and "log.txt" in error


def test_dask_completes_a_sweep_though_it_is_interrupted_and_a_worker_is_killed(tmp_path, undisturbed):
    """Two workers, real processes over TCP. First Ctrl-C for the sweep; then it goes on, and the worker that trains
    the first run dies in the middle of it."""
    distributed = pytest.importorskip("distributed", reason="dask[distributed] is not installed")
    folder = tmp_path / "sweep"
    run = folder / "runs" / FIRST.name
    killed = []

    def kill(client):
        wait_for(lambda: frames_of(run) > stopped_at, "the next checkpoint")
        (address,) = [worker for worker, keys in client.processing().items() if str(run) in keys]
        os.kill(client.run(os.getpid, workers=[address])[address], signal.SIGKILL)
        killed.append(frames_of(run))

    settings = {"protocol": "tcp://", "processes": True, "n_workers": 2, "threads_per_worker": 1}
    with distributed.LocalCluster(**settings, dashboard_address=None, silence_logs=50) as cluster:
        process = command_line(folder, "--scheduler", cluster.scheduler_address, methods="lstm rim")
        wait_for(lambda: frames_of(run) > 0, "the first checkpoint")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=300) == 130
        with filelock.FileLock(run / ".lock").acquire(timeout=300):  # the run has let go of its folder
            stopped_at = frames_of(run)
        assert 0 < stopped_at < BASE.frames, "the run went on without its sweep"
        with distributed.Client(cluster) as client:
            assert len(client.nthreads()) == 2
            thread = threading.Thread(target=kill, args=(client,))
            thread.start()
            done = sweep(CONFIG, folder, scheduler=cluster.scheduler_address, progress=False)
            thread.join()
    assert stopped_at < killed[0] < BASE.frames, "the run was over before its worker could be killed"
    assert not done.failures
    assert without_times(done.results) == without_times(undisturbed.results)
    assert len((folder / "results.jsonl").read_text().splitlines()) == 4


def test_the_folder_of_another_sweep_is_refused(copied):
    with pytest.raises(ml.UserError, match="base.frames=5120; it can be made longer, not shorter"):
        sweep(dataclasses.replace(CONFIG, base=dataclasses.replace(BASE, frames=640)), copied, progress=False)
    with pytest.raises(ml.UserError, match="its episodes is 40"):
        sweep(dataclasses.replace(CONFIG, episodes=41), copied, progress=False)


def test_two_sweeps_do_not_share_a_folder(copied):
    hold = "import sys, filelock; lock = filelock.FileLock(sys.argv[1]).acquire(); print(flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", hold, str(copied / ".lock")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(ml.UserError, match="another process is sweeping"):
            sweep(CONFIG, copied, progress=False)
        other.stdin.close()
    sweep(CONFIG, copied, progress=False)
