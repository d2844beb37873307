"""Runs that are killed, stopped or left without a disk: resumed, they end as if nothing had happened."""

import dataclasses
import json
import multiprocessing
import os
import random
import signal
import time

import pytest
import torch
from tiny_runs import CONFIG, SHORT, same_agent, stop_at_once, without_times

import metarim_lite as ml
from metarim_lite import cli
from metarim_lite.config import from_dict, to_dict
from metarim_lite.runs.checkpoints import read_checkpoint, write_checkpoint
from metarim_lite.runs.metrics import recorded_divergence, recorded_metrics
from metarim_lite.training import Clock, train
from metarim_lite.training.trainer import Trainer

# Processes that a run is killed in are forked from a server that has imported torch once.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["metarim_lite"])


def run_there(config, folder):
    torch.set_num_threads(1)
    train(from_dict(ml.TrainConfig, json.loads(config)), folder=folder, progress=False)


def start(config, folder):
    """A process that trains in this folder."""
    process = FORKS.Process(target=run_there, args=(json.dumps(to_dict(config)), str(folder)))
    process.start()
    return process


def test_killed_again_and_again_and_resumed_equals_never_killed(tmp_path, small_bank):
    """Real SIGKILLs at random moments; every other one as soon as a checkpoint is seen being written."""
    dice, folder = random.Random(0), tmp_path / "killed"
    config = dataclasses.replace(CONFIG, frames=16 * 5 * 50, steps=5, report_every=1)
    for kill in range(6):
        process, before = start(config, folder), reports(folder)
        wanted = before + dice.randint(1, 3)  # a run that is killed before its first report only begins again
        while process.is_alive() and reports(folder) < wanted:
            time.sleep(0.002)
        if kill % 2:
            while process.is_alive() and not [*folder.glob("*.part"), *folder.glob("*.next")]:
                pass
        else:
            time.sleep(dice.random() * 0.05)
        assert process.is_alive(), f"the run was over at kill {kill}, after {reports(folder)} reports"
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    for name in ("killed", "undisturbed"):
        process = start(config, tmp_path / name)
        process.join()
        assert process.exitcode == 0
    assert same_agent(tmp_path / "undisturbed", folder)
    assert without_times(tmp_path / "undisturbed") == without_times(folder)


def reports(folder):
    path = folder / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_stopped_at_every_report_and_resumed_equals_never_stopped(tmp_path, whole_run):
    """As above without processes: stop after each checkpoint, restore into a new trainer, go on."""

    class Stop(Exception):
        pass

    def stop(_):
        raise Stop

    stops = 0
    while True:
        try:
            parts = train(SHORT, folder=tmp_path / "parts", progress=False, on_report=stop)
            break
        except Stop:
            stops += 1
    assert stops >= 5
    assert same_agent(whole_run.folder, tmp_path / "parts")
    assert without_times(whole_run.folder) == without_times(tmp_path / "parts")
    assert len(parts.metrics) == len(whole_run.metrics)


def test_ctrl_c_saves_and_resumes(tmp_path, whole_run):
    def interrupt(_):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)

    stopped = train(SHORT, folder=tmp_path / "run", progress=False, on_report=interrupt)
    assert not stopped.finished and (tmp_path / "run" / "state.json").exists()
    resumed = train(SHORT, folder=tmp_path / "run", progress=False)
    assert resumed.finished
    assert same_agent(tmp_path / "run", whole_run.folder)


def test_a_kill_between_the_two_files_of_a_checkpoint_loses_nothing(tmp_path, monkeypatch):
    from pathlib import Path

    write_checkpoint(tmp_path, {"x": torch.zeros(3)}, {"n": 1})
    original, calls = Path.replace, []

    class Killed(Exception):
        pass

    def dies_at(step):
        def replace(self, target):
            calls.append(self)
            if len(calls) == step:
                raise Killed
            return original(self, target)

        return replace

    for step, survivor in [(1, 1), (2, 1), (3, 2)]:
        calls.clear()
        monkeypatch.setattr(Path, "replace", dies_at(step))
        with pytest.raises(Killed):
            write_checkpoint(tmp_path, {"x": torch.full((3,), 9.0)}, {"n": 2})
        monkeypatch.setattr(Path, "replace", original)
        tensors, state = read_checkpoint(tmp_path)
        assert state["n"] == survivor and float(tensors["x"][0]) == (0.0 if survivor == 1 else 9.0)
        write_checkpoint(tmp_path, {"x": torch.zeros(3)}, {"n": 1})


