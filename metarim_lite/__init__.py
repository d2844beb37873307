"""metarim-lite: agents of recurrent independent mechanisms, whose modules learn fast and whose attention learns slowly.

The usual way in:

>>> import metarim_lite as ml
>>> run = ml.train(ml.TrainConfig(method="meta-rim", frames=2_000_000))  # on seeds 0 to 9,999 of BabyAI-GoToLocal-v0
>>> held_out = ml.LevelBank.generate("BabyAI-GoToLocal-v0", seeds=range(1_000_000, 1_001_000))
>>> ml.evaluate(run.agent, held_out)

The core: `envs` (worlds as tensors), `models` (what is learned), `training` (how).
Around it: `runs` (folders that survive a kill), `bots` (who plays without learning), `tasks` (sequence tasks),
`experiments` (many agents), `analysis` (statistics), `lens` (looking into an agent), `course` (exercises),
`bench` (speed). Below all: `errors`, `config`, `files`, `cache` (kept for the next time), `flat` (what is
saved, tensor by tensor), `machine` (device, threads, processes at work), `recording` (CUDA graphs), `processes` (one
run on several).
"""

from importlib import import_module, metadata
from typing import Any

_LATER = dict.fromkeys(("Trace", "XRay", "Stepper", "WhatIf", "watch"), "lens") | {"check": "course"}  # they draw
_broken = None

try:
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
except (ImportError, OSError) as error:  # a package is missing, or (OSError, on Windows) one of its libraries
    _broken = error  # `metarim doctor` is to run all the same, and says more


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return metadata.version("metarim-lite")
    if name in __all__ and _broken is not None:
        raise ImportError(f"metarim_lite cannot be loaded ({_broken}); to see why, run: metarim doctor") from _broken
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
