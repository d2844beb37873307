"""How fast worlds, playing, training and controllers are on a GPU, as graphs and without: `metarim bench gpu`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any, NamedTuple

import torch
from torch import nn

from ..compiling import can_compile
from ..envs import GridWorlds, LevelBank
from ..models import Agent, AgentConfig
from ..recording import PLAIN_CALLS, record
from ..training import TrainConfig, Trainer
from ..training.graphs import Recorder
from ..training.methods import method
from ..training.rollouts import Player
from . import row
from .rim import CASES, Case, forward_backward, run_rim

log = logging.getLogger(__name__)

Rows = Iterator[dict[str, Any]]
ROOM, MANY_ROOMS = "BabyAI-GoToLocal-v0", "BabyAI-BossLevel-v0"
PLAIN = "ours: eager"
METHODS = ("lstm", "rim", "meta-rim")
T = 40


class Sizes(NamedTuple):
    """What is measured, small things first."""

    room: tuple[int, ...] = (1024, 16_384, 131_072, 524_288)
    rooms: tuple[int, ...] = (16_384, 131_072, 524_288)
    playing: tuple[int, ...] = (1024, 8192, 32_768)
    training: tuple[int, ...] = (256, 2048, 8192)
    compiled_worlds: tuple[int, ...] = (131_072,)
    controllers: tuple[Case, ...] = (CASES[0], CASES[1], Case(40, 4096, 128, 32, False))
    levels: int = 200


class Bench(NamedTuple):
    """Where and how long."""

    device: torch.device
    seconds: float
    """Of one measurement."""

    def speed(self, work: Callable[[], Any], count: int, calls: int = 1) -> float:
        """Things per second of calls that do `count` each. The host waits for the device now and then only.

        Args:
            calls: before the first look at the clock.
        """
        self.wait()  # what was asked for before is not this work's
        done, began = 0, time.perf_counter()
        while True:
            for _ in range(calls):
                work()
            self.wait()
            done, elapsed = done + calls, time.perf_counter() - began
            if elapsed >= self.seconds:
                return done * count / elapsed
            calls = min(2 * calls, 256)

    def wait(self) -> None:
        """Until the device has done all that was asked of it."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def bench_gpu(device: str = "cuda", seconds: float = 0.5, limit: float = 200.0, sizes: Sizes | None = None) -> Rows:
    """Steps, frames or controllers' steps per second. "graph" is what training does by itself.

    Args:
        seconds: length of one measurement.
        limit: seconds after which no row is begun any more. What is left out is said in one log line.
    """
    if device == "cuda" and not torch.cuda.is_available():
        log.warning("there is no GPU here, so `metarim bench gpu` has nothing to measure")
        return
    began, left = time.perf_counter(), []
    bench = Bench(torch.device(device), seconds)
    for case, job in _jobs(bench, sizes or Sizes()):
        if time.perf_counter() - began >= limit:
            left.append(case)
            continue
        try:
            yield from job()
        except torch.OutOfMemoryError:
            left.append(f"{case} (its memory is too small)")
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()
    if left:
        log.warning("left out, after %.0f s: %s", limit, "; ".join(left))


def _jobs(bench: Bench, sizes: Sizes) -> Iterator[tuple[str, Callable[[], Rows]]]:
    """Names of what is measured, and what yields its rows. Whatever must be compiled comes last."""
    banks: dict[str, LevelBank] = {}

    def bank(level: str) -> LevelBank:
        if level not in banks:
            banks[level] = LevelBank.generate(level, range(sizes.levels))
        return banks[level]

    def worlds(level: str, batches: tuple[int, ...], measure: Callable[..., Rows] = _worlds, how: str = "") -> list:
        name = level.split("-")[1]
        return [(f"{name} B={B}{how}", lambda B=B: measure(bench, bank(level), f"{name} B={B}", B)) for B in batches]

    playing = [(f"playing RIM B={B}", lambda B=B: _playing(bench, bank(ROOM), B)) for B in sizes.playing]
    training = [
        (f"{name} B={B}", lambda name=name, B=B: _training(bench, bank(ROOM), name, B))
        for B in sizes.training
        for name in METHODS
    ]
    controllers = [(str(case), lambda case=case: _controllers(bench, case, "fused")) for case in sizes.controllers]
    in_threes = [training[i : i + 3] for i in range(0, len(training), 3)]
    for of_size in zip_longest(worlds(ROOM, sizes.room), worlds(MANY_ROOMS, sizes.rooms), playing, controllers):
        yield from (job for job in of_size if job is not None)
        yield from in_threes.pop(0) if in_threes else ()
    for level in (ROOM, MANY_ROOMS):
        yield from worlds(level, sizes.compiled_worlds, _compiled_worlds, " compiled")
    for case in sizes.controllers:
        yield f"{case} compiled", lambda case=case: _controllers(bench, case, "compiled")
    for B in sizes.training:
        yield f"rim B={B} compiled", lambda B=B: _training(bench, bank(ROOM), "rim", B, "compiled")


