"""A sweep of four runs that take a second each."""

import metarim_lite as ml
from metarim_lite.experiments.sweeps import SweepConfig

AGENT = ml.AgentConfig(num_modules=3, active=2, hidden_size=8, lstm_size=16, input_size=16, channels=4, head_size=8)
PPO = ml.PPOConfig(epochs=1, minibatches=4)
BASE = ml.TrainConfig(frames=16 * 20 * 16, num_envs=16, steps=20, train_levels=50, report_every=1, agent=AGENT, ppo=PPO)
CURVE = {"episodes": 40, "evaluate_every": 1280, "evaluate_episodes": 20}
CONFIG = SweepConfig(("lstm", "rim"), ("MiniGrid-Empty-5x5-v0",), seeds=(0, 1), **CURVE, base=BASE)
FIRST = CONFIG.runs()[0]


def without_times(results):
    return [{k: v for k, v in line.items() if k not in ("seconds", "frames_per_second")} for line in results]


def forbidden(*_):
    raise AssertionError("a run was started")
