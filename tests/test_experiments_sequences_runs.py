"""Runs on sequence tasks: killed, stopped, made longer or damaged, they go on as one or are refused."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file
from tiny_sequences import TINY

import metarim_lite as ml
from metarim_lite.config import to_dict
from metarim_lite.experiments.sequences import SequenceModel, load_sequence_model, save_sequence_model, train_sequence
from metarim_lite.tasks import Copying


def same_model(a, b):
    a, b = load_file(a / "model.safetensors"), load_file(b / "model.safetensors")
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def without_times(lines):
    return [{k: v for k, v in line.items() if k not in ("seconds", "updates_per_second")} for line in lines]


SCRIPT = """
import sys, json, torch
torch.set_num_threads(1)
from metarim_lite.config import from_dict
from metarim_lite.experiments.sequences import SequenceConfig, train_sequence
train_sequence(from_dict(SequenceConfig, json.load(open(sys.argv[1]))), folder=sys.argv[2], progress=False)
"""


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_killed_and_resumed_equals_never_killed(tmp_path, one_thread):
    """A process of its own is killed at no particular moment; the run goes on in this one."""
    config = dataclasses.replace(TINY, updates=40, report_every=1, task="adding", test_sequences=1)
    (tmp_path / "config.json").write_text(json.dumps(to_dict(config)))
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "config.json"), str(tmp_path / "killed")]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
    metrics, deadline = tmp_path / "killed" / "metrics.jsonl", time.monotonic() + 600
    while time.monotonic() < deadline and (not metrics.exists() or len(metrics.read_text().splitlines()) < 5):
        time.sleep(0.005)
    time.sleep(random.Random(0).random() * 0.02)
    assert process.poll() is None, "the run was over before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    resumed = train_sequence(config, tmp_path / "killed", progress=False)
    whole = train_sequence(config, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(resumed.model.parameters(), whole.model.parameters(), strict=True))
    assert without_times(resumed.metrics) == without_times(whole.metrics)
    kept = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert without_times(kept) == without_times(whole.metrics)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"query_rate": 0.1, "schedule": "linear"},
        {"controller": "lstm"},
        {"controller": "lstm", "schedule": "linear"},
    ],
)
def test_stopped_at_every_report_and_resumed_equals_never_stopped(tmp_path, changes):
    class Stop(Exception):
        pass

    def stop(_):
        raise Stop

    config = dataclasses.replace(TINY, **changes)
    whole = train_sequence(config, tmp_path / "whole", progress=False)
    for _ in range(4):
        with pytest.raises(Stop):
            train_sequence(config, tmp_path / "parts", progress=False, on_report=stop)
    parts = train_sequence(config, tmp_path / "parts", progress=False)
    assert parts.finished and len(parts.metrics) == len(whole.metrics) == 4
    assert same_model(tmp_path / "whole", tmp_path / "parts")
    assert without_times(whole.metrics) == without_times(parts.metrics)


def test_ctrl_c_saves_and_resumes(tmp_path):
    stopped = train_sequence(
        TINY, tmp_path / "run", progress=False, on_report=lambda _: os.kill(os.getpid(), signal.SIGINT)
    )
    assert not stopped.finished and len(stopped.metrics) == 1
    assert train_sequence(TINY, tmp_path / "run", progress=False).finished
    train_sequence(TINY, tmp_path / "whole", progress=False)
    assert same_model(tmp_path / "run", tmp_path / "whole")


def test_while_a_run_is_made_longer_it_has_no_model(tmp_path):
    train_sequence(dataclasses.replace(TINY, updates=6), tmp_path, progress=False)
    assert (tmp_path / "model.safetensors").exists()
    with pytest.raises(ZeroDivisionError):
        train_sequence(TINY, tmp_path, progress=False, on_report=lambda _: 1 / 0)
    assert not (tmp_path / "model.safetensors").exists()
    train_sequence(TINY, tmp_path, progress=False)
    assert load_sequence_model(tmp_path / "model.safetensors").config == TINY


def test_a_run_goes_on_with_the_threads_it_began_with(tmp_path, one_thread):
    train_sequence(dataclasses.replace(TINY, updates=3), tmp_path, progress=False)
    torch.set_num_threads(2)
    used = []
    train_sequence(TINY, tmp_path, progress=False, on_report=lambda _: used.append(torch.get_num_threads()))
    assert set(used) == {1} and torch.get_num_threads() == 2
    with pytest.raises(ml.UserError, match="threads is -1"):
        dataclasses.replace(TINY, threads=-1)


def test_a_line_that_a_power_cut_took_comes_from_the_checkpoint(tmp_path):
    whole = train_sequence(dataclasses.replace(TINY, updates=6), tmp_path, progress=False)
    (tmp_path / "metrics.jsonl").write_bytes((tmp_path / "metrics.jsonl").read_bytes()[:-20])
    assert train_sequence(TINY, tmp_path, progress=False).metrics[:2] == whole.metrics


def test_a_run_can_be_made_longer_but_not_another(tmp_path):
    train_sequence(dataclasses.replace(TINY, updates=6), tmp_path / "run", progress=False)
    longer = train_sequence(TINY, tmp_path / "run", progress=False)
    whole = train_sequence(TINY, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(longer.model.parameters(), whole.model.parameters(), strict=True))
    other = dataclasses.replace(TINY, copying=dataclasses.replace(TINY.copying, blanks=3))
    with pytest.raises(ml.UserError, match="holds another run: its copying"):
        train_sequence(other, tmp_path / "run", progress=False)
    kept = (tmp_path / "run" / "config.json").read_bytes()
    with pytest.raises(ml.UserError, match="longer, not shorter"):  # its model would be taken for one of 6 updates
        train_sequence(dataclasses.replace(TINY, updates=6), tmp_path / "run", progress=False)
    assert (tmp_path / "run" / "config.json").read_bytes() == kept


def test_a_run_may_go_on_with_another_kernel(tmp_path):
    train_sequence(dataclasses.replace(TINY, updates=6, kernel="plain"), tmp_path / "run", progress=False)
    moved = train_sequence(dataclasses.replace(TINY, kernel="fused"), tmp_path / "run", progress=False)
    whole = train_sequence(TINY, progress=False)
    assert moved.finished and moved.config.kernel == "fused"
    for a, b in zip(moved.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    other = "import sys; from filelock import FileLock; lock = FileLock(sys.argv[1])"  # named, or it is freed at once
    other += "; lock.acquire(); print(flush=True); input()"
    train_sequence(dataclasses.replace(TINY, updates=6), tmp_path, progress=False)
    with (tmp_path / "metrics.jsonl").open("a") as metrics:  # the other one is about to write the checkpoint to it
        metrics.write('{"update": 9}\n')
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    words = [sys.executable, "-c", other, str(tmp_path / ".training")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        with pytest.raises(ml.UserError, match="another process is training in"):
            train_sequence(TINY, tmp_path, progress=False)
        assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}
        holder.kill()
    assert train_sequence(TINY, tmp_path, progress=False).finished


def test_a_damaged_checkpoint_is_refused(tmp_path):
    train_sequence(dataclasses.replace(TINY, updates=3), tmp_path / "run", progress=False)
    (tmp_path / "run" / "checkpoint.safetensors").write_bytes(b"123")
    with pytest.raises(ml.UserError, match="digest"):
        train_sequence(TINY, tmp_path / "run", progress=False)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    original, calls = Copying.loss, []

    def poisoned(self, answers, batch):
        calls.append(1)
        return original(self, answers, batch) * (float("nan") if len(calls) == 5 else 1)

    monkeypatch.setattr(Copying, "loss", poisoned)
    with pytest.raises(ml.UserError, match="loss is not finite at 5 updates; the last good checkpoint is kept"):
        train_sequence(TINY, tmp_path / "run", progress=False)
    calls.clear()
    with pytest.raises(ml.UserError, match="loss is not finite at 5 updates; there was no checkpoint yet"):
        train_sequence(TINY, progress=False)
    resumed = train_sequence(TINY, tmp_path / "run", progress=False)
    assert resumed.finished
    whole = train_sequence(TINY, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(resumed.model.parameters(), whole.model.parameters(), strict=True))


def test_a_model_survives_the_disk_bit_for_bit(tmp_path):
    model = SequenceModel(TINY)
    again = load_sequence_model(save_sequence_model(tmp_path / "mine", model))
    assert again.config == TINY
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    (tmp_path / "junk.safetensors").write_bytes(b"not a model")
    with pytest.raises(ml.UserError, match="damaged or foreign"):
        load_sequence_model(tmp_path / "junk.safetensors")
    with pytest.raises(ml.UserError, match="there is no file"):
        load_sequence_model(tmp_path / "missing.safetensors")
