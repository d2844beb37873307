"""Runs on disk: resumed after a kill they end as if nothing had happened; damage is refused by name."""

import dataclasses
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import time

import pytest
import torch
from safetensors.torch import load_file, save, save_file

import metarim_lite as ml
from metarim_lite import cli
from metarim_lite.config import from_dict, to_dict
from metarim_lite.experiments import ContinualConfig
from metarim_lite.experiments.sweeps import SweepConfig
from metarim_lite.runs.checkpoints import read_checkpoint, write_checkpoint
from metarim_lite.runs.folder import open_folder
from metarim_lite.runs.metrics import read_metrics, recorded_divergence, recorded_metrics
from metarim_lite.training import Clock, TimeScales, train
from metarim_lite.training.banks import held_out_bank
from metarim_lite.training.trainer import Trainer

SCALES = TimeScales(fast=("encoder", "modules", "heads"), slow=("attention",), fast_span=5, slow_span=10, slow_every=2)
AGENT = ml.AgentConfig(num_modules=4, active=2, hidden_size=8, input_size=16, channels=4, head_size=8)
CONFIG = ml.TrainConfig(
    level="BabyAI-GoToObjS6-v1", frames=16 * 10 * 24, num_envs=16, steps=10, train_levels=200,
    report_every=2, agent=AGENT, timescales=SCALES,
)  # fmt: skip
SHORT = dataclasses.replace(CONFIG, frames=16 * 10 * 12)

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


def same_agent(a, b):
    a, b = load_file(a / "agent.safetensors"), load_file(b / "agent.safetensors")
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def without_times(path):
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "frames_per_second")} for line in lines]


def test_killed_a_dozen_times_and_resumed_equals_never_killed(tmp_path, small_bank):
    """Real SIGKILLs at random moments; every other one as soon as a checkpoint is seen being written."""
    dice, folder = random.Random(0), tmp_path / "killed"
    config = dataclasses.replace(CONFIG, frames=16 * 5 * 100, steps=5, report_every=1)
    for kill in range(12):
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


def test_stopped_at_every_report_and_resumed_equals_never_stopped(tmp_path, whole):
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
    assert same_agent(whole.folder, tmp_path / "parts")
    assert without_times(whole.folder) == without_times(tmp_path / "parts")
    assert len(parts.metrics) == len(whole.metrics)


def test_ctrl_c_saves_and_resumes(tmp_path, whole):
    def interrupt(_):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)

    stopped = train(SHORT, folder=tmp_path / "run", progress=False, on_report=interrupt)
    assert not stopped.finished and (tmp_path / "run" / "state.json").exists()
    resumed = train(SHORT, folder=tmp_path / "run", progress=False)
    assert resumed.finished
    assert same_agent(tmp_path / "run", whole.folder)


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


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """SHORT, undisturbed."""
    return train(SHORT, folder=tmp_path_factory.mktemp("whole"), progress=False)


