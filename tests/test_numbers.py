"""Whole numbers may be numpy's or tensors of one number: every public entry takes them, and no bool or fraction."""

import json

import numpy as np
import pytest
import torch

import metarim_lite as ml
from metarim_lite.envs.gymnasium import VectorWorlds
from metarim_lite.experiments import sequences, studies, sweeps, yardsticks
from metarim_lite.experiments.after_adaptation import _experience
from metarim_lite.experiments.stages import ContinualConfig
from metarim_lite.experiments.transfer import transfer
from metarim_lite.lens import ModulesFrozen, ModulesOff, SwapMission
from metarim_lite.lens.game import Game
from metarim_lite.tasks import Adding, Copying
from metarim_lite.training import held_out_bank

KINDS = (np.int64, np.int32, np.uint8, np.array, torch.tensor)
LEVEL = "BabyAI-GoToObjS4-v0"


@pytest.fixture(scope="module")
def agent():
    torch.manual_seed(0)
    return ml.Agent(ml.AgentConfig(hidden_size=8)).eval()


@pytest.fixture(scope="module")
def bank():
    return ml.LevelBank.generate(LEVEL, range(8))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    small = {"width": 32, "num_modules": 4, "active": 2, "input_size": 16, "key_size": 8, "value_size": 16}
    small |= {"comm_heads": 1, "comm_key_size": 4, "comm_value_size": 4}
    return sequences.SequenceModel(sequences.SequenceConfig(task="adding", adding=Adding(length=8), **small))


def off(agent, bank, **changes):
    return tuple(ml.Trace.record(agent, bank, interventions=(change,)).values for change in changes["of"])


def drawn(task, B):
    return task.sample(B, torch.Generator().manual_seed(0)).inputs


