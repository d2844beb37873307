"""Files of a run that are damaged, cut short or out of reach: refused by name, or mended and said."""

import dataclasses
import hashlib
import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save
from tiny_runs import CLOCK, SHORT, same_agent, stop_at_once, without_times

import metarim_lite as ml
from metarim_lite.runs.metrics import read_metrics
from metarim_lite.training import train


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


def test_whatever_a_power_cut_took_of_the_metrics_the_run_goes_on_and_says_so(half_a_run, whole_run, tmp_path, caplog):
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
        assert same_agent(folder, whole_run.folder) and resumed.lost == stopped.lost
        expected = without_times(whole_run.folder)
        expected = expected[:there] + expected[max(there, 2) :]
        assert without_times(folder) == expected
        assert [{k: v for k, v in line.items() if k not in CLOCK} for line in resumed.metrics] == expected


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


def test_no_write_permission_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("a file where a folder should be")
    with pytest.raises(ml.UserError, match="cannot write to"):
        train(SHORT, folder=tmp_path / "file" / "run", progress=False)


def test_a_file_that_cannot_be_read_gets_one_sentence(tmp_path):
    # A folder stands in for a file without permission: who runs tests as root may read every file.
    for name in ("state.json", "checkpoint.safetensors", "config.json", "metrics.jsonl"):
        folder = tmp_path / name
        train(SHORT, folder=folder, progress=False)
        (folder / name).unlink()
        (folder / name).mkdir()
        with pytest.raises(ml.UserError, match="cannot read .*Is a directory"):
            train(dataclasses.replace(SHORT, frames=2 * SHORT.frames), folder=folder, progress=False)
