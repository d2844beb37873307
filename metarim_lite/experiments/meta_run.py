"""One run of the study of fast and slow: trained, judged, and put through what comes after. Its line of results.jsonl.

Here is what the process of a run does; which runs there are is said in meta_study.py. A line has, besides what tells
the run from others (condition, setting, method, varied, seed, device, num_envs, tuned, settings), all numbers of
`judging.py`, and

    by_level    success at the end on held-out levels of each id
    machine     name of the GPU, or "cpu"
    versions    of the packages
    rules       digest of the claims and rules as they were when the run ended
    shift, harder, modules   what became of its agent in the conditions of these names

A sequence of tasks has the numbers of `yardsticks.train_and_measure` instead, with `updates` and `frames_per_second`.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..analysis.curves import area
from ..config import from_dict
from ..errors import Diverged
from ..machine import choose_device
from ..models import Agent
from ..runs.checkpoints import load_agent
from ..runs.metrics import recorded_metrics
from ..runs.pins import PACKAGES
from ..training.banks import held_out_bank
from ..training.trainer import TrainConfig
from .after_adaptation import evaluate_adaptation
from .claims import rules_digest
from .conditions import WORLDS, Condition
from .judging import counted, train_and_judge
from .modules_at_play import specialisation, watch_modules
from .stages import ContinualConfig
from .transfer import transfer
from .yardsticks import train_and_measure

Line = dict[str, Any]
POINTS_OF_SHIFT = 10  # of the curve while an agent gets to know a new level, at least


def train_and_follow(
    folder: Path, progress: bool, config: dict[str, Any], episodes: int, afterwards: dict[str, dict[str, Any]]
) -> Line:
    """A run that is trained, and then goes through some conditions.

    Args:
        config: of the run, as a dict.
        episodes: held-out levels of each id that the finished agent plays.
        afterwards: the conditions that follow, by name, as dicts.

    Raises:
        UserError: what `train` and `evaluate_adaptation` refuse.
        KeyboardInterrupt: it was stopped before the end.
    """
    asked = from_dict(TrainConfig, config)
    line = train_and_judge(folder, progress, config, episodes) | _made(asked.device)
    if "diverged" in line or not afterwards:
        return line
    agent = load_agent(folder / "agent.safetensors", str(choose_device(asked.device)))
    for name, of in afterwards.items():
        condition = from_dict(Condition, of)
        line[name] = FOLLOW[condition.kind](agent, condition, asked, episodes)
    return line


def train_in_sequence(folder: Path, progress: bool, config: dict[str, Any]) -> Line:
    """A run over a sequence of tasks.

    Raises:
        UserError, KeyboardInterrupt: as `train_and_measure`.
    """
    asked = from_dict(ContinualConfig, config)
    line = train_and_measure(folder, progress, config)
    last = (recorded_metrics(folder) or [{}])[-1]
    line |= {"planned": asked.frames, "updates": counted(last, "updates/")}
    seconds = last.get("seconds")
    return line | {"frames_per_second": line["frames"] / seconds if seconds else None} | _made(asked.base.device)


def _made(device: str) -> Line:
    """By what a run was made."""
    found = choose_device(device)
    machine = torch.cuda.get_device_name(found) if found.type == "cuda" else found.type
    versions = {package: version(package) for package in PACKAGES}
    return {"machine": machine, "versions": versions, "rules": rules_digest()}


def _shift(agent: Agent, condition: Condition, config: TrainConfig, episodes: int) -> Line:
    """Success on a new level before, while and after the agent learns there, by all clocks of its own method."""
    (level,) = condition.levels
    # As many worlds on every device: a batch of a GPU would use the experience up in four ticks.
    config = replace(config, num_envs=min(config.num_envs, WORLDS["cpu"]), evaluate_every=0)
    every = max(1, condition.frames // (config.num_envs * config.steps * POINTS_OF_SHIFT))
    try:
        found = evaluate_adaptation(
            agent, level, config.method, frames=condition.frames, every=every, episodes=episodes, config=config
        )
    except Diverged as error:
        return {"diverged": str(error), "area": 0.0}
    frames, success = zip(*((point.frames, point.success.value) for point in found.curve), strict=True)
    return {
        "before": found.before.success.value,
        "after": found.after.success.value,
        "gain": list(found.gain),
        "curve": {"frames": frames, "success": success},
        "area": area(frames, success),
        "frames": found.frames,
        "seen": found.before.seen,
    }


def _zero_shot(agent: Agent, condition: Condition, config: TrainConfig, episodes: int) -> Line:
    """Success on levels that the agent never trained on."""
    found = transfer(agent, condition.levels, episodes, seed=config.seed)
    success = {level: result.success.value for level, result in found.items()}
    return {"success": success, "mean": float(np.mean(list(success.values())))}


def _modules(agent: Agent, condition: Condition, config: TrainConfig, episodes: int) -> Line | None:
    """What the active set tells; None for an agent without modules."""
    if agent.config.controller != "rim":
        return None
    played = watch_modules(agent, held_out_bank(condition.levels, episodes, config.train_levels), config.seed)
    found = specialisation(played, config.seed)
    return {
        "mean": float(np.mean([of.excess for of in found.values()])),
        "told": {label: of._asdict() for label, of in found.items()},
        "active": played.active[played.playing].mean(axis=0).tolist(),  # share of steps, of each module
    }


FOLLOW = {"adapt": _shift, "zero-shot": _zero_shot, "modules": _modules}