@pytest.fixture(scope="module")
def half_a_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("half") / "run"
    train(dataclasses.replace(SHORT, frames=SHORT.frames // 2), folder=folder, progress=False)
    return folder


@pytest.fixture
def stopped_run(half_a_run, tmp_path):
    """A run that still has work to do, to be damaged at will."""
    return shutil.copytree(half_a_run, tmp_path / "run")


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def spoil(path):
    first, _, rest = path.read_bytes().partition(b"\n")
    path.write_bytes(first[:-1] + b"\n" + rest)


def edit_state(folder, **changes):
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(state | changes))


def forge(folder, content):
    """Other tensors, with a digest that fits, as a careful forger would."""
    (folder / "checkpoint.safetensors").write_bytes(content)
    edit_state(folder, digest=hashlib.sha256(content).hexdigest())


def edit_tensors(folder, edit):
    tensors = load_file(folder / "checkpoint.safetensors")
    edit(tensors)
    forge(folder, save(tensors))


COUNTERS = {"tick": 6, "frames": 960, "reports": 3, "seconds": 1.0}


DAMAGE = {
    "truncated tensors": (lambda f: (f / "checkpoint.safetensors").write_bytes(b"123"), "digest"),
    "no tensors": (lambda f: (f / "checkpoint.safetensors").unlink(), "digest"),
    "truncated state": (lambda f: (f / "state.json").write_text('{"count'), "state.json"),
    "state of something else": (lambda f: (f / "state.json").write_text("[1, 2]"), "state.json"),
    "field missing": (lambda f: edit_tensors(f, lambda t: t.pop("player/resets")), "player/resets"),
    "field of another shape": (
        lambda f: edit_tensors(f, lambda t: t.update({"player/length": torch.zeros(3, dtype=torch.int64)})),
        "player/length",
    ),
    "field too many": (lambda f: edit_tensors(f, lambda t: t.update({"agent/extra": torch.zeros(1)})), "agent/extra"),
    "not a number": (lambda f: edit_tensors(f, lambda t: t["agent/actor.2.bias"].fill_(float("nan"))), "actor.2.bias"),
    "tensors cut short": (lambda f: cut(f / "checkpoint.safetensors"), "digest"),
    "tensors of another format": (lambda f: forge(f, b"not safetensors"), "not the tensors of a run"),
    "dice of another generator": (lambda f: edit_tensors(f, lambda t: t["dice"].fill_(255)), "is damaged"),
    "counters of another form": (lambda f: edit_state(f, counters=[1, 2]), "counters"),
    "counters that do not count": (lambda f: edit_state(f, counters={**COUNTERS, "frames": "many"}), "frames"),
    "counters below zero": (lambda f: edit_state(f, counters={**COUNTERS, "tick": -1}), "tick"),
    "state that is no text": (lambda f: (f / "state.json").write_bytes(bytes(range(128, 256))), "state.json"),
    "a line of metrics damaged between others": (lambda f: spoil(f / "metrics.jsonl"), "metrics.jsonl"),
    "threads that are no number": (lambda f: edit_state(f, threads=0), "threads"),
    "metrics of something else": (lambda f: (f / "metrics.jsonl").write_text("[1]\n" * 99), "metrics.jsonl"),
    "config cut short": (lambda f: cut(f / "config.json"), "config.json"),
    "config of something else": (lambda f: (f / "config.json").write_text('{"a": 1}'), "config.json"),
}


@pytest.mark.parametrize("kind", sorted(DAMAGE))
def test_a_damaged_run_is_refused_with_the_field_named(stopped_run, kind):
    damage, named = DAMAGE[kind]
    damage(stopped_run)
    with pytest.raises(ml.UserError) as refused:
        train(SHORT, folder=stopped_run, progress=False)
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)


def test_whatever_a_power_cut_took_of_the_metrics_the_run_goes_on_and_says_so(half_a_run, whole, tmp_path, caplog):
    """The checkpoint has 3 reports. Of their lines everything is cut that can be: whole lines, and parts of one."""
    content = (half_a_run / "metrics.jsonl").read_bytes()
    lines = content.splitlines(keepends=True)
    ends = [0, len(lines[0]), len(lines[0] + lines[1]), len(content)]
    cuts = [*ends[:3], *(end - 1 for end in ends[1:]), 1, ends[1] + 1, ends[2] + 40]
    torn = [content[:at] for at in cuts] + [content[: ends[2]] + bytes(len(lines[2])), None]
    for n, left in enumerate(torn):
        folder, there = shutil.copytree(half_a_run, tmp_path / f"run{n}"), 0
        for text in (left or b"").split(b"\n")[:3]:
            there += text + b"\n" in lines  # a line that lacks its end alone is whole
        (folder / "metrics.jsonl").unlink() if left is None else (folder / "metrics.jsonl").write_bytes(left)
        caplog.clear()
        stopped = train(SHORT, folder=folder, progress=False, on_report=stop_at_once)
        said = [record.getMessage() for record in caplog.records]
        if there == 3:
            assert not said
        else:
            assert len(said) == 1 and f"lacked lines {there + 1} to 3" in said[0], said
        assert stopped.lost == max(0, 2 - there)  # the last line is in the checkpoint, too
        caplog.clear()
        resumed = train(SHORT, folder=folder, progress=False)
        assert not caplog.records  # it is said once
        assert same_agent(folder, whole.folder) and resumed.lost == stopped.lost
        expected = without_times(whole.folder)
        expected = expected[:there] + expected[max(there, 2) :]
        assert without_times(folder) == expected
        assert [{k: v for k, v in line.items() if k not in CLOCK} for line in resumed.metrics] == expected


