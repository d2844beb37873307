"""Which runs the study of fast and slow consists of, in which order, and exactly how each is made.

What is asked follows from the claims. The order is by importance, and inside a block seed by seed over all settings:
wherever the study is cut short, there is something of every row that was begun. The seeds that only some rows have come
last.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from ..config import from_dict, to_dict
from ..errors import UserError
from ..files import read_text
from ..training.trainer import TrainConfig
from . import conditions
from .claims import CLAIMS, seeds_of
from .conditions import CONDITIONS, FEWER, TUNED, Changes, afterwards, setting, training_condition, with_changes
from .many import NamedRun
from .meta_run import train_and_follow, train_in_sequence
from .shipped import DATA
from .stages import ContinualConfig

log = logging.getLogger(__name__)

BLOCKS: tuple[tuple[tuple[int, ...], str], ...] = (
    ((1, 2, 3, 4, 5, 6), "mix"),
    ((1, 2, 3, 4, 5, 6), "local"),
    ((13,), "mix"),
    ((1,), "pair"),
    ((8,), "sequence"),
    ((1,), "doors"),
    ((7,), "mix"),
    ((7,), "local"),
    ((1,), "mix-long-memory"),
    ((11,), "mix"),
    ((12,), "mix"),
    ((9, 10), "mix"),
)
"""Claims and the condition that trains for them, the most important first."""
TUNING = DATA / "meta-tuning.json"
K_TUNED = "rim, k tuned"
OF_K = {2: "rim, k = 2", 4: "rim", 6: "rim, k = 6"}  # the settings that have so many active: their runs count for it
POINTS_OF_STAGE = 10  # of the curve of each stage of a sequence, at least


class Asked(NamedTuple):
    """One run."""

    condition: str
    setting: str
    seed: int


@dataclass(frozen=True)
class Tuning:
    """What a search chose, before the study, on seeds that are in no table. See meta_tuning.py."""

    rates: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Method -> settings of TrainConfig by dotted name."""
    k: dict[str, int] = field(default_factory=dict)
    """Condition -> k of a RIM."""
    tried: tuple[dict[str, Any], ...] = ()
    """Everything that was tried: method, condition, changes, and the area of each seed."""
    frames: int = 0
    """Of each of these runs."""

    def changes(self, name: str) -> Changes:
        """The rates of a setting: those of its method, unless its own are part of the question."""
        chosen = setting(name)
        return () if chosen.fixed_rates else tuple(self.rates.get(chosen.method, {}).items())


def read_tunings(path: Path | None = None) -> dict[str, Tuning]:
    """What was chosen for each kind of device; {} where no search was made. Default: what comes with the package.

    Raises:
        UserError: the file is damaged.
    """
    path = path or TUNING
    if not path.is_file():
        return {}
    try:
        return {device: from_dict(Tuning, values) for device, values in json.loads(read_text(path)).items()}
    except (ValueError, AttributeError) as error:
        raise UserError(f"{str(path)!r} is damaged ({error}); delete it and make it again with --tune") from None


def stand_in(asked: Asked, tuning: Tuning) -> Asked | None:
    """The run that counts for this one: no run is made twice under two names. None: it cannot be made yet."""
    if asked.setting != K_TUNED:
        return asked
    k = tuning.k.get(asked.condition)
    return None if k is None else asked._replace(setting=OF_K[k])


def plan(
    names: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    tuning: Tuning | None = None,
) -> list[Asked]:
    """The runs, in order.

    Args:
        names: conditions; None: all. One that takes the agents of another asks for those.
        methods: settings; None: those that a claim compares there. Named together with conditions, each of them runs in
            each of these, whether a claim compares it there or not.
        seeds: None: those of the tables.
        tuning: what k was chosen; None: none.

    Raises:
        UserError: an unknown condition or setting, a seed named twice or of the search, or nothing to run.
    """
    for name in methods or ():
        setting(name)
    if seeds is not None and (len(set(seeds)) < len(seeds) or set(seeds) & set(conditions.TUNING_SEEDS)):
        raise UserError(f"seeds {tuple(seeds)} name one twice, or one of the search; name others, each once")
    blocks = list(_blocks(names, methods))
    if not any(pairs for pairs in blocks):
        named = ", ".join(methods or ())
        raise UserError(f"no claim compares {named}; name a condition, too, to run it all the same")
    asked: dict[Asked, None] = {}
    for late in (False, True):
        for pairs in blocks:
            own = {pair: seeds if seeds is not None else seeds_of(*pair) or FEWER for pair in pairs}
            all_seeds = sorted({seed for of in own.values() for seed in of})
            for seed in all_seeds:
                if (seeds is None and seed not in FEWER) == late:
                    asked |= {Asked(*pair, seed): None for pair in pairs if seed in own[pair]}
    found = {one: stand_in(one, tuning or Tuning()) for one in asked}
    if None in found.values():
        log.warning("%s: not run, since no k was chosen; metarim study meta --tune does", K_TUNED)
    return list(dict.fromkeys(one for one in found.values() if one is not None))


