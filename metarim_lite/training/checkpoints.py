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
import os
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor

from ..config import from_dict, to_dict
from ..errors import UserError, unknown
from ..models import Agent, AgentConfig

TENSORS, STATE = "checkpoint.safetensors", "state.json"


def make_folder(path: str | Path) -> Path:
    """A folder we may write to, made if needed.

    Raises:
        UserError: it cannot be made or written to.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"cannot write to {str(path)!r} ({error.strerror}); choose a folder you may write to") from None
    return path


def open_folder(folder: Path, config: Any, may_change: str | None) -> bool:
    """Write a config into a new folder, or compare it with the one that is there.

    Arguments:
        may_change: the setting that may differ, so that a run can be made longer. None: none may.

    Returns:
        Whether there is a checkpoint to go on from.

    Raises:
        UserError: the folder holds something else.
    """
    path, mine = folder / "config.json", to_dict(config)
    if path.exists():
        try:
            theirs = to_dict(from_dict(type(config), json.loads(path.read_text())))
        except (ValueError, TypeError) as error:
            raise UserError(f"{str(path)!r} is not the config of a run ({error}); choose another folder") from None
        for key in mine:
            if key != may_change and json.dumps(mine[key]) != json.dumps(theirs[key]):
                raise UserError(
                    f"{str(folder)!r} holds another run: its {key} is {theirs[key]!r}, this one's {mine[key]!r}; "
                    "choose another folder"
                )
    replace_file(path, json.dumps(mine, indent=1).encode())
    return (folder / STATE).exists()


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    Raises:
        UserError: the disk is full or the folder cannot be written to; the old file is untouched.
    """
    beside = path.with_name(path.name + ".part")
    try:
        with beside.open("wb") as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise UserError(
            f"could not write {str(path)!r} ({error.strerror}); what was there before is untouched"
        ) from None


def write_checkpoint(folder: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Replace the run's checkpoint by this one. `state` must go into JSON."""
    content = save_bytes({k: v.detach().cpu().contiguous() for k, v in tensors.items()})
    replace_file(folder / (TENSORS + ".next"), content)
    state = state | {"digest": hashlib.sha256(content).hexdigest()}
    replace_file(folder / STATE, json.dumps(state, indent=1).encode())
    (folder / (TENSORS + ".next")).replace(folder / TENSORS)


def read_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The checkpoint of a run: (tensors, state).

    Raises:
        UserError: a file is missing, damaged, or belongs to another checkpoint.
    """
    try:
        state = json.loads((folder / STATE).read_text())
        digest = state["digest"]
    except FileNotFoundError:
        raise UserError(
            f"{str(folder / STATE)!r} is missing; the checkpoint is incomplete, start the run in a new folder"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{str(folder / STATE)!r} is damaged (not the JSON of a run); start the run in a new folder"
        ) from None
    for name in (TENSORS, TENSORS + ".next"):
        path = folder / name
        content = path.read_bytes() if path.exists() else b""
        if hashlib.sha256(content).hexdigest() == digest:
            if path.name != TENSORS:
                path.replace(folder / TENSORS)
            return load_bytes(content), state
    raise UserError(
        f"{str(folder / TENSORS)!r} is damaged or foreign (it does not match field 'digest' of {STATE}); "
        "start the run in a new folder"
    )


def fill(target: dict[str, Tensor], saved: dict[str, Tensor], what: str) -> dict[str, Tensor]:
    """`saved`, after checking that it has the names, shapes and dtypes of `target` and finite numbers.

    Raises:
        UserError: naming the first field that differs.
    """
    for name, tensor in target.items():
        if name not in saved:
            raise UserError(f"{what} lacks the field {name!r}; it was not made by this configuration")
        got = saved[name]
        if got.shape != tensor.shape or got.dtype != tensor.dtype:
            raise UserError(
                f"{what}: field {name!r} is {got.dtype} {tuple(got.shape)}, expected {tensor.dtype} "
                f"{tuple(tensor.shape)}; it was made by another configuration"
            )
        if got.is_floating_point() and not got.isfinite().all():
            raise UserError(f"{what}: field {name!r} holds numbers that are not finite; it is damaged")
    for name in saved:
        if name not in target:
            raise UserError(f"{what} has an unexpected field {name!r}; it was made by another configuration")
    return saved


def optimizer_tensors(optimizer: torch.optim.Optimizer | None) -> dict[str, Tensor]:
    """An optimizer's memory as flat names: "<parameter number>.<what>"."""
    if optimizer is None:
        return {}
    return {f"{i}.{k}": v for i, slots in optimizer.state_dict()["state"].items() for k, v in slots.items()}


def load_optimizer(optimizer: torch.optim.Optimizer | None, saved: dict[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`."""
    if optimizer is None:
        return
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in saved.items():
        number, key = name.split(".", 1)
        state.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def save_agent(path: str | Path, agent: Agent, about: dict[str, str] | None = None) -> Path:
    """Write an agent (config and parameters) to one safetensors file.

    Arguments:
        path: where; ".safetensors" is appended when it has another ending.
        about: facts to keep with it, such as the command that made it.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        path = path.with_name(path.name + ".safetensors")
    make_folder(path.parent)
    header = {"agent": json.dumps(to_dict(agent.config)), "about": json.dumps(about or {})}
    tensors = {k: v.detach().cpu().contiguous() for k, v in agent.state_dict().items()}
    replace_file(path, save_bytes(tensors, metadata=header))
    return path


def shipped_agents() -> list[str]:
    """Names of the agents that come with the package."""
    folder = resources.files("metarim_lite.data")
    return sorted(f.name.removesuffix(".safetensors") for f in folder.iterdir() if f.name.endswith(".safetensors"))


def load_agent(path_or_name: str | Path, device: str = "cpu") -> Agent:
    """An agent from a file written by `save_agent`, or a shipped one by name.

    Raises:
        UserError: no such file or name (with the nearest names), or a damaged or foreign file.
    """
    path = Path(path_or_name)
    if not path.is_file():
        path = Path(str(resources.files("metarim_lite.data") / f"{path_or_name}.safetensors"))
        if not path.is_file():
            raise unknown("agent", path_or_name, shipped_agents())
    what = f"agent file {path.name!r}"
    content = path.read_bytes()
    try:
        saved = load_bytes(content)
        size = int.from_bytes(content[:8], "little")
        config = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["agent"])
    except (SafetensorError, ValueError, KeyError, TypeError):
        raise UserError(f"{what} is damaged or foreign; expected a file written by save_agent") from None
    agent = Agent(from_dict(AgentConfig, config))
    agent.load_state_dict(fill(agent.state_dict(), saved, what))
    return agent.to(device)
