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
import joblib
import psutil
import pytest
import torch

import metarim_lite as ml
from metarim_lite.config import from_dict, to_dict
from metarim_lite.training import sweep_worker, sweeps
from metarim_lite.training.sweeps import SweepConfig, read_results, sweep

AGENT = ml.AgentConfig(num_modules=3, active=2, hidden_size=8, lstm_size=16, input_size=16, channels=4, head_size=8)
PPO = ml.PPOConfig(epochs=1, minibatches=4)
BASE = ml.TrainConfig(frames=16 * 20 * 16, num_envs=16, steps=20, train_levels=50, report_every=1, agent=AGENT, ppo=PPO)
CONFIG = SweepConfig(("lstm", "rim"), ("MiniGrid-Empty-5x5-v0",), seeds=(0, 1), episodes=40, base=BASE)
FIRST = CONFIG.runs()[0]


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


def without_times(results):
    return [{k: v for k, v in line.items() if k not in ("seconds", "frames_per_second")} for line in results]


def wait_for(condition, what):
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.005)


def frames_of(folder):
    try:
        return json.loads((folder / "state.json").read_text())["counters"]["frames"]
    except FileNotFoundError:
        return 0


def forbidden(*_):
    raise AssertionError("a run was started")


def test_a_method_of_ones_own_and_imitation_can_be_swept(tmp_path, monkeypatch):
    monkeypatch.setitem(ml.METHODS, "mine", ml.MethodConfig("lstm", ml.TimeScales(fast_lr=1e-3)))
    base = dataclasses.replace(BASE, imitate=True, frames=16 * 20 * 2)
    levels = ("BabyAI-GoToObjS4-v0",)
    done = sweep(SweepConfig(("mine",), levels, seeds=(0,), episodes=40, base=base), tmp_path, progress=False)
    assert not done.failures and done.results[0]["method"] == "mine" and done.results[0]["training_success"] is None
    assert "| mine |" in done.table()


def test_every_run_has_a_line_that_training_and_judging_it_by_hand_gives(undisturbed):
    names = [line["run"] for line in undisturbed.results]
    assert names == [run.name for run in CONFIG.runs()]
    assert sorted(names) == sorted(read_results(undisturbed.folder / "results.jsonl"))
    line = undisturbed.results[1]
    assert (line["method"], line["level"], line["seed"]) == ("rim", "MiniGrid-Empty-5x5-v0", 0)
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, joblib.cpu_count() // 2))
    try:
        run = ml.train(dataclasses.replace(BASE, method="rim", level=line["level"]), progress=False)
        held_out = ml.LevelBank.generate(line["level"], seeds=range(1_000_000, 1_000_040))
        by_hand = ml.evaluate(run.agent, held_out, 40)
    finally:
        torch.set_num_threads(threads)
    assert line["success"] == by_hand.success._asdict() and line["length"] == by_hand.length._asdict()
    assert line["frames"] == BASE.frames and line["episodes"] == 40
    assert line["frames_per_second"] == pytest.approx(line["frames"] / line["seconds"])
    assert line["command"].startswith("metarim train --method rim --level MiniGrid-Empty-5x5-v0 --frames 5120 --seed 0")


def test_the_table_has_a_row_for_each_method(undisturbed):
    table = undisturbed.table()
    assert "| lstm |" in table and "| rim |" in table and "P(better than lstm)" in table


def test_sweeping_a_finished_sweep_again_does_nothing(copied, undisturbed, monkeypatch):
    monkeypatch.setattr(sweeps, "in_own_process", forbidden)
    before = (copied / "results.jsonl").read_bytes()
    assert sweep(CONFIG, copied, progress=False).results == undisturbed.results
    assert (copied / "results.jsonl").read_bytes() == before


def test_more_seeds_add_their_runs_and_leave_the_others_alone(copied, monkeypatch):
    jobs = []

    def pretend(job, stop):
        jobs.append(job)
        return {"result": {"success": {"value": 0.5}, "frames_per_second": 1.0}}

    monkeypatch.setattr(sweeps, "in_own_process", pretend)
    before = (copied / "results.jsonl").read_bytes()
    more = sweep(dataclasses.replace(CONFIG, seeds=(0, 1, 7)), copied, progress=False)
    assert sorted(job["config"]["method"] for job in jobs) == ["lstm", "rim"]
    assert all(job["config"]["seed"] == 7 for job in jobs)
    assert (copied / "results.jsonl").read_bytes().startswith(before) and len(more.results) == 6


def test_a_run_whose_process_is_killed_goes_on_from_its_checkpoint(tmp_path, undisturbed):
    folder = tmp_path / FIRST.name
    killed = []

    def kill():
        wait_for(lambda: frames_of(folder) > 0, "the first checkpoint")
        (child,) = [p for p in psutil.Process().children() if "sweep_worker" in " ".join(p.cmdline())]
        child.send_signal(signal.SIGKILL)
        child.wait()
        killed.append(frames_of(folder))

    thread = threading.Thread(target=kill)
    thread.start()
    job = {"folder": str(folder), "config": to_dict(FIRST.config), "episodes": 40, "side_by_side": 2}
    job["method"] = to_dict(ml.METHODS[FIRST.config.method])
    answer = sweep_worker.in_own_process(job, lambda: False)
    thread.join()
    assert 0 < killed[0] < BASE.frames, "the run was over before it could be killed"
    expected = undisturbed.results[0]
    assert all(answer["result"][k] == expected[k] for k in ("success", "reward", "length", "frames"))


