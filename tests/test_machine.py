"""Settings of the process."""

import subprocess
import sys
from pathlib import Path

import pytest
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


def test_a_number_of_threads_holds_inside_alone_though_there_be_fewer_cores():
    before = torch.get_num_threads()
    for threads in (1, machine.available_cores() + 3):
        with pytest.raises(ZeroDivisionError), machine.fixed_threads(threads):
            assert torch.get_num_threads() == threads
            raise ZeroDivisionError
        assert torch.get_num_threads() == before


def test_threads_that_torch_does_not_take_are_said_in_one_line(monkeypatch, caplog):
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    with machine.fixed_threads(torch.get_num_threads() + 1):
        assert len(caplog.records) == 1 and "numbers will differ by rounding" in caplog.text


def test_fewer_threads_asked_for_stay_fewer():
    code = "import torch; torch.set_num_threads(1); import metarim_lite; assert torch.get_num_threads() == 1"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_peak_memory_is_this_process_s_and_unknown_where_the_system_does_not_count(monkeypatch):
    block = torch.ones(50_000_000)  # 0.2 GB, all of it touched
    assert 0.2 * float(block[0]) < machine.peak_memory_gb() < 200
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    assert machine.peak_memory_gb() is None


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="no huge pages here")
def test_what_is_allocated_lies_where_huge_pages_were_asked_for_and_takes_no_memory_before_it_is_used():
    code = r"""
import re
import metarim_lite, torch
from metarim_lite.machine import IN_HUGE_PAGES

resident = lambda: int(re.search(r"VmRSS:\s+(\d+)", open("/proc/self/status").read())[1]) / 1e6  # GB
lean = resident()
block = torch.ones(40_000_000)  # 160 MB
middle = block.data_ptr() + 80_000_000
fat = resident()
ranges = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", open("/proc/self/smaps").read(), flags=re.M)[1:]
place = lambda text: [int(n, 16) for n in text.split(" ")[0].split("-")]
(mine,) = [r for r in ranges if place(r)[0] <= middle < place(r)[1]]
print("hg" in re.search("VmFlags: (.*)", mine)[1].split(), place(mine)[1] - place(mine)[0] > IN_HUGE_PAGES / 2)
print(lean < 0.45, 0.15 < fat - lean < 0.18)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True"] * 4


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_with_little_address_space_there_are_no_huge_pages_and_no_error():
    code = """
import resource
resource.setrlimit(resource.RLIMIT_DATA, (400 * 2**20, -1))
from metarim_lite.machine import keep_freed_memory
print(keep_freed_memory())
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == "True", done.stderr