def test_a_kill_before_the_next_checkpoint_does_not_count_work_that_was_lost(stopped_run, whole_run, monkeypatch):
    """Two lines are missing, the run goes on, and dies when its next line is written, but not its checkpoint."""
    from metarim_lite.runs import folder as runs_folder

    (stopped_run / "metrics.jsonl").unlink()
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(runs_folder, "write_checkpoint", lambda *_: 1 / 0)
        train(SHORT, folder=stopped_run, progress=False)
    assert len((stopped_run / "metrics.jsonl").read_text().splitlines()) == 2
    resumed = train(SHORT, folder=stopped_run, progress=False)
    assert without_times(stopped_run) == without_times(whole_run.folder)[2:] and resumed.lost == 2


def test_a_run_goes_on_with_the_threads_it_began_with_and_leaves_ours_alone(tmp_path, monkeypatch, caplog):
    used, tick = [], Trainer.tick

    def counted(self):
        used.append(torch.get_num_threads())
        return tick(self)

    monkeypatch.setattr(Trainer, "tick", counted)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        train(SHORT, folder=tmp_path / "fits", progress=False, on_report=stop_at_once)
        three = dataclasses.replace(SHORT, threads=3)
        train(three, folder=tmp_path / "three", progress=False, on_report=stop_at_once)
        assert set(used[:2]) == {1} and set(used[2:]) == {3} and torch.get_num_threads() == 1
        for name, threads in (("fits", 1), ("three", 3)):
            assert json.loads((tmp_path / name / "state.json").read_text())["threads"] == threads
        torch.set_num_threads(2)
        for name, config, threads in (("fits", SHORT, 1), ("three", three, 3)):
            used.clear()
            train(config, folder=tmp_path / name, progress=False)
            assert used and set(used) == {threads} and torch.get_num_threads() == 2
        with pytest.raises(ml.UserError, match="its threads is 3, this one's 2"):
            train(dataclasses.replace(SHORT, threads=2), folder=tmp_path / "three", progress=False)
        with pytest.raises(ZeroDivisionError):
            train(three, progress=False, on_report=lambda _: 1 / 0)
        assert torch.get_num_threads() == 2 and not caplog.records
        state = json.loads((tmp_path / "fits" / "state.json").read_text())
        (tmp_path / "fits" / "state.json").write_text(json.dumps({k: v for k, v in state.items() if k != "threads"}))
        train(SHORT, folder=tmp_path / "fits", progress=False)
        assert ["does not say how many threads" in record.getMessage() for record in caplog.records] == [True]
    finally:
        torch.set_num_threads(before)
    with pytest.raises(ml.UserError, match="threads is -1; it must be 0"):
        ml.TrainConfig(threads=-1)


def test_sigterm_saves_at_the_next_tick_and_then_goes_to_whoever_would_have_had_it(tmp_path, whole_run):
    heard = []
    previous = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))

    def terminate(_):
        assert not heard
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # some send it twice

    try:
        ours = signal.getsignal(signal.SIGTERM)
        stopped = train(SHORT, folder=tmp_path / "run", progress=False, on_report=terminate)
        assert not stopped.finished and heard == [signal.SIGTERM] and signal.getsignal(signal.SIGTERM) is ours
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert train(SHORT, folder=tmp_path / "run", progress=False, on_report=terminate_once(heard)).finished
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert same_agent(tmp_path / "run", whole_run.folder)


def terminate_once(heard):
    def terminate(_):
        os.kill(os.getpid(), signal.SIGTERM)

    heard.clear()
    return terminate