def command_line(folder, *more):
    flags = (
        "--methods lstm rim --levels MiniGrid-Empty-5x5-v0 --seeds 0 1 --episodes 40 "
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

    process = command_line(folder, "--workers", "2")
    wait_for(lambda: frames_of(run) > stopped_at, "the next checkpoint")
    children = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGKILL)
    process.wait()
    psutil.wait_procs(children, timeout=300)
    assert not any(child.is_running() for child in children), "runs outlive their sweep"

    with (folder / "results.jsonl").open("a") as f:
        f.write(json.dumps(undisturbed.results[0])[:50])
    done = sweep(CONFIG, folder, workers=2, progress=False)
    assert not done.failures
    assert without_times(done.results) == without_times(undisturbed.results)
    assert len((folder / "results.jsonl").read_text().splitlines()) == 4


def test_a_run_that_fails_is_reported_and_the_others_are_kept(copied):
    lines = (copied / "results.jsonl").read_text().splitlines(keepends=True)
    first = next(line for line in lines if json.loads(line)["run"] == FIRST.name)
    lines.remove(first)
    (copied / "results.jsonl").write_text("".join(lines))
    (copied / "runs" / FIRST.name / "state.json").write_text('{"count')
    process = command_line(copied)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert f"{FIRST.name}: " in err and "is damaged" in err and "Traceback" not in err
    assert "| rim |" in out
    assert (copied / "results.jsonl").read_text() == "".join(lines)


@pytest.mark.parametrize(
    "code, how", [("raise SystemExit(7)", "status 7"), ("import os; os.kill(os.getpid(), 9)", "signal 9")]
)
def test_a_run_whose_process_always_dies_is_given_up_with_a_sentence(code, how, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_worker, "START", code)
    job = {"folder": str(tmp_path), "config": {}, "episodes": 1, "side_by_side": 1}
    error = sweep_worker.in_own_process(job, lambda: False)["error"]
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
        process = command_line(folder, "--scheduler", cluster.scheduler_address)
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


def test_half_a_line_at_the_end_is_cut_off(tmp_path):
    path = tmp_path / "results.jsonl"
    for torn in ("", '{"run": "b"', '{"run": "b"}'):
        path.write_text('{"run": "a"}\n' + torn)
        assert list(read_results(path)) == ["a"]
        assert path.read_text() == '{"run": "a"}\n'


@pytest.mark.parametrize(
    "content, sentence",
    [('{"run": "a"}\n{"ru\n{"run": "b"}\n', "line 2 .* is damaged"), ('{"run": "a"}\n{"run": "a"}\n', "'a' twice")],
)
def test_damaged_results_are_refused_with_the_line_named(content, sentence, tmp_path):
    (tmp_path / "results.jsonl").write_text(content)
    with pytest.raises(ml.UserError, match=sentence):
        read_results(tmp_path / "results.jsonl")


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"methods": ("rin",)}, "did you mean 'rim'"),
        ({"methods": ()}, "at least one"),
        ({"methods": "rim"}, "must be a list"),
        ({"seeds": (0, -1)}, "seeds holds -1"),
        ({"seeds": (0, 0)}, "twice"),
        ({"episodes": 0}, "episodes is 0"),
        ({"baseline": "lstn"}, "did you mean 'lstm'"),
        ({"base": {"method": "rim"}}, "name it in methods"),
        ({"vary": ("agent.hiden_size=8",)}, "did you mean 'hidden_size'"),
        ({"vary": ("agnet.active=2",)}, "did you mean 'agent'"),
        ({"vary": ("frames.x=2",)}, "frames is {'x': 2}"),
        ({"vary": ("agent.active",)}, "NAME=VALUE"),
        ({"vary": ("seed=1,2",)}, "name several in seeds"),
        ({"vary": ("agent.active=two",)}, "active is 'two'; it must be a whole number"),
        ({"vary": ("agent.active=9",)}, "k = 9 active modules of N = 6"),
        ({"vary": ("agent.active=2,2",)}, "twice"),
    ],
)
def test_a_sweep_that_cannot_be_run_is_refused_before_anything_runs(settings, sentence):
    with pytest.raises(ml.UserError, match=sentence):
        from_dict(SweepConfig, settings)


def test_unknown_levels_and_workers_beside_a_scheduler_are_refused(tmp_path):
    with pytest.raises(ml.UserError, match="BabyAI-GoToLocal-v0"):
        sweep(SweepConfig(levels=("BabyAI-GoToLocl-v0",)), tmp_path / "none", progress=False)
    with pytest.raises(ml.UserError, match="workers is 2"):
        sweep(CONFIG, tmp_path / "none", workers=2, scheduler="tcp://127.0.0.1:1", progress=False)
    assert not (tmp_path / "none").exists()


def test_variations_are_combined_and_named():
    vary = ("agent.active=2,4", "timescales.slow_every=1,8", "agent.kernel=plain")
    runs = SweepConfig(methods=("meta-rim",), seeds=(3,), vary=vary).runs()
    assert [(r.config.agent.active, r.config.scales.slow_every) for r in runs] == [(2, 1), (2, 8), (4, 1), (4, 8)]
    assert all(r.config.scales.slow == ("attention",) and r.config.agent.kernel == "plain" for r in runs)
    assert runs[0].name == ("meta-rim-BabyAI-GoToLocal-v0-agent.active=2-timescales.slow_every=1-agent.kernel=plain-s3")
    assert runs[1].varied == {"agent.active": 2, "timescales.slow_every": 8, "agent.kernel": "plain"}


def test_all_methods_get_their_first_seed_before_any_gets_its_second():
    assert [run.config.seed for run in CONFIG.runs()] == [0, 0, 1, 1]


def test_the_folder_of_another_sweep_is_refused(copied):
    with pytest.raises(ml.UserError, match="base.frames is 5120"):
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
