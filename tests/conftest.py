"""Shared by all tests: a private cache of levels, few threads, and a small bank."""

import atexit
import dataclasses
import os
import shutil
import tempfile
from contextlib import nullcontext

if "METARIM_CACHE" not in os.environ:  # workers and what tests start inherit it
    os.environ["METARIM_CACHE"] = tempfile.mkdtemp(prefix="metarim-test-cache-")
    atexit.register(shutil.rmtree, os.environ["METARIM_CACHE"], ignore_errors=True)

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def small_bank():
    """200 levels of a 6×6 room with one object."""
    import metarim_lite as ml

    return ml.LevelBank.generate("BabyAI-GoToObjS6-v1", seeds=range(200))


@pytest.fixture(scope="module")
def bank():
    """120 levels of that room. (Some files have their own.)"""
    import metarim_lite as ml

    return ml.LevelBank.generate("BabyAI-GoToObjS6-v1", seeds=range(120))


@pytest.fixture(scope="module")
def agent():
    """An untrained agent of five modules, sure of what it wants. (Some files have their own.)"""
    from lens_traces import make_agent

    return make_agent()


@pytest.fixture(scope="module")
def trace(agent, small_bank):
    """An episode of that agent."""
    import metarim_lite as ml

    return ml.Trace.record(agent, small_bank, level=7, seed=3)


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory):
    """The short run of tiny_runs.py, undisturbed; to be compared with, and left as it is."""
    from tiny_runs import SHORT

    from metarim_lite.training import train

    return train(SHORT, folder=tmp_path_factory.mktemp("whole"), progress=False)


@pytest.fixture(scope="session")
def half_a_run(tmp_path_factory):
    """The folder of a run of half its frames; to be copied, and left as it is."""
    from tiny_runs import SHORT

    from metarim_lite.training import train

    folder = tmp_path_factory.mktemp("half") / "run"
    train(dataclasses.replace(SHORT, frames=SHORT.frames // 2), folder=folder, progress=False)
    return folder


@pytest.fixture
def stopped_run(half_a_run, tmp_path):
    """A run that still has work to do, to be damaged at will."""
    return shutil.copytree(half_a_run, tmp_path / "run")


@pytest.fixture(scope="module")
def nursery():
    """Where answers are run that are graded."""
    from metarim_lite.grading.sandbox import Nursery

    with Nursery() as made:
        yield made


@pytest.fixture(autouse=True)
def dice_are_left_as_found():
    """No test may lean on, or disturb, torch's global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def taped(monkeypatch):
    """This CPU is taken for a GPU: a tape stands for graphs (see tape.py), and nobody looks at numbers."""
    import tape

    from metarim_lite import recording
    from metarim_lite.envs import GridWorlds
    from metarim_lite.models import lstm

    as_on_a_cpu = GridWorlds.__init__

    def without_looking(worlds, *args, **settings):
        as_on_a_cpu(worlds, *args, **settings)
        worlds._may_look = False

    monkeypatch.setattr(GridWorlds, "__init__", without_looking)
    monkeypatch.setattr(lstm, "begins_inside", lambda resets: resets is not None and len(resets) > 1)
    monkeypatch.setattr(recording, "PLAIN_CALLS", 1)
    monkeypatch.setattr(recording, "can_record", lambda device: True)
    monkeypatch.setattr(recording, "aside", lambda device: nullcontext())
    monkeypatch.setattr(recording, "capture", tape.capture)
