"""The bench of a GPU, run on a CPU in small, with a tape for the graphs."""

import functools
import json

import pytest
import torch

import metarim_lite as ml
from metarim_lite.bench import BENCHES, format_row
from metarim_lite.bench import gpu as bench
from metarim_lite.bench.rim import Case
from metarim_lite.models import fused

TINY = bench.Sizes(
    room=(8, 16), rooms=(8,), playing=(4,), training=(8,), compiled_worlds=(16,),
    controllers=(Case(3, 2, 8, 4, False),), levels=4,
)  # fmt: skip


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(bench, "T", 4)
    few_updates = ml.PPOConfig(epochs=1, minibatches=2)
    monkeypatch.setattr(bench, "TrainConfig", functools.partial(bench.TrainConfig, ppo=few_updates))
    monkeypatch.setattr(bench, "METHODS", ("lstm", "meta-rim"))
    monkeypatch.setattr(bench, "MANY_ROOMS", "BabyAI-GoToObjMaze-v0")
    monkeypatch.setattr(bench, "can_compile", lambda device: False)


def test_every_row_is_measured_small_ones_first(small, taped, caplog):
    rows = list(bench.bench_gpu("cpu", seconds=0.0, sizes=TINY))
    assert [(r["case"], r["mode"], r["peer"]) for r in rows] == [
        ("worlds GoToLocal B=8", "graph", "ours: eager"),
        ("worlds GoToObjMaze B=8", "graph", "ours: eager"),
        ("playing GoToLocal, RIM B=4", "graph", "ours: eager"),
        ("T3 B2 6x4", "eager", "nn.LSTM"),
        ("T3 B2 6x4", "graph", "nn.LSTM in a graph"),
        ("training GoToLocal, lstm B=8", "graph", "ours: eager"),
        ("training GoToLocal, meta-rim B=8", "graph", "ours: eager"),
        ("worlds GoToLocal B=16", "graph", "ours: eager"),
    ]
    for r in rows:
        assert r["bench"] == "gpu" and r["ours"] > 0 and r["ratio"] > 0 and json.dumps(r) and format_row(r)
    assert not caplog.records


def test_what_is_compiled_comes_last(small, taped, monkeypatch):
    monkeypatch.setattr(bench, "can_compile", lambda device: True)
    monkeypatch.setattr(bench.GridWorlds, "compile", lambda worlds: True)
    monkeypatch.setattr(fused, "STEP", fused.step)
    monkeypatch.setattr(fused, "STEP_BACKWARD", fused.step_backward)
    monkeypatch.setattr(bench, "METHODS", ())
    compiled_only = TINY._replace(room=(), rooms=(), playing=())
    rows = list(bench.bench_gpu("cpu", seconds=0.0, sizes=compiled_only))
    assert [(r["case"], r["mode"], r["peer"]) for r in rows] == [
        ("T3 B2 6x4", "eager", "nn.LSTM"),
        ("T3 B2 6x4", "graph", "nn.LSTM in a graph"),
        ("worlds GoToLocal B=16", "compiled, graph", "ours: graph"),
        ("worlds GoToObjMaze B=16", "compiled, graph", "ours: graph"),
        ("T3 B2 6x4", "compiled", "nn.LSTM"),
        ("T3 B2 6x4", "compiled, graph", "nn.LSTM in a graph"),
        ("training GoToLocal, rim B=8", "compiled, graph", "ours: eager"),
    ]


def test_the_clock_starts_when_the_device_has_done_what_came_before(monkeypatch):
    happened = []
    monkeypatch.setattr(bench.Bench, "wait", lambda self: happened.append("wait"))
    bench.Bench(torch.device("cpu"), 0.0).speed(lambda: happened.append("work"), 1)
    assert happened == ["wait", "work", "wait"]


def test_time_is_kept_and_what_it_leaves_out_is_said(small, taped, caplog, monkeypatch):
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(bench.time, "perf_counter", lambda: float(next(clock)))
    rows = list(bench.bench_gpu("cpu", seconds=5.0, limit=35.0, sizes=TINY))
    assert [r["case"] for r in rows] == ["worlds GoToLocal B=8"]
    (said,) = [r.message for r in caplog.records]
    assert said.startswith("left out, after 35 s: GoToObjMaze B=8; playing RIM B=4; T3 B2 6x4; lstm B=8")


def test_a_row_without_memory_does_not_end_the_others(small, taped, caplog, monkeypatch):
    def full(*args):
        raise torch.OutOfMemoryError("no memory")
        yield

    monkeypatch.setattr(bench, "_worlds", full)
    monkeypatch.setattr(bench, "_training", full)
    rows = list(bench.bench_gpu("cpu", seconds=0.0, sizes=TINY))
    assert [r["case"] for r in rows] == ["playing GoToLocal, RIM B=4", "T3 B2 6x4", "T3 B2 6x4"]
    assert "GoToLocal B=16 (its memory is too small)" in caplog.records[-1].message


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_sentence_says_so(caplog):
    assert list(BENCHES["gpu"]()) == []
    assert [r.message for r in caplog.records] == [
        "there is no GPU here, so `metarim bench gpu` has nothing to measure"
    ]
