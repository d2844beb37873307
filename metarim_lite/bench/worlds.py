"""How fast worlds step, beside minigrid itself and EnvPool's C++ worlds. Behind `metarim bench worlds`."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np
import torch

from ..envs import GridWorlds, LevelBank, make_minigrid
from . import row

LEVELS = ("BabyAI-GoToLocal-v0", "BabyAI-BossLevel-v0")
SIZES = (16, 64, 256, 1024, 4096, 16384)
ENVPOOL = "envpool, 2 threads"


def bench_worlds(seconds: float = 0.4, rounds: int = 5, compiled: bool = True) -> Iterator[dict[str, Any]]:
    """Steps per second with random actions, observations included, and bytes per world.

    Ours (one thread), minigrid (one environment) and EnvPool (1024 environments, two threads) are measured in turns;
    medians are reported.

    Args:
        seconds: length of one measurement.
        rounds: turns.
        compiled: also compile the steps, which takes half a minute for each level.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # our operations are too short to be worth sharing, and on a busy machine waiting is dear
    try:
        for level_id in LEVELS:
            yield from _bench_level(level_id, seconds, rounds, compiled)
    finally:
        torch.set_num_threads(threads)


def _bench_level(level_id: str, seconds: float, rounds: int, compiled: bool) -> Iterator[dict[str, Any]]:
    name, batch = level_id.split("-")[1], 1024
    bank = LevelBank.generate(level_id, range(1000))
    runners = {"eager": _ours(bank, batch), "minigrid": _minigrid(level_id), ENVPOOL: _envpool(level_id, batch)}
    if compiled:
        runners["compiled"] = _ours(bank, batch, compiled=True)
    speeds = _in_turns(runners, seconds, rounds)
    for mode in ("eager", "compiled"):
        for peer in ("minigrid", ENVPOOL):
            if mode in speeds:
                yield row("worlds", f"{name} B={batch}", mode, speeds[mode], peer, speeds.get(peer))
    if level_id == LEVELS[0]:
        yield from _growth(bank, level_id, seconds, rounds)
    yield _memory(bank, level_id)


def _in_turns(runners: dict[str, Callable[[float], float] | None], seconds: float, rounds: int) -> dict[str, float]:
    """The median speed of each runner; runners that are None are left out."""
    there = {name: run for name, run in runners.items() if run is not None}
    for run in there.values():
        run(seconds / 4)  # warm up
    speeds: dict[str, list[float]] = {name: [] for name in there}
    for _ in range(rounds):
        for name, run in there.items():
            speeds[name].append(run(seconds))
    return {name: median(values) for name, values in speeds.items()}


def _timed(step: Callable[[int], None], steps_each: int) -> Callable[[float], float]:
    """A runner: call `step(k)` for some seconds and return steps per second."""

    def run(seconds: float) -> float:
        count, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds or count == 0:
            step(count)
            count += 1
        return count * steps_each / elapsed

    return run


def _ours(bank: LevelBank, batch: int, compiled: bool = False) -> Callable[[float], float] | None:
    worlds = GridWorlds(bank, batch)
    worlds.reset()
    if compiled and not worlds.compile():
        return None
    actions = torch.randint(0, 7, (64, batch), generator=torch.Generator().manual_seed(0))
    return _timed(lambda k: worlds.step(actions[k % 64]) and None, batch)


def _minigrid(level_id: str) -> Callable[[float], float]:
    env = make_minigrid(level_id)
    env.reset(seed=0)
    actions = np.random.default_rng(0).integers(0, 7, 4096).tolist()

    def step(k: int) -> None:
        _, _, terminated, truncated, _ = env.step(actions[k % 4096])
        if terminated or truncated:
            env.reset()

    return _timed(step, 1)


def _envpool(level_id: str, batch: int) -> Callable[[float], float] | None:
    try:
        import envpool
    except ImportError:
        return None
    envs = envpool.make_gymnasium(level_id, num_envs=batch, num_threads=2, seed=0)
    envs.reset()
    actions = np.random.default_rng(0).integers(0, 7, (64, batch)).astype(np.int32)
    return _timed(lambda k: envs.step(actions[k % 64]) and None, batch)


def _growth(bank: LevelBank, level_id: str, seconds: float, rounds: int) -> Iterator[dict[str, Any]]:
    runners: dict[str, Any] = {str(batch): _ours(bank, batch) for batch in SIZES}
    speeds = _in_turns(runners | {"minigrid": _minigrid(level_id)}, seconds, max(1, rounds // 2))
    for batch in SIZES:
        case = f"{level_id.split('-')[1]} B={batch} (growth)"
        yield row("worlds", case, "eager", speeds[str(batch)], "minigrid", speeds["minigrid"])


def _memory(bank: LevelBank, level_id: str, batch: int = 1024) -> dict[str, Any]:
    """Bytes of state and observation per world, against what one minigrid environment allocates."""
    worlds = GridWorlds(bank, batch)
    tensors = [*worlds.state_dict().values(), *worlds.reset()]
    ours = sum(t.numel() * t.element_size() for t in tensors) / batch
    make_minigrid(level_id).reset(seed=0)  # imports and caches
    tracemalloc.start()
    env = make_minigrid(level_id)
    kept = env, env.reset(seed=0)
    theirs = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del kept
    case = f"{level_id.split('-')[1]} bytes per world (less is better)"
    return row("worlds", case, "eager", ours, "minigrid", theirs)
