"""What a config leaves to the machine: how many worlds, which kernel; and that a run keeps what it began with."""

import dataclasses
import json

import pytest
import torch

import metarim_lite as ml
from metarim_lite.experiments.stages import ContinualConfig
from metarim_lite.experiments.sweeps import SweepConfig
from metarim_lite.training import PPOConfig, Trainer, fitting
from metarim_lite.training.fitting import fitted, worlds_for

SMALL = ml.AgentConfig(num_modules=2, active=1, hidden_size=4, lstm_size=8, input_size=8, channels=2, mission_size=4)
CONFIG = ml.TrainConfig(
    method="lstm", frames=256 * 4 * 2, steps=4, timescales={"fast_span": 4}, agent=SMALL, report_every=1,
    ppo=PPOConfig(epochs=1, minibatches=1), device="cpu",
)  # fmt: skip
GPU = torch.device("cuda")


@pytest.fixture
def gpu(monkeypatch):
    """A machine with a GPU of so many bytes, as far as a config is concerned."""

    def of(memory):
        monkeypatch.setattr(fitting, "choose_device", lambda name: torch.device("cpu") if name == "cpu" else GPU)
        monkeypatch.setattr(fitting, "memory_of", lambda device: memory)

    return of


@pytest.mark.parametrize(
    "memory, frames, worlds",
    [
        (80e9, 2_000_000, 256),  # 195 rollouts of 256 worlds, 98 of 512
        (80e9, 4_000_000, 512),
        (80e9, 20_000_000, 2048),
        (80e9, 2_000_000_000, 2048),
        (15e9, 20_000_000, 2048),  # a T4
        (3e9, 20_000_000, 1024),
        (80e9, 1, 256),
    ],
)
def test_a_gpu_has_as_many_worlds_as_fit_and_leave_rollouts_to_learn_from(memory, frames, worlds, gpu):
    gpu(int(memory))
    assert worlds_for(GPU, frames, steps=40) == worlds
    config = ml.TrainConfig(frames=frames)
    assert fitted(config).num_envs == worlds
    assert fitted(dataclasses.replace(config, device="cpu")).num_envs == 256
    assert fitted(dataclasses.replace(config, num_envs=48)).num_envs == 48


def test_a_run_goes_on_with_the_worlds_and_the_kernel_it_began_with(gpu, small_bank, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "COMPILED_FROM", 3_000)
    run = ml.train(CONFIG, folder=tmp_path / "run", bank=small_bank, progress=False)
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (written["num_envs"], written["agent"]["kernel"]) == (256, "fused") and run.config == fitted(CONFIG)
    gpu(int(80e9))
    longer = dataclasses.replace(CONFIG, frames=CONFIG.frames + 256 * 4, method="lstm")
    assert fitted(longer).num_envs != 0
    again = ml.train(longer, folder=tmp_path / "run", bank=small_bank, progress=False)
    assert again.config.num_envs == 256 and again.config.agent.kernel == "fused" and again.finished
    with pytest.raises(ml.UserError, match="its num_envs is 256, this one's 128"):
        ml.train(dataclasses.replace(longer, num_envs=128), folder=tmp_path / "run", bank=small_bank, progress=False)


@pytest.mark.parametrize("compiler", [True, False])
def test_long_runs_of_a_rim_are_compiled_where_there_is_a_compiler(compiler, monkeypatch):
    monkeypatch.setattr(fitting, "can_compile", lambda device: compiler)

    def kernel(**settings):
        return fitted(ml.TrainConfig(device="cpu", **settings)).agent.kernel

    assert kernel(method="rim", frames=3_000_000) == ("compiled" if compiler else "fused")
    assert kernel(method="meta-rim", frames=2_999_999) == "fused"
    assert kernel(method="lstm", frames=3_000_000) == "fused", "there is nothing to compile"
    assert kernel(method="meta-rim-per-task", frames=3_000_000) == "fused", "torch.func runs the plain steps"
    assert kernel(method="rim", frames=3_000_000, agent=ml.AgentConfig(kernel="plain")) == "plain"
    assert Trainer(CONFIG, bank_of_two()).agent.controller.kernel == "fused", "without being fitted"


def test_on_a_gpu_it_is_the_number_of_rollouts_that_decides(gpu, monkeypatch):
    gpu(int(80e9))
    monkeypatch.setattr(fitting, "can_compile", lambda device: device == "cuda")

    def kernel(frames, num_envs):
        return fitted(ml.TrainConfig(method="rim", frames=frames, num_envs=num_envs)).agent.kernel

    assert [kernel(frames, 64) for frames in (64 * 40 * 500 - 1, 64 * 40 * 500)] == ["fused", "compiled"]
    assert [kernel(frames, 1024) for frames in (20_000_000, 21_000_000)] == ["fused", "compiled"]


def bank_of_two():
    return ml.LevelBank.generate("BabyAI-GoToObjS6-v1", seeds=range(2))


def test_an_agent_that_was_compiled_to_learn_is_not_compiled_to_play(tmp_path):
    agent = ml.Agent(dataclasses.replace(SMALL, kernel="compiled"))
    assert ml.load_agent(ml.save_agent(tmp_path / "agent", agent)).controller.kernel == "fused"
    plain = ml.Agent(dataclasses.replace(SMALL, kernel="plain"))
    assert ml.load_agent(ml.save_agent(tmp_path / "agent", plain)).controller.kernel == "plain"


def test_where_results_are_compared_the_device_does_not_choose(gpu):
    gpu(int(80e9))
    base = ml.TrainConfig(frames=20_000_000)
    assert {run.config.num_envs for run in SweepConfig(base=base).runs()} == {256}
    sequence = ContinualConfig(base=base, tasks=("BabyAI-GoToLocal-v0", "BabyAI-PickupLoc-v0"))
    assert sequence.worlds_of_stage(0) == [(0, 256)] and sequence.config_of_stage(1).num_envs == 256


def test_a_probe_of_the_compiler_answers_and_does_not_raise(monkeypatch):
    def broken(*args, **settings):
        raise RuntimeError("no compiler")

    from metarim_lite.compiling import can_compile

    monkeypatch.setattr(torch, "compile", broken)
    can_compile.cache_clear()
    assert can_compile("cpu") is False
    can_compile.cache_clear()