def _blocks(names: Sequence[str] | None, methods: Sequence[str] | None) -> Iterator[list[tuple[str, str]]]:
    """Pairs of condition and setting, block by block."""
    if names is not None and methods is not None:
        yield list(dict.fromkeys((training_condition(name), method) for name in names for method in methods))
        return
    wanted = None if names is None else {training_condition(name): set() for name in names}
    for name in names or ():
        wanted[training_condition(name)] |= {name} | (
            {*afterwards(name)} if training_condition(name) == name else set()
        )
    for numbers, condition in BLOCKS:
        pairs = [
            (condition, name)
            for claim in CLAIMS
            for c in claim.comparisons
            if claim.number in numbers and training_condition(c.condition) == condition
            and (wanted is None or c.condition in wanted.get(condition, ()))
            for name in c.settings
            if methods is None or name in methods
        ]  # fmt: skip
        yield list(dict.fromkeys(pairs))


def config_of(asked: Asked, tuning: Tuning, device: str) -> TrainConfig:
    """All settings of a run.

    Args:
        device: "cpu" or "cuda".

    Raises:
        UserError: settings that do not go together.
    """
    condition, chosen = CONDITIONS[asked.condition], setting(asked.setting)
    points = POINTS_OF_STAGE if condition.kind == "sequence" else conditions.POINTS
    config = TrainConfig(
        method=chosen.method,
        level=",".join(condition.levels),
        frames=condition.frames,
        seed=asked.seed,
        device=device,
        threads=1,
        num_envs=conditions.WORLDS[device],
        evaluate_every=max(1, condition.frames // points),
        evaluate_episodes=conditions.ON_THE_WAY,
    )
    own = tuple(change for change in chosen.changes if change[1] != TUNED)
    config = with_changes(config, (*condition.changes, *tuning.changes(asked.setting), *own))
    return with_reports(config)


def with_reports(config: TrainConfig) -> TrainConfig:
    """A config that reports about as often as it is to be evaluated, which happens at reports."""
    return replace(config, report_every=max(1, config.evaluate_every // (config.num_envs * config.steps)))


def named_run(asked: Asked, folder: Path, tuning: Tuning, device: str) -> NamedRun:
    """A run, ready to be finished (many.py)."""
    condition, chosen, config = CONDITIONS[asked.condition], setting(asked.setting), config_of(asked, tuning, device)
    if condition.kind == "sequence":
        sequence = ContinualConfig(replace(config, level=TrainConfig.level), condition.levels, condition.frames)
        finish, settings = train_in_sequence, {"config": to_dict(sequence)}
        length, pinned = condition.frames * len(condition.levels), sequence.pinned()
    else:
        then = {name: to_dict(CONDITIONS[name]) for name in afterwards(asked.condition)}
        settings = {"config": to_dict(config), "episodes": conditions.HELD_OUT, "afterwards": then}
        finish, length, pinned = train_and_follow, config.frames, config.pinned()
    about = {
        "condition": asked.condition,
        "setting": asked.setting,
        "method": chosen.method,
        "varied": dict(chosen.changes),
        "seed": asked.seed,
        "device": device,
        "num_envs": config.num_envs,
        "tuned": bool(tuning.changes(asked.setting)),
        "settings": digest(settings, pinned, asked.seed),
    }
    name = run_name(asked, device)
    return NamedRun(name, folder / "runs" / name, finish, settings, about, 1, ("frames", length))


def run_name(asked: Asked, device: str) -> str:
    """As in "mix/rim-k-2-s21", and with "-cuda" on a GPU."""
    words = "".join(letter if letter.isalnum() else " " for letter in asked.setting).split()
    return f"{asked.condition}/{'-'.join([*words, f's{asked.seed}'])}" + ("" if device == "cpu" else f"-{device}")


def digest(settings: dict[str, Any], pinned: dict[str, Any], seed: int) -> str:
    """Of all settings but the seed: runs that have the same may stand in one row."""
    text = json.dumps([settings, pinned], sort_keys=True).replace(f'"seed": {seed},', "")
    return hashlib.sha256(text.encode()).hexdigest()[:12]
