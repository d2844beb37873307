"""Shared by all tests: a private cache of levels, few threads, and a small bank."""

import os
import tempfile

os.environ.setdefault("METARIM_CACHE", tempfile.mkdtemp(prefix="metarim-test-cache-"))

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


@pytest.fixture(autouse=True)
def dice_are_left_as_found():
    """No test may lean on, or disturb, torch's global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
