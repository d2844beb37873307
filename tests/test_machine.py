"""Settings of the process."""

import subprocess
import sys

import torch

import metarim_lite  # noqa: F401
from metarim_lite import machine


def test_torch_never_has_more_threads_than_cores():
    assert 1 <= torch.get_num_threads() <= machine.available_cores()


def test_a_container_s_quota_counts(monkeypatch, tmp_path):
    limit = tmp_path / "cpu.max"
    monkeypatch.setattr(machine, "Path", lambda _: limit)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for text, cores in [("100000 100000", 1), ("150000 100000\n", 2), ("max 100000", 8)]:
        limit.write_text(text)
        assert machine.available_cores() == cores


def test_fewer_threads_asked_for_stay_fewer():
    code = "import torch; torch.set_num_threads(1); import metarim_lite; assert torch.get_num_threads() == 1"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