FULL = ("checkpoint.safetensors.next.part", "state.json.part", "metrics.jsonl", "agent.safetensors.part")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's device that is always full")
@pytest.mark.parametrize("name", FULL)
def test_a_full_disk_stops_the_run_in_one_sentence_and_loses_nothing(tmp_path, whole_run, name):
    """From the third report on, writing this file writes to a disk without space."""
    folder, reports = tmp_path / "run", []

    def fill_disk(line):
        reports.append(line)
        if len(reports) == 3:
            if (folder / name).exists():
                (folder / name).rename(folder / "kept")
            (folder / name).symlink_to("/dev/full")

    with pytest.raises(ml.UserError, match=r"cannot write .*No space left on device.* resume") as refused:
        train(SHORT, folder=folder, progress=False, on_report=fill_disk)
    assert "\n" not in str(refused.value) and len(reports) == (len(whole_run.metrics) if "agent" in name else 3)
    if (folder / "kept").exists():  # there is space again
        (folder / "kept").rename(folder / name)
    resumed = train(SHORT, folder=folder, progress=False)
    assert resumed.finished and same_agent(folder, whole_run.folder)
    assert without_times(folder) == without_times(whole_run.folder)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    from metarim_lite.training import trainer

    original, calls = trainer.ppo_loss, []

    def poisoned(agent, batch, config):
        calls.append(1)
        loss, watched = original(agent, batch, config)
        return (
            (loss * float("nan"), {**watched, "loss": loss.detach() * float("nan")})
            if len(calls) > 40
            else (loss, watched)
        )

    monkeypatch.setattr(trainer, "ppo_loss", poisoned)
    with pytest.raises(ml.UserError, match="not finite.*last good checkpoint is kept"):
        train(SHORT, folder=folder, progress=False)
    monkeypatch.setattr(trainer, "ppo_loss", original)
    resumed = train(SHORT, folder=folder, progress=False)
    assert resumed.finished
    assert all(p.isfinite().all() for p in resumed.agent.parameters())


def test_a_checkpoint_that_counted_no_spending_goes_on_with_what_its_ticks_have_cost(small_bank, tmp_path):
    """As those of older versions are: the counters are those of the run that counted from the beginning."""
    whole = train(CONFIG, progress=False, bank=small_bank).metrics[-1]
    half = dataclasses.replace(CONFIG, frames=CONFIG.frames // 2)
    train(half, folder=tmp_path, progress=False, bank=small_bank)
    state = json.loads((tmp_path / "state.json").read_text())
    state["counters"] = {k: v for k, v in state["counters"].items() if "/" not in k}
    (tmp_path / "state.json").write_text(json.dumps(state))
    line = train(CONFIG, folder=tmp_path, progress=False, bank=small_bank).metrics[-1]
    spent = {k for k in whole if k.startswith(("frames/", "updates/"))}
    assert len(spent) == 6 and {k: line[k] for k in spent} == {k: whole[k] for k in spent}


def test_a_run_that_diverged_says_so_in_its_folder_until_it_goes_on(small_bank, tmp_path, monkeypatch, capsys):
    config, update, ticks = dataclasses.replace(CONFIG, method="rim", frames=960), Clock.update, []

    def poisoned(self, *of_tick):
        watched = update(self, *of_tick)
        ticks.append(1)
        return {k: v * float("nan") for k, v in watched.items()} if len(ticks) == poison else watched

    monkeypatch.setattr(Clock, "update", poisoned)
    for poison, reports in ((1, 0), (3, 1)):  # before the first report, and after one
        folder = tmp_path / str(poison)
        ticks.clear()
        with pytest.raises(ml.errors.Diverged, match="not finite"):
            train(config, folder=folder, progress=False, bank=small_bank)
        assert len(recorded_metrics(folder)) == reports
        where = recorded_divergence(folder)
        assert where in json.loads((folder / "diverged.json").read_text())["told"] and where.endswith(" frames")
        cli.report((folder,), out=tmp_path / "curves.png")
        assert f"{folder} (diverged at {where})" in capsys.readouterr().out
        ticks.extend([1] * 100)
        assert train(config, folder=folder, progress=False, bank=small_bank).finished
        assert recorded_divergence(folder) == ""
        cli.report((folder,), out=tmp_path / "curves.png")
        assert "diverged at" not in capsys.readouterr().out
