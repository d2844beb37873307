"""Agents that come with the package: NAME.safetensors, and NAME.json that says how each was made."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ..config import from_dict
from ..errors import UserError, unknown
from ..files import read_text, user_path, write_json
from ..runs.checkpoints import load_agent, read_about, read_checkpoint, save_agent
from ..runs.pins import read_config
from ..training.banks import held_out_bank
from ..training.evaluation import evaluate
from ..training.trainer import TrainConfig
from .commands import command_of

DATA = Path(str(resources.files("metarim_lite.data")))
CURVE = ("frames", "success", "reward", "length", "seconds")


@dataclass(frozen=True)
class ShippedRun:
    """How a shipped agent was made and how well it does."""

    command: str
    """The command that made it."""
    config: dict[str, Any]
    metrics: tuple[dict[str, float], ...]
    """Its learning curve, thinned."""
    held_out: dict[str, Any]
    """Success on held-out levels: value, low, high, episodes; of newer ones seen, the share that training had."""

    @property
    def frames(self) -> int:
        return int(self.metrics[-1]["frames"])


def shipped_run(name: str) -> ShippedRun:
    """The record of a shipped agent.

    Raises:
        UserError: no agent of this name is shipped (with the nearest names).
    """
    path = DATA / f"{name}.json"
    if not path.is_file():
        raise unknown("shipped agent", name, (p.stem for p in DATA.glob("*.safetensors")))
    return from_dict(ShippedRun, json.loads(read_text(path)))


def ship(folder: str | Path, name: str, episodes: int = 1000) -> ShippedRun:
    """Put the agent of a finished run among the shipped ones, with its command, curve and held-out success.

    Its numbers are kept at half precision, and its success is that of what is kept.

    Raises:
        UserError: the folder holds no finished run.
    """
    folder = user_path(folder)
    if not (folder / "agent.safetensors").is_file():
        raise UserError(f"{str(folder)!r} holds no finished run; finish it with metarim train first")
    agent = load_agent(folder / "agent.safetensors").half()
    raw = json.loads(read_text(folder / "config.json"))
    config, _ = read_config(TrainConfig, folder / "config.json")
    played = read_checkpoint(folder)[1]["counters"]["frames"]
    if played < config.frames:  # the agent is one of a shorter run, as older versions left it there
        raise UserError(f"the run in {str(folder)!r} is at {played:,} of {config.frames:,} frames; finish it first")
    held_out = held_out_bank(config.levels, episodes, config.train_levels, progress=True)
    result = evaluate(copy.deepcopy(agent).float(), held_out, len(held_out))
    lines = [json.loads(line) for line in read_text(folder / "metrics.jsonl").splitlines()]
    thinned = [*lines[:-1][:: max(1, len(lines) // 40)], lines[-1]]
    record = {
        "command": command_of(config),
        "config": raw,
        "metrics": [{k: round(line[k], 4) for k in CURVE if k in line} for line in thinned],
        "held_out": {**result.success._asdict(), "episodes": len(held_out), "seen": result.seen},
    }
    about = {"command": record["command"], "level": config.level, "train_levels": str(config.train_levels)}
    save_agent(DATA / name, agent, about)
    write_json(DATA / f"{name}.json", record)
    return shipped_run(name)


def trained_on(path_or_name: str | Path) -> dict[str, int]:
    """Level ids that an agent was trained on, as far as its file tells, and how many levels of each (seeds 0, 1, …).

    Raises:
        UserError: as `load_agent`.
    """
    if not user_path(path_or_name).exists() and (DATA / f"{path_or_name}.json").is_file():
        config = shipped_run(str(path_or_name)).config
        levels, count = config["level"], config["train_levels"]
    else:
        about = read_about(path_or_name)
        levels = about.get("level", about.get("tasks", ""))
        count = int(about.get("train_levels", TrainConfig.train_levels))
    return {level.strip(): count for level in levels.split(",") if level.strip()}
