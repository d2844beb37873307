"""metarim-lite: agents of recurrent independent mechanisms, whose modules learn fast and whose attention learns slowly.

The usual way in:

>>> import metarim_lite as ml
>>> run = ml.train(ml.TrainConfig(method="meta-rim", frames=2_000_000))  # on seeds 0 to 9,999 of BabyAI-GoToLocal-v0
>>> held_out = ml.LevelBank.generate("BabyAI-GoToLocal-v0", seeds=range(1_000_000, 1_001_000))
>>> ml.evaluate(run.agent, held_out)

The core: `envs` (worlds as tensors), `models` (what is learned), `training` (how).
Around it: `runs` (folders that survive a kill), `bots` (who plays without learning), `tasks` (sequence tasks),
`experiments` (many agents), `analysis` (statistics), `lens` (looking into an agent), `course` (exercises),
`bench` (speed). Below all: `errors`, `config`, `files`, `cache` (kept for the next time), `machine` (device, threads,
processes at work), `recording` (CUDA graphs), `processes` (one run on several).
"""

from importlib import import_module
from typing import Any

from .envs import GridWorlds, LevelBank, Observation, Step, encode_mission
from .errors import UserError
from .experiments import Adapted, evaluate_adaptation
from .machine import fit_threads_to_cores, keep_freed_memory
from .models import LSTM, RIM, Agent, AgentConfig, UniformAgent
from .runs import load_agent, save_agent, shipped_agents
from .training import (
    METHODS,
    Evaluation,
    MethodConfig,
    PPOConfig,
    Run,
    TimeScales,
    TrainConfig,
    evaluate,
    train,
)

keep_freed_memory()
fit_threads_to_cores()

_LATER = dict.fromkeys(("Trace", "XRay", "Stepper", "WhatIf", "watch"), "lens") | {"check": "course"}  # they draw


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f".{_LATER[name]}", __name__), name)
    raise AttributeError(f"module 'metarim_lite' has no attribute {name!r}")


__all__ = [
    "LSTM",
    "METHODS",
    "Adapted",
    "RIM",
    "Agent",
    "AgentConfig",
    "Evaluation",
    "GridWorlds",
    "LevelBank",
    "MethodConfig",
    "Observation",
    "PPOConfig",
    "Run",
    "Step",
    "Stepper",
    "TimeScales",
    "Trace",
    "TrainConfig",
    "UniformAgent",
    "UserError",
    "WhatIf",
    "XRay",
    "check",
    "encode_mission",
    "evaluate",
    "evaluate_adaptation",
    "load_agent",
    "save_agent",
    "shipped_agents",
    "train",
    "watch",
]