def test_a_kill_before_the_next_checkpoint_does_not_count_work_that_was_lost(stopped_run, whole, monkeypatch):
    """Two lines are missing, the run goes on, and dies when its next line is written, but not its checkpoint."""
    from metarim_lite.runs import folder as runs_folder

    (stopped_run / "metrics.jsonl").unlink()
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(runs_folder, "write_checkpoint", lambda *_: 1 / 0)
        train(SHORT, folder=stopped_run, progress=False)
    assert len((stopped_run / "metrics.jsonl").read_text().splitlines()) == 2
    resumed = train(SHORT, folder=stopped_run, progress=False)
    assert without_times(stopped_run) == without_times(whole.folder)[2:] and resumed.lost == 2


CLOCK = ("seconds", "frames_per_second")


def stop_at_once(_):
    os.kill(os.getpid(), signal.SIGINT)


def test_every_byte_that_can_be_cut_off_the_metrics_leaves_the_lines_before_it(tmp_path):
    lines = [{"frames": n, "loss": n / 3, "task": "ü"} for n in (1, 2, 3)]
    content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
    ends = [n + 1 for n, byte in enumerate(content) if byte == ord("\n")]
    path = tmp_path / "metrics.jsonl"
    for at in range(len(content) + 1):
        for tail in (b"", bytes(7)):  # cut off, or full of zeros
            path.write_bytes(content[:at] + tail)
            have = sum(at >= end - (not tail) for end in ends)  # the end of a line alone may be missing
            assert read_metrics(tmp_path, 3, None) == lines[:have]
            assert [json.loads(line) for line in path.read_text().splitlines()] == lines[:have]
            path.write_bytes(content[:at] + tail)
            for _ in range(2):  # twice: the process may die before the checkpoint counts anew
                assert read_metrics(tmp_path, 3, lines[2]) == lines[: min(have, 2)] + lines[2:]


def test_a_line_is_on_the_disk_before_the_checkpoint_that_counts_it(tmp_path, monkeypatch):
    """In the order in which they are made to last: fsync of the file, then of its name."""
    order, real = [], os.fsync

    def fsync(descriptor):
        order.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    one = dataclasses.replace(SHORT, frames=1, report_every=1)
    train(one, folder=tmp_path / "run", progress=False)
    first = order.index("metrics.jsonl")
    assert order[first : first + 5] == ["metrics.jsonl", "checkpoint.safetensors.next.part", "run",
                                        "state.json.part", "run"]  # fmt: skip


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


