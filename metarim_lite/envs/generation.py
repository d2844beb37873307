"""Levels come from minigrid's own generators: which are supported; make an environment quietly, reset it, pack what it
made."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import UserError, unknown
from ..machine import in_processes
from . import missions
from .cells import EMPTY, MAX_SLOTS, make_cell
from .missions import NO_RULE, OPEN, PICK_UP, Atom, Program, encode_mission, pack_instruction, program
from .storage import TABLES

REFUSED = {
    "MiniGrid-Dynamic-Obstacles": "its obstacles move by themselves, with random numbers drawn at every step",
    "MiniGrid-WFC": "it is made by wave function collapse, which needs packages that minigrid does not install",
}

NOWHERE = (-1, -1)
MOST_DRAWS = 500_000  # of random numbers in one reset; the longest that ends needs a few thousand


@functools.cache
def registered() -> tuple[str, ...]:
    """Every id that minigrid registers, sorted."""
    import gymnasium
    import minigrid  # noqa: F401  (importing it registers its levels)

    return tuple(sorted(i for i in gymnasium.registry if i.startswith(("BabyAI-", "MiniGrid-"))))


def supported(prefix: str = "") -> tuple[str, ...]:
    """The ids of the supported levels that start with `prefix`.

    >>> len(supported("BabyAI-"))
    96
    """
    return tuple(i for i in registered() if i.startswith(prefix) and not i.startswith(tuple(REFUSED)))


def check_level_id(level_id: str) -> None:
    """
    Raises:
        UserError: an id that minigrid does not register (with the nearest that it does), or one that is not supported
            (with the reason); BABYAI_DONE_ACTIONS is set.
    """
    if os.environ.get("BABYAI_DONE_ACTIONS"):
        raise UserError("BABYAI_DONE_ACTIONS is set, which changes when minigrid's missions succeed; unset it")
    if level_id not in registered():
        raise unknown("level", level_id, supported())
    for reason in (why for prefix, why in REFUSED.items() if level_id.startswith(prefix)):
        raise UserError(f"level {level_id!r} is not supported: {reason}; see metarim_lite.envs.supported()")


class EndlessReset(UserError):
    """minigrid looks for ever for a place that its own level does not have."""


def _quiet() -> contextlib.redirect_stdout:
    """Swallows what minigrid's rejection samplers print ("Sampling rejected: ...")."""
    return contextlib.redirect_stdout(io.StringIO())


