"""What a config leaves to the machine: how many worlds there are, and whether a RIM is compiled.

A run that goes on keeps what it began with: once filled in, both stand in its config.json.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from ..compiling import can_compile
from ..files import user_path
from ..machine import choose_device, memory_of
from ..runs.pins import read_config
from .methods import method

C = TypeVar("C")
USUAL_WORLDS, MOST_WORLDS = 256, 2048
LEAST_ROLLOUTS = 150  # of a run: whoever learns from few, large ones makes few updates
BYTES_OF_A_WORLD = 2 * 2**20  # room for its share of a rollout and of a minibatch: an estimate, on the large side
COMPILED_FROM = 3_000_000  # frames on a CPU: compiling takes some 20 s, and saves a sixth of the time
ROLLOUTS_COMPILED_FROM = 500  # on a GPU, where it saves some 60 ms of each, however many worlds there are


def fitted(config: C, folder: str | Path | None = None) -> C:
    """A TrainConfig without gaps: `num_envs` is not 0, and `agent.kernel` not "auto".

    Args:
        folder: of the run. What it began with holds.
    """
    c: Any = config
    path = None if folder is None else user_path(folder) / "config.json"
    begun = read_config(type(c), path)[0] if path is not None and path.exists() else c
    kernel = begun.agent.kernel if c.agent.kernel == "auto" else c.agent.kernel
    c = with_worlds(replace(c, num_envs=c.num_envs or begun.num_envs))
    if kernel == "auto":
        on = choose_device(c.device).type
        enough = COMPILED_FROM if on == "cpu" else ROLLOUTS_COMPILED_FROM * c.num_envs * c.steps
        pays = c.frames >= enough and method(c.method).controller == "rim" and c.scales.adaptation == "online"
        kernel = "compiled" if pays and can_compile(on) else "fused"
    return replace(c, agent=replace(c.agent, kernel=kernel))


def with_worlds(config: C) -> C:
    """A TrainConfig whose `num_envs` is not 0."""
    c: Any = config
    return c if c.num_envs else replace(c, num_envs=worlds_for(choose_device(c.device), c.frames, c.steps))


def worlds_for(device: torch.device, frames: int, steps: int) -> int:
    """On a GPU as many as it has memory for, which makes it fast, while enough rollouts remain to learn from."""
    worlds = USUAL_WORLDS
    if device.type != "cuda":
        return worlds
    room = min(MOST_WORLDS, memory_of(device) // BYTES_OF_A_WORLD, frames // (steps * LEAST_ROLLOUTS))
    while 2 * worlds <= room:
        worlds *= 2
    return worlds