def test_while_a_run_is_made_longer_it_has_no_agent(tmp_path, stopped_run, monkeypatch):
    """The agent of the shorter run is not this one's."""
    from metarim_lite.experiments import shipped

    monkeypatch.setattr(shipped, "DATA", tmp_path)
    ship = shipped.ship
    assert (stopped_run / "agent.safetensors").exists()
    short = (stopped_run / "config.json").read_bytes()
    others = ml.LevelBank.generate(SHORT.level, seeds=range(100, 120))
    with pytest.raises(ml.UserError, match="plays other levels"):
        train(SHORT, folder=stopped_run, progress=False, bank=others)
    assert ml.load_agent(stopped_run) and (stopped_run / "config.json").read_bytes() == short  # nothing was touched
    old = shutil.copyfile(stopped_run / "agent.safetensors", tmp_path / "old")
    with pytest.raises(ZeroDivisionError):
        train(SHORT, folder=stopped_run, progress=False, on_report=lambda _: 1 / 0)
    for use in (ml.load_agent, lambda folder: ship(folder, "nobody")):
        with pytest.raises(ml.UserError, match="finished") as refused:
            use(stopped_run)
        assert "\n" not in str(refused.value) and str(stopped_run) in str(refused.value)
    shutil.copyfile(old, stopped_run / "agent.safetensors")  # as older versions left it
    with pytest.raises(ml.UserError, match="is at 1,280 of 1,920 frames"):
        ship(stopped_run, "nobody")
    train(SHORT, folder=stopped_run, progress=False)
    longer = ml.load_agent(stopped_run).state_dict()
    assert not all(torch.equal(x, longer[k]) for k, x in load_file(old).items())


def test_an_agent_is_shipped_at_half_precision_with_the_success_of_what_is_shipped(tmp_path, whole, monkeypatch):
    from metarim_lite.experiments import shipped

    monkeypatch.setattr(shipped, "DATA", tmp_path)
    judged = []
    evaluate = shipped.evaluate
    monkeypatch.setattr(shipped, "evaluate", lambda agent, *how: judged.append(agent) or evaluate(agent, *how))
    record = shipped.ship(whole.folder, "small", episodes=50)
    kept, own = load_file(tmp_path / "small.safetensors"), load_file(whole.folder / "agent.safetensors")
    assert all(torch.equal(kept[name], own[name].half()) for name in own) and kept.keys() == own.keys()
    (agent,), loaded = judged, ml.load_agent(tmp_path / "small.safetensors").state_dict()
    assert all(torch.equal(x, loaded[name]) and x.dtype == torch.float32 for name, x in agent.state_dict().items())
    again = ml.evaluate(ml.load_agent(tmp_path / "small.safetensors"), held_out_bank((CONFIG.level,), 50, 200), 50)
    assert record.held_out["value"] == again.success.value and record.held_out["episodes"] == 50
    assert record.frames == SHORT.frames and record.command.startswith("metarim train --method")


def test_a_run_goes_on_with_its_own_held_out_levels_only(tmp_path):
    own, others = (ml.LevelBank.generate(SHORT.level, seeds=range(first, first + 20)) for first in (500, 600))
    config = dataclasses.replace(SHORT, evaluate_every=800, evaluate_episodes=20)
    train(config, folder=tmp_path, progress=False, held_out=own, on_report=stop_at_once)
    for wrong in (others, None):  # None: the config's own
        with pytest.raises(ml.UserError, match="evaluated on other held-out levels"):
            train(config, folder=tmp_path, progress=False, held_out=wrong)
    assert train(config, folder=tmp_path, progress=False, held_out=own).finished


def test_sigterm_saves_at_the_next_tick_and_then_goes_to_whoever_would_have_had_it(tmp_path, whole):
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
    assert same_agent(tmp_path / "run", whole.folder)


def terminate_once(heard):
    def terminate(_):
        os.kill(os.getpid(), signal.SIGTERM)

    heard.clear()
    return terminate


def test_a_folder_of_another_run_is_refused(stopped_run):
    with pytest.raises(ml.UserError, match="seed"):
        train(dataclasses.replace(SHORT, seed=1), folder=stopped_run, progress=False)


FULL = ("checkpoint.safetensors.next.part", "state.json.part", "metrics.jsonl", "agent.safetensors.part")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's device that is always full")
@pytest.mark.parametrize("name", FULL)
def test_a_full_disk_stops_the_run_in_one_sentence_and_loses_nothing(tmp_path, whole, name):
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
    assert "\n" not in str(refused.value) and len(reports) == (len(whole.metrics) if "agent" in name else 3)
    if (folder / "kept").exists():  # there is space again
        (folder / "kept").rename(folder / name)
    resumed = train(SHORT, folder=folder, progress=False)
    assert resumed.finished and same_agent(folder, whole.folder)
    assert without_times(folder) == without_times(whole.folder)


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