def make_minigrid(level_id: str) -> Any:
    """minigrid's environment of this id, without gymnasium's wrappers (their time limit and checks).

    Its `reset` keeps silent, and raises `EndlessReset` where minigrid's would never return: with a few seeds a small
    room is so full that no place is left for the agent. Everything else is minigrid's.

    Raises:
        UserError: as `check_level_id`.
    """
    check_level_id(level_id)
    import gymnasium

    with _quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # gymnasium advises newer versions of some ids
        env = gymnasium.make(level_id, disable_env_checker=True).unwrapped
    reset, draw, drawn = env.reset, env._rand_int, 0

    def quiet_reset(**kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        nonlocal drawn
        drawn = 0
        with _quiet():
            return reset(**kwargs)

    def counted_draw(low: int, high: int) -> int:
        nonlocal drawn
        drawn += 1
        if drawn > MOST_DRAWS:
            raise EndlessReset(f"minigrid never finishes a level of {level_id!r} with this seed; leave the seed out")
        return draw(low, high)

    env.reset, env._rand_int = quiet_reset, counted_draw
    return env


def objects_of(env: Any) -> list[Any]:
    """The objects that can be named, in slot order (the first has slot 1): those on the grid row by row, then the
    one carried from the start, then what is hidden in boxes.
    """
    found = [thing for thing in env.grid.grid if thing is not None and thing.type in ("door", "key", "ball", "box")]
    if env.carrying is not None:
        found.append(env.carrying)
    return found + [thing.contains for thing in found if thing.contains is not None]


def pack_level(env: Any) -> dict[str, np.ndarray]:
    """What minigrid made at the last reset of `env`: tables of one row (storage.py), but for task and seed.

    Raises:
        UserError: the level holds something that the simulation does not know.
    """
    things = objects_of(env)
    if len(things) > MAX_SLOTS:
        raise UserError(f"a level holds at most {MAX_SLOTS} objects, this one has {len(things)}; use a smaller level")
    slot_of = {id(thing): slot for slot, thing in enumerate(things, start=1)}

    def cell(thing: Any) -> int:
        if thing is None:
            return EMPTY
        return make_cell(thing.type, thing.color, thing.encode()[2], slot_of.get(id(thing), 0))

    cells = np.array([cell(thing) for thing in env.grid.grid]).reshape(env.height, env.width)
    carried_from = NOWHERE
    if env.carrying is not None:  # minigrid's first observation still shows it on the floor
        x, y = carried_from = tuple(env.carrying.init_pos)
        cells[y, x] = cell(env.carrying)
    goal = pack_goal(env, slot_of)
    level = {
        "cells": cells,
        "size": (env.width, env.height),
        "agent": (*env.agent_pos, env.agent_dir),
        "carried_from": carried_from,
        "max_steps": env.max_steps,
        "see_through": env.see_through_walls,
        **goal._asdict(),
        **goal.program._asdict(),
        "contents": [EMPTY, *(cell(thing.contains) for thing in things)],
        "mission": encode_mission(env.mission).numpy(),
    }
    return {name: np.array([level[name]], dtype=dtype) for name, (dtype, _) in TABLES.items() if name in level}


class Goal(NamedTuple):
    """How a level ends. Without arguments: on a goal, in lava, or with the time."""

    program: Program = program(Atom(done=0))
    rule: int = NO_RULE
    target: tuple[int, int] = NOWHERE
    trap: tuple[int, int] = NOWHERE


def pack_goal(env: Any, slot_of: dict[int, int]) -> Goal:
    """How this level ends: its program, its extra rule, and the one or two places that rule speaks of.

    BabyAI levels carry an instruction; minigrid's own levels decide in their `step`, each in its own way. The objects
    that an extra rule speaks of are the second set of an atom that can never be completed.
    """
    from minigrid import envs

    def mask(*things: Any) -> int:
        return sum(1 << slot_of[id(thing)] for thing in things)

    def matching(kind: str, colour: str) -> int:
        return mask(*(thing for thing in objects_of(env) if (thing.type, thing.color) == (kind, colour)))

    pick_up_one = (envs.UnlockPickupEnv, envs.BlockedUnlockPickupEnv, envs.KeyCorridorEnv, envs.ObstructedMazeEnv)
    if hasattr(env, "instrs"):
        return Goal(pack_instruction(env.instrs, slot_of))
    if isinstance(env, envs.UnlockEnv):
        return Goal(program(Atom(OPEN, mask(env.door), done=0)))
    if isinstance(env, pick_up_one):
        return Goal(program(Atom(PICK_UP, mask(env.obj), done=0)))
    if isinstance(env, envs.FetchEnv):
        return Goal(program(Atom(PICK_UP, matching(env.targetType, env.targetColor), strict=1, done=0)))
    if isinstance(env, (envs.GoToDoorEnv, envs.GoToObjectEnv)):
        return Goal(rule=missions.DONE_NEAR, target=env.target_pos)
    if isinstance(env, envs.PutNearEnv):
        moved = program(Atom(second=matching(env.move_type, env.moveColor), done=0))
        return Goal(moved, missions.PUT_NEAR, env.target_pos)
    if isinstance(env, envs.MemoryEnv):
        return Goal(rule=missions.REACH_OR_TRAP, target=env.success_pos, trap=env.failure_pos)
    if isinstance(env, envs.RedBlueDoorEnv):
        blue = program(Atom(second=mask(env.blue_door), done=0))
        red = env.grid.grid.index(env.red_door)
        return Goal(blue, missions.RED_THEN_BLUE, (red % env.width, red // env.width))
    return Goal()


def generate_levels(level_id: str, seeds: Sequence[int]) -> list[dict[str, np.ndarray] | None]:
    """Reset minigrid's environment with each seed and pack the levels; None where its reset is endless."""
    env = make_minigrid(level_id)
    levels = []
    for seed in seeds:
        try:
            env.reset(seed=seed)
            levels.append(pack_level(env))
        except EndlessReset:
            levels.append(None)
            env = make_minigrid(level_id)  # the old one was left in the middle of its reset
    return levels


def generate_many(
    level_id: str, seeds: Sequence[int], workers: int | None = None, progress: bool = False
) -> list[dict[str, np.ndarray] | None]:
    """`generate_levels` with a progress bar, in several processes where that is faster.

    Args:
        workers: number of processes; None takes all cores if the first levels tell that the work is long.

    Raises:
        UserError: fewer than one worker, or what `make_minigrid` and `pack_level` raise.
    """
    return in_processes(functools.partial(generate_levels, level_id), seeds, workers, level_id if progress else None)
