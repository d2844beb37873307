"""Levels come from minigrid's own generators: make an environment quietly, reset it, pack what it made."""

from __future__ import annotations

import contextlib
import io
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import UserError
from .catalogue import check_level_id
from .cells import EMPTY, MAX_SLOTS, WALL, make_cell
from .missions import (
    OPEN,
    PICK_UP,
    Program,
    blank_program,
    encode_mission,
    one_atom,
    pack_instruction,
)

# Rules of minigrid's own levels that are no BabyAI instruction (see rules.py).
NO_RULE, DONE_NEAR, PUT_NEAR, REACH_OR_TRAP, RED_THEN_BLUE = range(5)

NOWHERE = (-1, -1)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Swallow what minigrid's rejection samplers print ("Sampling rejected: ...")."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def check_environment() -> None:
    """
    Raises:
        UserError: BABYAI_DONE_ACTIONS is set.
    """
    if os.environ.get("BABYAI_DONE_ACTIONS"):
        raise UserError("BABYAI_DONE_ACTIONS is set, which changes when minigrid's missions succeed; unset it")


MOST_DRAWS = 500_000  # of random numbers in one reset; the longest that ends needs a few thousand


class EndlessReset(UserError):
    """minigrid looks for ever for a place that its own level does not have."""


def make_minigrid(level_id: str) -> Any:
    """minigrid's environment of this id, without gymnasium's wrappers (their time limit and checks).

    Its `reset` keeps silent, and raises `EndlessReset` where minigrid's would never return: with a few seeds a small
    room is so full that no place is left for the agent. Everything else is minigrid's.

    Raises:
        UserError: an id that is unknown or not supported (with the reason); BABYAI_DONE_ACTIONS is set.
    """
    check_environment()
    check_level_id(level_id)
    import gymnasium

    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # gymnasium advises newer versions of some ids
        env = gymnasium.make(level_id, disable_env_checker=True).unwrapped
    reset, draw, drawn = env.reset, env._rand_int, 0

    def quiet_reset(**kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        nonlocal drawn
        drawn = 0
        with quiet():
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


def cell_of(thing: Any, slot: int = 0) -> int:
    """The int32 of a minigrid object (or None)."""
    if thing is None:
        return EMPTY
    _, _, state = thing.encode()
    return make_cell(thing.type, thing.color, state, slot)


def pack_level(env: Any) -> dict[str, np.ndarray]:
    """What minigrid made at the last reset of `env`, as arrays: one row of a LevelBank's tables.

    Raises:
        UserError: the level holds something that the simulation does not know.
    """
    things = objects_of(env)
    if len(things) > MAX_SLOTS:
        raise UserError(f"a level holds at most {MAX_SLOTS} objects, this one has {len(things)}; use a smaller level")
    slot_of = {id(thing): slot for slot, thing in enumerate(things, start=1)}

    cells = np.array([cell_of(t, slot_of.get(id(t), 0)) for t in env.grid.grid], dtype=np.int32)
    cells = cells.reshape(env.height, env.width)  # (H, W)
    carried_from = NOWHERE
    if env.carrying is not None:  # minigrid's first observation still shows it on the floor
        x, y = carried_from = tuple(env.carrying.init_pos)
        cells[y, x] = cell_of(env.carrying, slot_of[id(env.carrying)])
    contents = np.full(len(things) + 1, EMPTY, dtype=np.int32)  # (S,) by slot
    for thing in things:
        if thing.contains is not None:
            contents[slot_of[id(thing)]] = cell_of(thing.contains, slot_of[id(thing.contains)])

    program, rule, target, trap = pack_goal(env, slot_of)
    mission = encode_mission(env.mission).numpy().astype(np.uint8)
    return {
        "cells": cells,
        "size": np.array([env.width, env.height], dtype=np.int16),
        "agent": np.array([*env.agent_pos, env.agent_dir], dtype=np.int16),
        "carried_from": np.array(carried_from, dtype=np.int16),
        "max_steps": np.array(env.max_steps, dtype=np.int32),
        "see_through": np.array(env.see_through_walls),
        "rule": np.array(rule, dtype=np.uint8),
        "target": np.array(target, dtype=np.int16),
        "trap": np.array(trap, dtype=np.int16),
        "kind": np.array(program.kind, dtype=np.uint8),
        "strict": np.array(program.strict, dtype=np.uint8),
        "done": np.array(program.done, dtype=np.uint8),
        "first": np.array(program.first, dtype=np.int64),
        "second": np.array(program.second, dtype=np.int64),
        "contents": contents,
        "mission": mission,
    }


def pack_goal(env: Any, slot_of: dict[int, int]) -> tuple[Program, int, Sequence[int], Sequence[int]]:
    """How this level ends: its program, its extra rule, and the one or two places that rule speaks of.

    The objects that an extra rule speaks of are the second set of an atom that can never be completed.

    BabyAI levels carry an instruction; minigrid's own levels decide in their `step`, each in its own way.
    """
    from minigrid import envs

    def mask(*things: Any) -> int:
        return sum(1 << slot_of[id(thing)] for thing in things)

    def matching(kind: str, colour: str) -> list[Any]:
        return [t for t in objects_of(env) if (t.type, t.color) == (kind, colour)]

    never = blank_program(never=True)
    pick_up_one = (envs.UnlockPickupEnv, envs.BlockedUnlockPickupEnv, envs.KeyCorridorEnv, envs.ObstructedMazeEnv)
    if hasattr(env, "instrs"):
        return pack_instruction(env.instrs, slot_of), NO_RULE, NOWHERE, NOWHERE
    if isinstance(env, envs.UnlockEnv):
        return one_atom(OPEN, mask(env.door)), NO_RULE, NOWHERE, NOWHERE
    if isinstance(env, pick_up_one):
        return one_atom(PICK_UP, mask(env.obj)), NO_RULE, NOWHERE, NOWHERE
    if isinstance(env, envs.FetchEnv):
        wanted = mask(*matching(env.targetType, env.targetColor))
        return one_atom(PICK_UP, wanted, strict=True), NO_RULE, NOWHERE, NOWHERE
    if isinstance(env, (envs.GoToDoorEnv, envs.GoToObjectEnv)):
        return never, DONE_NEAR, env.target_pos, NOWHERE
    if isinstance(env, envs.PutNearEnv):
        never.second[0] = mask(*matching(env.move_type, env.moveColor))
        return never, PUT_NEAR, env.target_pos, NOWHERE
    if isinstance(env, envs.MemoryEnv):
        return never, REACH_OR_TRAP, env.success_pos, env.failure_pos
    if isinstance(env, envs.RedBlueDoorEnv):
        never.second[0] = mask(env.blue_door)
        red = env.grid.grid.index(env.red_door)
        return never, RED_THEN_BLUE, (red % env.width, red // env.width), NOWHERE
    return never, NO_RULE, NOWHERE, NOWHERE  # ends on the goal, in lava, or with the time


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


CHUNK = 32  # levels handed to a process at a time
PATIENCE = 10.0  # seconds of work from which on starting processes pays


def generate_many(
    level_id: str, seeds: Sequence[int], workers: int | None = None, progress: bool = False
) -> list[dict[str, np.ndarray] | None]:
    """`generate_levels` with a progress bar, in several processes where that is faster.

    Args:
        workers: number of processes; None takes all cores if the first levels tell that the work is long.

    Raises:
        UserError: fewer than one worker, or what `make_minigrid` and `pack_level` raise.
    """
    return in_processes(generate_levels, level_id, seeds, workers, level_id if progress else None)


def in_processes(
    work: Callable[[str, Sequence[int]], list[Any]],
    level_id: str,
    seeds: Sequence[int],
    workers: int | None,
    label: str | None,
) -> list[Any]:
    """work(level_id, seeds), chunk by chunk, here or in several processes; one result per seed, in order.

    Args:
        label: of the progress bar; None shows none.
    """
    from tqdm.auto import tqdm

    if workers is not None and workers < 1:
        raise UserError(f"workers must be at least 1 or None, got {workers}")
    chunks = [seeds[i : i + CHUNK] for i in range(0, len(seeds), CHUNK)]
    results: list[Any] = []
    start = time.monotonic()
    with tqdm(total=len(seeds), desc=label, unit="level", disable=label is None or not seeds) as bar:
        while chunks:
            remaining = (time.monotonic() - start) * len(chunks) / max(len(results) / CHUNK, 1)
            use = workers or (os.cpu_count() or 1 if results and remaining > PATIENCE else 1)
            if use > 1 and len(chunks) > 1:
                from joblib.externals.loky import ProcessPoolExecutor

                with ProcessPoolExecutor(use) as pool:
                    for made in pool.map(work, [level_id] * len(chunks), chunks):
                        results += made
                        bar.update(len(made))
                break
            made = work(level_id, chunks.pop(0))
            results += made
            bar.update(len(made))
    return results


def stack_levels(levels: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Levels of any sizes as arrays with a leading level axis; grids padded with walls, contents with nothing."""
    height = max(level["cells"].shape[0] for level in levels)
    width = max(level["cells"].shape[1] for level in levels)
    slots = max(len(level["contents"]) for level in levels)
    stacked = {}
    for name in levels[0]:
        rows = [level[name] for level in levels]
        if name == "cells":
            rows = [np.pad(r, ((0, height - r.shape[0]), (0, width - r.shape[1])), constant_values=WALL) for r in rows]
        elif name == "contents":
            rows = [np.pad(r, (0, slots - len(r)), constant_values=EMPTY) for r in rows]
        stacked[name] = np.stack(rows)
    return stacked