def test_an_agent_survives_the_disk_bit_for_bit(tmp_path):
    agent = ml.Agent(AGENT)
    path = ml.save_agent(tmp_path / "mine", agent)
    again = ml.load_agent(path)
    assert again.config == agent.config
    assert all(torch.equal(a, b) for a, b in zip(agent.state_dict().values(), again.state_dict().values(), strict=True))


def test_a_file_that_is_no_agent_is_refused(tmp_path):
    (tmp_path / "junk.safetensors").write_bytes(b"not an agent")
    with pytest.raises(ml.UserError, match="damaged or foreign"):
        ml.load_agent(tmp_path / "junk.safetensors")
    save_file({"x": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ml.UserError, match="damaged or foreign"):
        ml.load_agent(tmp_path / "foreign.safetensors")
    with pytest.raises(ml.UserError, match="unknown agent"):
        ml.load_agent("no-such-agent")


def test_unknown_names_are_refused_before_any_work():
    with pytest.raises(ml.UserError, match="did you mean"):
        train(ml.TrainConfig(method="meta-rin"), progress=False)
    with pytest.raises(ml.UserError, match="BabyAI-GoToLocal-v0"):
        train(ml.TrainConfig(level="BabyAI-GoToLocl-v0", frames=1), progress=False)
    with pytest.raises(ml.UserError, match="device 'cuda:99' is not available here"):
        train(ml.TrainConfig(device="cuda:99"), progress=False)
    with pytest.raises(ml.UserError, match="device 'meta' is not supported; use 'auto', 'cpu' or 'cuda'"):
        train(ml.TrainConfig(device="meta"), progress=False)
    with pytest.raises(ml.UserError, match="one advantage, which has no spread"):
        ml.TrainConfig(num_envs=1, steps=1, timescales={"fast_span": 1}, ppo=ml.PPOConfig(minibatches=1))


def test_no_write_permission_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("a file where a folder should be")
    with pytest.raises(ml.UserError, match="cannot write to"):
        train(SHORT, folder=tmp_path / "file" / "run", progress=False)


def test_unknown_config_keys_are_refused_with_the_nearest():
    with pytest.raises(ml.UserError, match="did you mean 'num_envs'"):
        from_dict(ml.TrainConfig, {"num_env": 3})
    with pytest.raises(ml.UserError, match="did you mean 'num_modules'"):
        from_dict(ml.TrainConfig, {"agent": {"num_module": 3}})


def test_a_file_that_cannot_be_read_gets_one_sentence(tmp_path):
    # A folder stands in for a file without permission: who runs tests as root may read every file.
    for name in ("state.json", "checkpoint.safetensors", "config.json", "metrics.jsonl"):
        folder = tmp_path / name
        train(SHORT, folder=folder, progress=False)
        (folder / name).unlink()
        (folder / name).mkdir()
        with pytest.raises(ml.UserError, match="cannot read .*Is a directory"):
            train(dataclasses.replace(SHORT, frames=2 * SHORT.frames), folder=folder, progress=False)


def test_a_run_goes_on_with_its_own_levels_only_and_not_without_any(tmp_path):
    own, others = (ml.LevelBank.generate(SHORT.level, seeds=range(first, first + 20)) for first in (0, 100))
    with pytest.raises(ml.UserError, match="holds no level"):
        train(SHORT, progress=False, bank=own.select([]))
    train(SHORT, folder=tmp_path, progress=False, bank=own)
    longer = dataclasses.replace(SHORT, frames=SHORT.frames + 1)
    with pytest.raises(ml.UserError, match="plays other levels"):
        train(longer, folder=tmp_path, progress=False, bank=others)
    assert train(longer, folder=tmp_path, progress=False, bank=own).finished


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"seed": 1.5}, "seed is 1.5; it must be a whole number"),
        ({"seed": 2**63}, "seed is 9223372036854775808; it must be a whole number from 0"),
        ({"level": ("A", "B")}, "it must be a text"),
        ({"evaluate_every": -1}, "evaluate_every is -1; it must be 0"),
        ({"evaluate_every": "x"}, "evaluate_every is 'x'; it must be a whole number"),
        ({"ppo": {"gamma": 0.9}}, "it must be a PPOConfig"),
    ],
)
def test_settings_of_another_kind_get_one_sentence(wrong, says):
    with pytest.raises(ml.UserError, match=says):
        ml.TrainConfig(**wrong)