# Name -> what it gives for a number n, which is 3 in one kind or another.
ENTRIES = {
    "Trace.record(level=)": lambda n, agent, bank, model: ml.Trace.record(agent, bank, level=n).values,
    "Trace.record(seed=)": lambda n, agent, bank, model: ml.Trace.record(agent, bank, seed=n).actions,
    "Trace.frame": lambda n, agent, bank, model: ml.Trace.record(agent, bank).frame(n, tile_size=8),
    "Trace.told": lambda n, agent, bank, model: ml.Trace.record(agent, bank).told(n),
    "ModulesOff": lambda n, agent, bank, model: off(agent, bank, of=[ModulesOff((n,)), ModulesOff((0,), start=n)]),
    "ModulesFrozen": lambda n, agent, bank, model: off(agent, bank, of=[ModulesFrozen((n,), start=n)]),
    "SwapMission": lambda n, agent, bank, model: off(agent, bank, of=[SwapMission("go to the red ball", start=n)]),
    "Game": lambda n, agent, bank, model: Game(LEVEL, seed=n).view,
    "evaluate(episodes=)": lambda n, agent, bank, model: ml.evaluate(agent, bank, n).successes,
    "evaluate(seed=)": lambda n, agent, bank, model: ml.evaluate(agent, bank, 8, seed=n).successes,
    "evaluate(batch=)": lambda n, agent, bank, model: ml.evaluate(agent, bank, 8, batch=n).successes,
    "held_out_bank": lambda n, agent, bank, model: held_out_bank((LEVEL,), n, n).seeds,
    "transfer": lambda n, agent, bank, model: transfer(agent, (LEVEL,), n, seed=n)[LEVEL].successes,
    "evaluate_adaptation": lambda n, agent, bank, model: (_experience(n, None), _experience(None, n)),
    "evaluate_sequence": lambda n, agent, bank, model: sequences.evaluate_sequence(model, "8 numbers", n, seed=n),
    "GridWorlds(num_envs=)": lambda n, agent, bank, model: ml.GridWorlds(bank, n, seed=n).reset().image,
    "VectorWorlds.reset(seed=)": lambda n, agent, bank, model: VectorWorlds(bank, num_envs=2).reset(seed=n)[0]["image"],
    "LevelBank.generate": lambda n, agent, bank, model: ml.LevelBank.generate(LEVEL, [n]).seeds,
    "LevelBank.mission_text": lambda n, agent, bank, model: bank.mission_text(n),
    "Copying.sample": lambda n, agent, bank, model: drawn(Copying(blanks=5), n),
    "Adding.sample": lambda n, agent, bank, model: drawn(Adding(length=8), n),
}
CONFIGS = {
    "TrainConfig": lambda n: ml.TrainConfig(seed=n, report_every=n),
    "AgentConfig": lambda n: ml.AgentConfig(active=n),
    "SweepConfig": lambda n: sweeps.SweepConfig(seeds=(n,), episodes=n),
    "ContinualConfig": lambda n: ContinualConfig(frames=n),
    "SequenceConfig": lambda n: sequences.SequenceConfig(seed=n, batch=n),
    "Copying": lambda n: Copying(blanks=n),
    "PPOConfig": lambda n: ml.PPOConfig(epochs=n),
    "TimeScales": lambda n: ml.TimeScales(slow_every=n),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_takes_whole_numbers_of_any_kind_and_nothing_else(entry, agent, bank, model):
    def given(n):
        found = ENTRIES[entry](n, agent, bank, model)
        return [np.asarray(part) for part in (found if isinstance(found, tuple) else (found,))]

    plain = given(3)
    for kind in KINDS:
        for got, wanted in zip(given(kind(3)), plain, strict=True):
            np.testing.assert_array_equal(got, wanted)
    for other in (True, np.bool_(True), 2.5, np.float64(3.0), "3", torch.tensor([3])):
        if entry.startswith("VectorWorlds") and isinstance(other, torch.Tensor):
            continue  # of several seeds it takes the first
        with pytest.raises(ml.UserError):
            given(other)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_takes_them_too_and_goes_into_json(name):
    for kind in KINDS:
        assert CONFIGS[name](kind(3)) == CONFIGS[name](3)
        json.dumps(ml.config.to_dict(CONFIGS[name](kind(3))))
    for other in (True, np.bool_(True), 2.5, "3"):
        with pytest.raises(ml.UserError):
            CONFIGS[name](other)


def test_many_runs_are_numbered_by_any_kind(tmp_path, monkeypatch):
    """Seeds get into names and JSON; workers count processes."""
    for kind in KINDS:
        with pytest.raises(ml.UserError, match="name one twice"):
            studies.run_study("adding", tmp_path, seeds=[kind(1), 1], workers=kind(1))
        with pytest.raises(ml.UserError, match="name one twice"):
            yardsticks.compare_yardsticks(None, tmp_path, seeds=(kind(1), 1), workers=kind(1))
    for wrong in ({"seeds": (1.5,)}, {"seeds": (True,)}, {"workers": 1.5}, {"workers": True}, {"workers": 0}):
        with pytest.raises(ml.UserError, match="must be a whole number"):
            studies.run_study("adding", tmp_path, **wrong)
        with pytest.raises(ml.UserError, match="must be a whole number"):
            yardsticks.compare_yardsticks(None, tmp_path, **wrong)
    with pytest.raises(ml.UserError, match="workers"):
        sweeps.sweep(sweeps.SweepConfig(), tmp_path / "none", workers=1.5)


@pytest.mark.parametrize("make", [lambda n: ml.RIM(n, n, n, n), lambda n: ml.LSTM(n, n)])
def test_controllers_take_numpy_s_sizes(make):
    shapes = [[p.shape for p in make(n).parameters()] for n in (3, np.int64(3))]
    assert shapes[0] == shapes[1]
    assert make(np.int64(3))(torch.zeros(2, 1, 3))[0].shape == make(3)(torch.zeros(2, 1, 3))[0].shape
