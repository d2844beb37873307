"""What is asked of a sweep: its runs and their names; what cannot be run or reached is refused in a sentence."""

import contextlib
import dataclasses
import socket
import threading
import time

import pytest
from tiny_sweeps import BASE, CONFIG

import metarim_lite as ml
from metarim_lite.config import from_dict
from metarim_lite.experiments import many
from metarim_lite.experiments.sweeps import SweepConfig, sweep


def test_a_method_of_ones_own_and_imitation_can_be_swept(tmp_path, monkeypatch):
    monkeypatch.setitem(ml.METHODS, "mine", ml.MethodConfig("lstm", ml.TimeScales(fast_lr=1e-3)))
    base = dataclasses.replace(BASE, imitate=True, frames=16 * 20 * 2)
    levels = ("BabyAI-GoToObjS4-v0",)
    done = sweep(SweepConfig(("mine",), levels, seeds=(0,), episodes=40, base=base), tmp_path, progress=False)
    assert not done.failures and done.results[0]["method"] == "mine" and done.results[0]["training_success"] is None
    assert "| mine |" in done.table()


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"methods": ("rin",)}, "did you mean 'rim'"),
        ({"methods": ()}, "at least one"),
        ({"methods": "rim"}, "must be a list"),
        ({"seeds": (0, -1)}, r"seeds is \(0, -1\); it must be .* at least 0"),
        ({"seeds": (0, 0)}, "twice"),
        ({"episodes": 0}, "episodes is 0"),
        ({"evaluate_every": -1}, "evaluate_every is -1"),
        ({"base": {"evaluate_every": 9}}, "name it in evaluate_every"),
        ({"baseline": "lstn"}, "did you mean 'lstm'"),
        ({"base": {"method": "rim"}}, "name it in methods"),
        ({"vary": ("agent.hiden_size=8",)}, "did you mean 'hidden_size'"),
        ({"vary": ("agnet.active=2",)}, "did you mean 'agent'"),
        ({"vary": ("frames.x=2",)}, "frames is {'x': 2}"),
        ({"vary": ("agent.active",)}, "NAME=VALUE"),
        ({"vary": ("seed=1,2",)}, "name several in seeds"),
        ({"vary": ("agent.active=two",)}, "active is 'two'; it must be a whole number"),
        ({"vary": ("agent.active=9",)}, "choose k between 1 and 6"),
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


def _silence(connection):
    connection.recv(10_000)  # and not a word


def _web(connection):
    connection.recv(10_000)
    connection.sendall(b"HTTP/1.0 400 Bad Request\r\nContent-Length: 4\r\n\r\nbad\n")


def _hang_up(connection):
    connection.close()


@pytest.fixture
def listening():
    """(what a server does with each connection) -> its address; connections stay open to the end of the test."""
    opened = []

    def serve(answer):
        opened.append(server := socket.create_server(("127.0.0.1", 0)))

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    opened.append(connection := server.accept()[0])
                    threading.Thread(target=answer, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return f"tcp://127.0.0.1:{server.getsockname()[1]}"

    yield serve
    for one in opened:
        one.close()


@pytest.mark.parametrize("who", [_silence, _web, _hang_up, None, "", "tcp://", "somewhere", "http://127.0.0.1:80"])
def test_what_is_no_scheduler_is_said_to_be_none_in_time(tmp_path, monkeypatch, listening, who):
    """Whatever listens there, or nothing: one sentence, and no run is started here instead."""
    pytest.importorskip("distributed", reason="dask[distributed] is not installed")
    monkeypatch.setattr(many, "PATIENCE", 1.0)
    address = listening(who) if callable(who) else "tcp://127.0.0.1:1" if who is None else who
    began = time.monotonic()
    with pytest.raises(
        ml.UserError, match=f"^no Dask scheduler answers at '{address}' within 1 s .*; start one"
    ) as told:
        sweep(CONFIG, tmp_path / "none", scheduler=address, progress=False)
    assert time.monotonic() - began < 6 and "\n" not in str(told.value)
    assert not (tmp_path / "none" / "runs").exists()


def test_variations_are_combined_and_named():
    vary = ("agent.active=2,4", "timescales.slow_every=1,8", "agent.kernel=plain")
    runs = SweepConfig(methods=("meta-rim",), seeds=(3,), vary=vary).runs()
    assert [(r.config.agent.active, r.config.scales.slow_every) for r in runs] == [(2, 1), (2, 8), (4, 1), (4, 8)]
    assert all(r.config.scales.slow == ("attention",) and r.config.agent.kernel == "plain" for r in runs)
    assert runs[0].name == ("meta-rim-BabyAI-GoToLocal-v0-agent.active=2-timescales.slow_every=1-agent.kernel=plain-s3")
    assert runs[1].varied == {"agent.active": 2, "timescales.slow_every": 8, "agent.kernel": "plain"}


def test_all_methods_get_their_first_seed_before_any_gets_its_second():
    assert [run.config.seed for run in CONFIG.runs()] == [0, 0, 1, 1]