def test_the_command_kept_with_a_shipped_agent_gives_its_config_back():
    from metarim_lite.cli import _read
    from metarim_lite.experiments.commands import command_of

    scales = dataclasses.replace(SCALES, slower=(("modules", 0.5),))
    config = dataclasses.replace(CONFIG, method="rim", seed=3, timescales=scales)
    for original in (ml.TrainConfig(), ml.TrainConfig(method="lstm", num_envs=64), config):
        words = command_of(original).split()
        assert words[0] == "metarim"
        assert _read(words[1:]).keywords["config"] == original


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


def test_a_method_redefined_between_two_starts_is_refused_with_the_difference(small_bank, tmp_path, monkeypatch):
    config = dataclasses.replace(CONFIG, method="rim", frames=320, timescales={"fast_span": 5})
    run = train(config, folder=tmp_path, progress=False, bank=small_bank)
    rim, saved = ml.METHODS["rim"], (tmp_path / "config.json").read_bytes()
    again = dataclasses.replace(config, frames=640)
    scales, rate = dataclasses.replace(rim.timescales, fast_lr=0.25), rim.timescales.fast_lr
    for other, said in (
        (
            dataclasses.replace(rim, timescales=scales),
            f"its timescales.fast_lr was {rate} when the run began, is 0.25 now",
        ),
        (dataclasses.replace(rim, controller="lstm"), 'its controller was "rim" when the run began, is "lstm" now'),
    ):
        monkeypatch.setitem(ml.METHODS, "rim", other)
        with pytest.raises(ml.UserError, match="redefined") as refused:
            train(again, folder=tmp_path, progress=False, bank=small_bank)
        assert said in str(refused.value) and "\n" not in str(refused.value)
        monkeypatch.setitem(ml.METHODS, "rim", other)
        if other.controller == "rim":  # the settings that the sentence names make it the run that was begun
            assert f"set timescales.fast_lr = {rate} to go on" in str(refused.value)
            spelled = dataclasses.replace(config, timescales={"fast_span": 5, "fast_lr": rate})
            assert train(spelled, folder=tmp_path, progress=False, bank=small_bank).metrics == run.metrics
            (tmp_path / "config.json").write_bytes(saved)
        else:
            assert "define it as it was" in str(refused.value)
    assert (tmp_path / "config.json").read_bytes() == saved
    for same in (
        dataclasses.replace(rim, about="other words"),
        dataclasses.replace(rim, timescales=dataclasses.replace(rim.timescales, fast_span=8)),
    ):
        monkeypatch.setitem(ml.METHODS, "rim", same)  # the run's own span of 5 holds, whatever the method's
        more = train(again, folder=tmp_path, progress=False, bank=small_bank)
    assert more.metrics[: len(run.metrics)] == run.metrics


