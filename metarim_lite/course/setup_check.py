"""Is everything there that the course needs? One line each, the same on every machine that is set up."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib import metadata

from .probing import undisturbed

# distribution -> the oldest version that will do, and the command that mends it
NEEDED = (
    ("torch", (2, 6)),
    ("minigrid", (3, 2)),
    ("matplotlib", (3,)),
    ("ipywidgets", (7, 7)),
)


def setup_check() -> bool:
    """Print a line per requirement, with what to do about those that are missing; True when all are there."""
    lines = [(f"python {_text((3, 11))} or newer", sys.version_info[:2] >= (3, 11), "install a newer Python")]
    lines += [
        (f"{name} {_text(oldest)} or newer", _new_enough(name, oldest), _mend(name, oldest)) for name, oldest in NEEDED
    ]
    lines += [
        ("a world can be made and stepped", *_works(_make_a_world)),
        ("an agent can look at it and act", *_works(_make_an_agent)),
    ]
    for what, there, mend in lines:
        print(f"{what:<34} {'yes' if there else 'NO: ' + mend}")
    ready = all(there for _, there, _ in lines)
    print("\nYou are set up." if ready else "\nMend the lines that say NO, restart the kernel, run this cell again.")
    return ready


def version_numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: "2.13.0+cpu" -> (2, 13, 0)."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()


def _new_enough(name: str, oldest: tuple[int, ...]) -> bool:
    try:
        return version_numbers(metadata.version(name)) >= oldest
    except metadata.PackageNotFoundError:
        return False


def _mend(name: str, oldest: tuple[int, ...]) -> str:
    return f"pip install -U '{name}>={_text(oldest)}'"


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _works(attempt: Callable[[], None]) -> tuple[bool, str]:
    try:
        with undisturbed():
            attempt()
    except Exception as error:  # whatever it is, the student should read it here
        return False, f"{type(error).__name__}: {error}"
    return True, ""


def _make_a_world() -> None:
    import torch

    from ..envs import GridWorlds, LevelBank

    worlds = GridWorlds(LevelBank.generate("BabyAI-GoToLocal-v0", seeds=range(2)), num_envs=2)
    worlds.reset()
    worlds.step(torch.zeros(2, dtype=torch.int64))


def _make_an_agent() -> None:
    import torch

    from ..envs import GridWorlds, LevelBank
    from ..models import Agent, AgentConfig, act

    worlds = GridWorlds(LevelBank.generate("BabyAI-GoToLocal-v0", seeds=range(2)), num_envs=2)
    out, _ = act(Agent(AgentConfig()), worlds.reset(), None, torch.ones(2, dtype=torch.bool))
    if out.logits.shape != (2, 7):
        raise RuntimeError(f"logits of shape {tuple(out.logits.shape)}")