def _worlds(bench: Bench, bank: LevelBank, case: str, B: int) -> Rows:
    worlds = GridWorlds(bank, B, device=bench.device)
    worlds.reset()
    eager, graph = _stepping(bench, worlds), _stepping(bench, worlds.record())
    yield row("gpu", f"worlds {case}", "graph", graph, PLAIN, eager)


def _compiled_worlds(bench: Bench, bank: LevelBank, case: str, B: int) -> Rows:
    worlds, plain = (GridWorlds(bank, B, device=bench.device) for _ in range(2))
    worlds.reset(), plain.reset()
    if can_compile(bench.device.type) and worlds.compile():
        compiled, graph = _stepping(bench, worlds.record()), _stepping(bench, plain.record())
        yield row("gpu", f"worlds {case}", "compiled, graph", compiled, "ours: graph", graph)


def _stepping(bench: Bench, worlds: Any) -> float:
    B = (worlds if isinstance(worlds, GridWorlds) else worlds.worlds).num_envs
    actions = torch.randint(0, 7, (16, B), generator=torch.Generator().manual_seed(0)).to(bench.device)
    turn = iter(range(10**9))
    return bench.speed(lambda: worlds.step(actions[next(turn) % 16]), B)


def _playing(bench: Bench, bank: LevelBank, B: int) -> Rows:
    agent = Agent(method("rim").agent_config(AgentConfig())).to(bench.device)
    speeds = []
    for records in (False, True):
        dice = torch.Generator(device=bench.device).manual_seed(0)
        player = Player(GridWorlds(bank, B, device=bench.device), agent, dice)
        recorder = Recorder(bench.device, [dice], records)
        for _ in range(PLAIN_CALLS + 1 if records else 1):
            recorder.collect(player, agent, T, T)
        speeds.append(bench.speed(lambda r=recorder, p=player: r.collect(p, agent, T, T), T * B))
    yield row("gpu", f"playing GoToLocal, RIM B={B}", "graph", speeds[1], PLAIN, speeds[0])


def _training(bench: Bench, bank: LevelBank, name: str, B: int, kernel: str = "fused") -> Rows:
    if kernel == "compiled" and not can_compile(bench.device.type):
        return
    agent = AgentConfig(kernel=kernel)
    config = TrainConfig(method=name, level=ROOM, num_envs=B, device=bench.device.type, agent=agent)
    scales = config.scales
    cycle = scales.slow_every + 1 if scales.slow else 1
    steps = sum(scales.steps_of_tick(scales.clock_of_tick(tick), config.steps) for tick in range(cycle))
    plain, graphs = Trainer(config, bank), Trainer(config, bank)
    plain.recorder.records = False

    def whole_cycle() -> None:
        for _ in range(cycle):
            graphs.tick()

    plain.tick()
    eager = bench.speed(plain.tick, B * config.steps)  # of the fast clock: a whole cycle would take too long
    for _ in range(PLAIN_CALLS + 1):
        whole_cycle()
    mode = "graph" if graphs.recorder.records else "eager"
    mode = mode if kernel == "fused" else f"compiled, {mode}"
    yield row("gpu", f"training GoToLocal, {name} B={B}", mode, bench.speed(whole_cycle, B * steps), PLAIN, eager)


def _controllers(bench: Bench, case: Case, kernel: str) -> Rows:
    """Forward and backward, beside PyTorch's LSTM of the same width (cuDNN's)."""
    if kernel == "compiled" and not can_compile(bench.device.type):
        return
    torch.manual_seed(0)
    rim, lstm = case.rim().to(bench.device), nn.LSTM(case.D, case.width).to(bench.device)
    rim.kernel = kernel
    x = torch.randn(case.T, case.B, case.D, device=bench.device)
    works = [lambda: forward_backward(run_rim(rim), rim, x), lambda: forward_backward(lstm, lstm, x)]
    for _ in range(2):  # the first compiles
        works[0](), works[1]()
    for mode in ("eager", "graph"):
        if mode == "graph":
            works = [record(f"{case}", work, bench.device) for work in works]
        ours, theirs = (bench.speed(work, case.T * case.B) for work in works)
        told = mode if kernel == "fused" else {"eager": "compiled", "graph": "compiled, graph"}[mode]
        peer = "nn.LSTM" if mode == "eager" else "nn.LSTM in a graph"
        yield row("gpu", str(case), told, ours, peer, theirs)