def test_config_json_spells_out_the_method_and_the_versions(small_bank, tmp_path, caplog):
    train(dataclasses.replace(CONFIG, frames=320, timescales={"fast_span": 5}), folder=tmp_path, progress=False,
          bank=small_bank)  # fmt: skip
    said = json.loads((tmp_path / "config.json").read_text())
    scales = dataclasses.replace(ml.METHODS["meta-rim"].timescales, fast_span=5)
    assert said["pinned"] == json.loads(json.dumps({
        "timescales": to_dict(scales), "controller": "rim", "match_parameters": False,
    }))  # fmt: skip
    assert said["timescales"]["fast_span"] == 5 and said["timescales"]["slow_span"] is None
    assert [set(made_by) for made_by in said["versions"]] == [{"metarim-lite", "torch", "minigrid"}]
    assert not [record for record in caplog.records if "was made by" in record.message]

    said["versions"][0]["torch"] = "1.0"
    (tmp_path / "config.json").write_text(json.dumps(said))
    train(dataclasses.replace(CONFIG, frames=640, timescales={"fast_span": 5}), folder=tmp_path, progress=False,
          bank=small_bank)  # fmt: skip
    told = [record.message for record in caplog.records if "was made by" in record.message]
    assert len(told) == 1 and "torch 1.0, now " in told[0] and "minigrid" not in told[0]
    kept = json.loads((tmp_path / "config.json").read_text())["versions"]
    assert len(kept) == 2 and kept[0]["torch"] == "1.0"


@pytest.mark.parametrize("full", [False, True], ids=["null", "full table"])
def test_a_folder_of_an_older_version_goes_on(small_bank, tmp_path, full):
    """Its config.json has no pins, and as time scales null or all of them."""
    config = dataclasses.replace(CONFIG, method="rim", frames=320, steps=20, timescales=None)
    train(config, folder=tmp_path, progress=False, bank=small_bank)
    said = json.loads((tmp_path / "config.json").read_text())
    old = {k: v for k, v in said.items() if k not in ("pinned", "versions")}
    (tmp_path / "config.json").write_text(json.dumps(old | {"timescales": to_dict(config.scales) if full else None}))
    assert train(dataclasses.replace(config, frames=640), folder=tmp_path, progress=False, bank=small_bank).finished


def test_another_time_scale_is_another_run_however_it_is_spelled(small_bank, tmp_path):
    config = dataclasses.replace(CONFIG, frames=320, timescales={"fast_span": 5, "slow_every": 4})
    train(config, folder=tmp_path, progress=False, bank=small_bank)
    same = dataclasses.replace(config, timescales={"fast_span": 5})
    assert train(same, folder=tmp_path, progress=False, bank=small_bank).finished
    other = dataclasses.replace(config, timescales={"fast_span": 5, "slow_every": 3})
    with pytest.raises(ml.UserError, match="holds another run: its timescales.slow_every is 4, this one's 3"):
        train(other, folder=tmp_path, progress=False, bank=small_bank)


def test_sequences_of_tasks_and_sweeps_notice_a_redefined_method_too(tmp_path, monkeypatch):
    rim = ml.METHODS["rim"]
    tasks = ContinualConfig(base=ml.TrainConfig(method="rim"))
    sweep = SweepConfig(methods=("rim", "lstm"))
    for name, config, where in (("tasks", tasks, "base.timescales"), ("sweep", sweep, "method.rim.timescales")):
        monkeypatch.setitem(ml.METHODS, "rim", rim)
        (tmp_path / name).mkdir()
        open_folder(tmp_path / name, config, ("methods",))
        open_folder(tmp_path / name, config, ("methods",))
        monkeypatch.setitem(
            ml.METHODS, "rim", dataclasses.replace(rim, timescales=dataclasses.replace(rim.timescales, fast_span=8))
        )
        with pytest.raises(ml.UserError, match=f"{where}.fast_span was 20 when the run began, is 8 now"):
            open_folder(tmp_path / name, config, ("methods",))
    monkeypatch.setitem(ml.METHODS, "rim", rim)
    open_folder(tmp_path / "sweep", dataclasses.replace(sweep, methods=("lstm", "rim", "meta-rim")), ("methods",))


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
