"""What the study of fast modules and slow attention compares: settings of agents, in conditions.

A *setting* is a method of METHODS with some changes. A *condition* is what it is trained on and for how long; or what
the agents of another condition go through when they are trained, so that no frames are played twice for it. Which
settings meet in which condition follows from the claims (claims.py). How the runs are made: meta_study.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..config import overlay
from ..errors import unknown
from ..training.methods import METHODS
from ..training.trainer import TrainConfig
from .search import MIX
from .stages import ContinualConfig

Changes = tuple[tuple[str, Any], ...]

# Seeds of the tables. They are in no search and no pilot: those had 0 to 5, 101, 102 and 201 to 203.
SEEDS = (21, 22, 23, 24, 25, 26, 27, 28)
FEWER = SEEDS[:5]  # of all but the first six claims in the first two conditions
TUNING_SEEDS = (11, 12)  # in no table

# B belongs to what is compared: more worlds are larger batches and fewer updates. So it is fixed, for each device.
WORLDS = {"cpu": 256, "cuda": 1024}
HELD_OUT = 1000  # levels of each id that a finished agent plays
ON_THE_WAY = 200  # levels of each id at each point of the curve
POINTS = 20  # of the curve, at least, after its beginning

GO_TO, PICK_UP, PUT_NEXT = MIX
# A key, a locked door between two rooms, 288 steps. Random walks open 4 % of the doors, about 250 of those that fit
# into 2 M frames, and each of them ends with a reward; the instruction is always the same. The choice is checked by the
# first LSTM runs: it stands if they open 90 % at the end. Otherwise what comes of it says nothing about methods.
DOORS = "MiniGrid-Unlock-v0"
HARDER = (
    "BabyAI-GoToObjMazeS4R2-v0",
    "BabyAI-GoToObjMazeS4-v0",
    "BabyAI-PutNextLocalS6N4-v0",
    "BabyAI-PutNextLocal-v0",
)
"""Doors between agent and object, in four rooms and in nine; the same act among more objects in a larger room."""


@dataclass(frozen=True)
class Condition:
    """What is trained, or what becomes of agents that were."""

    about: str
    """One sentence."""
    levels: tuple[str, ...]
    """Level ids: in one batch; of a "sequence", one after the other; of "adapt", the new one."""
    frames: int = 0
    """Of training; of a "sequence", in each stage; of "adapt", of experience with the new level."""
    kind: str = "train"
    """"train", or "sequence"; "adapt", "zero-shot" or "modules": what agents of `of` go through."""
    of: str = ""
    """The condition whose trained agents it takes; empty: it trains its own."""
    changes: Changes = ()
    """Settings of TrainConfig, by dotted name, of every run in it."""


CONDITIONS: dict[str, Condition] = {
    "mix": Condition("Go to, pick up, put next to: three tasks in one batch.", MIX, 4_000_000),
    "local": Condition("Go to an object in a room of many, one task alone.", (GO_TO,), 2_000_000),
    "pair": Condition("Two of the mix's tasks, go to and put next to; the third is kept for later.",
                      (GO_TO, PUT_NEXT), 3_000_000),
    "shift": Condition("After the pair: pick up, whose words and goal are new, whose acts are not; by the method's own "
                       "clocks.", (PICK_UP,), 200_000, "adapt", "pair"),
    "mix-long-memory": Condition("The mix, with a memory that lives across the episodes of a task (in training: levels "
                                 "to be judged on are played once each, with a memory that is empty).", MIX, 4_000_000,
                                 changes=(("timescales.memory", "task"),)),
    "doors": Condition("Find the key, unlock the door.", (DOORS,), 2_000_000),
    "sequence": Condition("Three small levels, one after the other; a mission ends by another act in each.",
                          ContinualConfig.tasks, 300_000, "sequence"),
    "harder": Condition("Agents of the mix in harder levels, which they never trained on.", HARDER,
                        kind="zero-shot", of="mix"),
    "modules": Condition("Agents of the mix at play: which modules are active, and when.", MIX, kind="modules",
                         of="mix"),
}  # fmt: skip
"""In the order of their importance for what the course says."""


@dataclass(frozen=True)
class Setting:
    """One row of a table: how an agent is made and learns."""

    method: str
    changes: Changes = ()
    """Settings of TrainConfig, by dotted name. A value of TUNED is what a search found for the condition."""
    about: str = ""
    fixed_rates: bool = False
    """Whether its rates are part of the question, so that those that a search found do not count."""


TUNED = "tuned"
LEARNS_AT = 2e-3  # α of claim 13: where an LSTM learns best, and a RIM whose attention learns as fast learns worst
SLOW = 0.1  # of α: what slow means in claim 13
PARTS = {
    "queries": ("attention.W_q", "attention.b_q"),
    "keys": ("attention.W_e",),
    "values": ("attention.W_v",),
    "communication": ("attention.C_",),
}
"""Of θ_A, as groups of `TimeScales`: what a module asks, what of the input answers, what of it is read, and all that
modules say to each other."""


def _rates_of_attention(usual: float, part: str = "", its: float = 1.0) -> Changes:
    """Attention on the one clock at `usual` times its rate α, one part of it at `its`."""
    own = PARTS[part] if part else ()
    slower = [(group, factor) for group, factor in (("attention", usual), *((g, its) for g in own)) if factor != 1.0]
    fast = ("encoder", "modules", "attention", *own, "heads")
    scales = {"fast": fast, "fast_lr": LEARNS_AT, "slower": tuple(slower)}
    return tuple((f"timescales.{name}", value) for name, value in scales.items())


def _modules(count: int, active: int, size: int) -> Changes:
    return (("agent.num_modules", count), ("agent.active", active), ("agent.hidden_size", size))


SETTINGS: dict[str, Setting] = {name: Setting(name, about=method.about) for name, method in METHODS.items()}
SETTINGS |= {
    "rim, k tuned": Setting("rim", (("agent.active", TUNED),), "a RIM, with the k that a search found for the level"),
    **{
        f"rim, k = {k}": Setting("rim", (("agent.active", k),), f"a RIM, {k} of its 6 modules active")
        for k in (1, 2, 6)
    },
    "rim, 2 of 3": Setting("rim", _modules(3, 2, 64), "a RIM as wide in all, of 3 modules, 2 of them active"),
    "rim, 8 of 12": Setting("rim", _modules(12, 8, 16), "a RIM as wide in all, of 12 modules, 8 of them active"),
    **{
        f"meta-rim, 1 in {n + 1}": Setting(
            "meta-rim", (("timescales.slow_every", n),), f"meta-rim, a slow tick after every {n} fast ones"
        )
        for n in (1, 16)
    },
    **{
        f"meta-rim, span {span}": Setting(
            "meta-rim", (("timescales.slow_span", span),), f"meta-rim, slow spans of {span} steps"
        )
        for span in (20, 160)
    },
    "attention fast": Setting("rim", _rates_of_attention(1.0), "one clock, everything at 2e-3", True),
    "attention slow": Setting("rim", _rates_of_attention(SLOW), "one clock, all of attention at a tenth", True),
    **{
        f"{part} slow": Setting("rim", _rates_of_attention(1.0, part, SLOW), f"one clock, {part} at a tenth", True)
        for part in PARTS
    },
    **{
        f"{part} fast": Setting(
            "rim", _rates_of_attention(SLOW, part), f"one clock, all of attention but {part} at a tenth", True
        )
        for part in PARTS
    },
}


def setting(name: str) -> Setting:
    """The setting of this name; a method that was added to METHODS is one, too.

    Raises:
        UserError: there is none (with the nearest names).
    """
    if name in SETTINGS:
        return SETTINGS[name]
    if name in METHODS:
        return Setting(name, about=METHODS[name].about)
    raise unknown("method", name, SETTINGS)


def with_changes(config: TrainConfig, changes: Changes) -> TrainConfig:
    """A config with these settings, by dotted name, all at once: one may need another.

    Raises:
        UserError: an unknown setting, or settings that do not go together.
    """
    values: dict[str, Any] = {}
    for name, value in changes:
        table = values
        *tables, last = name.split(".")
        for word in tables:
            table = table.setdefault(word, {})
        table[last] = value
    return overlay(config, values)


def training_condition(name: str) -> str:
    """The condition whose runs hold what this one says: itself, or the one whose agents it takes.

    Raises:
        UserError: there is no such condition (with the nearest names).
    """
    if name not in CONDITIONS:
        raise unknown("condition", name, CONDITIONS)
    return CONDITIONS[name].of or name


def afterwards(name: str) -> Sequence[str]:
    """The conditions that the agents of this one go through when they are trained."""
    return [other for other, condition in CONDITIONS.items() if condition.of == name]
