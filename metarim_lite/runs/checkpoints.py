"""Agents and runs on disk: safetensors for numbers, JSON for the rest, no pickle, never half a file.

A run's checkpoint is two files, `checkpoint.safetensors` and `state.json`. They must belong together even
if the process is killed between writing one and the other, so `state.json` holds the digest of its
tensors, and the switch goes in three steps, each atomic:

    1. write the tensors beside the old ones, as `checkpoint.safetensors.next`
    2. replace `state.json` (now it names the new tensors)
    3. rename `.next` to `checkpoint.safetensors`

Killed before 2, the old pair is whole; killed before 3, reading finishes the rename.
"""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor, nn

from ..config import from_dict, to_dict
from ..errors import UserError, unknown
from ..files import make_folder, read_file, replace_file, user_path, write_json
from ..flat import fill
from ..machine import check_device
from ..models import Agent, AgentConfig

TENSORS, STATE = "checkpoint.safetensors", "state.json"

# Agents written before their config named these were made so.
BEFORE_MESSAGES = {"output_gate": "none", "message_scale": 1.0}


def write_checkpoint(folder: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Replace the run's checkpoint by this one. `state` must go into JSON."""
    content = save_bytes({k: v.detach().cpu().contiguous() for k, v in tensors.items()})
    replace_file(folder / (TENSORS + ".next"), content)
    write_state(folder, state | {"digest": hashlib.sha256(content).hexdigest()})
    (folder / (TENSORS + ".next")).replace(folder / TENSORS)


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Replace state.json alone; `state` has the digest of its tensors."""
    write_json(folder / STATE, state)


def read_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The checkpoint of a run: (tensors, state).

    Raises:
        UserError: a file is missing, damaged, cannot be read, or belongs to another checkpoint.
    """
    try:
        content = read_file(folder / STATE)
    except FileNotFoundError:
        raise UserError(
            f"{str(folder / STATE)!r} is missing; the checkpoint is incomplete, start the run in a new folder"
        ) from None
    try:
        state = json.loads(content)
        digest = state["digest"]
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{str(folder / STATE)!r} is damaged (not the JSON of a run); start the run in a new folder"
        ) from None
    for name in (TENSORS, TENSORS + ".next"):
        path = folder / name
        content = read_file(path) if path.exists() else b""
        if hashlib.sha256(content).hexdigest() == digest:
            if path.name != TENSORS:
                path.replace(folder / TENSORS)
            try:
                return load_bytes(content), state
            except SafetensorError:
                raise UserError(f"{str(path)!r} is foreign (not the tensors of a run); start a new folder") from None
    raise UserError(
        f"{str(folder / TENSORS)!r} is damaged or foreign (it does not match field 'digest' of {STATE}); "
        "start the run in a new folder"
    )


def write_model(path: str | Path, model: nn.Module, header: dict[str, Any]) -> Path:
    """Write parameters to one safetensors file, with `header` as JSON in it; ".safetensors" is appended to `path`."""
    path = user_path(path)
    if path.suffix != ".safetensors":
        path = path.with_name(path.name + ".safetensors")
    make_folder(path.parent)
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    replace_file(path, save_bytes(tensors, metadata={k: json.dumps(v) for k, v in header.items()}))
    return path


def read_model(path: Path, key: str, made_by: str) -> tuple[dict[str, Tensor], Any]:
    """Parameters and the field `key` of the header, from a file written by `write_model`.

    A file may hold its numbers at half precision, to be smaller; they come back as float32.

    Raises:
        UserError: the file is damaged, foreign, or cannot be read.
    """
    content = read_file(path)
    try:
        saved = {k: v.float() if v.dtype == torch.float16 else v for k, v in load_bytes(content).items()}
        size = int.from_bytes(content[:8], "little")
        return saved, json.loads(json.loads(content[8 : 8 + size])["__metadata__"][key])
    except (SafetensorError, ValueError, KeyError, TypeError):
        raise UserError(f"{key} file {path.name!r} is damaged or foreign; expected one written by {made_by}") from None


def save_agent(path: str | Path, agent: Agent, about: dict[str, str] | None = None) -> Path:
    """Write an agent (config and parameters) to one safetensors file. One that was compiled to learn is not compiled
    to play: that takes half a minute.

    Args:
        path: where; ".safetensors" is appended when it has another ending.
        about: facts to keep with it, such as the command that made it.
    """
    config = to_dict(agent.config)
    config["kernel"] = "auto" if config["kernel"] == "compiled" else config["kernel"]
    return write_model(path, agent, {"agent": config, "about": about or {}})


def shipped_agents() -> list[str]:
    """Names of the agents that come with the package."""
    names = (f.name for f in resources.files("metarim_lite.data").iterdir())
    models = (name.removesuffix(".safetensors") for name in names if name.endswith(".safetensors"))
    return sorted(name for name in models if not name.startswith("study-"))  # those are models of sequence tasks


def load_agent(path_or_name: str | Path, device: str = "cpu") -> Agent:
    """An agent from a file written by `save_agent`, that of a finished run's folder, or a shipped one by name.

    Raises:
        UserError: no such file, name (with the nearest names) or device, a damaged or foreign file, or a run that is
            not finished.
    """
    path = _agent_file(path_or_name)
    saved, config = read_model(path, "agent", "save_agent")
    agent = Agent(from_dict(AgentConfig, BEFORE_MESSAGES | config))
    agent.load_state_dict(fill(agent.state_dict(), saved, f"agent file {path.name!r}"))
    return agent.to(check_device(device))


def read_about(path_or_name: str | Path) -> dict[str, str]:
    """The facts that `save_agent` kept with an agent.

    Raises:
        UserError: as `load_agent`.
    """
    return read_model(_agent_file(path_or_name), "about", "save_agent")[1]


def _agent_file(path_or_name: str | Path) -> Path:
    path = user_path(path_or_name)
    if (path / "agent.safetensors").is_file():
        return path / "agent.safetensors"
    if path.is_file():
        return path
    if (path / "config.json").is_file():
        raise UserError(f"the run in {str(path_or_name)!r} has no agent before it is finished; go on with it first")
    path = Path(str(resources.files("metarim_lite.data") / f"{path_or_name}.safetensors"))
    if not path.is_file():
        raise unknown("agent", path_or_name, shipped_agents())
    return path


def start_from(agent: Agent, path_or_name: str | Path) -> None:
    """Give an agent the parameters of another, as `load_agent` finds it.

    Raises:
        UserError: as `load_agent`; the other has other sizes.
    """
    other = load_agent(path_or_name)
    mine, theirs = to_dict(agent.config), to_dict(other.config)
    for name in mine:
        if name != "kernel" and mine[name] != theirs[name]:
            raise UserError(
                f"cannot start from {str(path_or_name)!r}: its AgentConfig.{name} is {theirs[name]!r}, this agent's "
                f"{mine[name]!r}; make them equal"
            )
    agent.load_state_dict(other.state_dict())
