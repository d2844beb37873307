"""A sequence of three tasks that an agent of a few numbers goes through in seconds."""

import dataclasses

import metarim_lite as ml
from metarim_lite.experiments.stages import ContinualConfig
from metarim_lite.training.ppo import PPOConfig
from metarim_lite.training.timescales import TimeScales

TASKS = ("MiniGrid-Empty-5x5-v0", "BabyAI-GoToObjS4-v0", "MiniGrid-GoToDoor-5x5-v0")
AGENT = ml.AgentConfig(
    num_modules=4, active=2, hidden_size=8, key_size=8, value_size=8, lstm_size=16, input_size=16, channels=4,
    mission_size=8, head_size=8,
)  # fmt: skip
SCALES = TimeScales(fast=("encoder", "modules", "heads"), slow=("attention",), fast_span=5, slow_span=10, slow_every=2)
BASE = ml.TrainConfig(
    num_envs=12, steps=10, train_levels=20, report_every=2, evaluate_episodes=20, agent=AGENT, timescales=SCALES,
    ppo=PPOConfig(minibatches=2), device="cpu",
)  # fmt: skip
SHORT = ContinualConfig(base=BASE, tasks=TASKS, frames=12 * 10 * 5, ewc_spans=4)


def with_yardstick(name, **numbers):
    return dataclasses.replace(SHORT, yardstick=name, **numbers)
