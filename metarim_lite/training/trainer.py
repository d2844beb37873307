"""The loop: play, learn, report, save; and go on after a kill as if nothing had happened.

A run advances in ticks. At a tick one clock collects a rollout and updates its groups. Between ticks the
whole run is a set of tensors and counters, which is what a checkpoint holds.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..envs import GridWorlds, LevelBank
from ..errors import UserError
from ..models import Agent, AgentConfig
from .adaptation import TaskLearner, TaskWorlds
from .checkpoints import (
    STATE,
    fill,
    load_optimizer,
    make_folder,
    open_folder,
    optimizer_tensors,
    read_checkpoint,
    replace_file,
    save_agent,
    write_checkpoint,
)
from .evaluation import Evaluation, evaluate
from .methods import method
from .ppo import PPOConfig
from .rollouts import Player
from .timescales import TimeScales, make_clocks

HELD_OUT_SEEDS = 1_000_000  # held-out levels have seeds from here on, training levels from 0 on


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a run. Same config, same device: same run."""

    method: str = "meta-rim"
    """One of METHODS."""
    level: str = "BabyAI-GoToLocal-v0"
    """A level, or several separated by commas: then each batch holds them all."""
    frames: int = 2_000_000
    """Steps to play, over all worlds."""
    seed: int = 0
    """Seeds parameters, worlds, actions and minibatches."""
    device: str = "auto"
    """"auto" (a GPU if there is one), "cpu" or "cuda"."""
    num_envs: int = 256
    """B: parallel worlds."""
    steps: int = 40
    """T: steps per world in the rollout of a fast tick."""
    train_levels: int = 10_000
    """Levels (seeds) to train on, of each level id."""
    report_every: int = 5
    """Ticks between two reports; a checkpoint is written with each."""
    evaluate_every: int = 0
    """Frames between two evaluations on held-out levels while training; 0: none."""
    evaluate_episodes: int = 500
    """Held-out levels played in each of them."""
    agent: AgentConfig = field(default_factory=AgentConfig)
    """Sizes of the agent; the method decides the controller."""
    ppo: PPOConfig = field(default_factory=PPOConfig)
    timescales: TimeScales | None = None
    """Instead of the method's own."""

    def __post_init__(self) -> None:
        for name in ("frames", "num_envs", "steps", "train_levels", "report_every", "evaluate_episodes"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise UserError(f"TrainConfig.{name} is {value!r}; it must be a whole number of at least 1")
        scales = self.scales
        if self.steps % scales.fast_span and scales.fast_span < self.steps:
            raise UserError(
                f"spans of {scales.fast_span} steps do not divide a rollout of {self.steps}; choose one that does"
            )
        smallest = self.num_envs * (1 if scales.slow else max(1, self.steps // scales.fast_span))
        if smallest < self.ppo.minibatches:
            raise UserError(f"{smallest} sequences cannot fill {self.ppo.minibatches} minibatches; use more worlds")

    @property
    def scales(self) -> TimeScales:
        """The time scales that hold: this config's, or else the method's."""
        return self.timescales or method(self.method).timescales

    @property
    def levels(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.level.split(",") if name.strip())


@dataclass
class Run:
    """What training leaves behind."""

    config: TrainConfig
    agent: Agent
    metrics: list[dict[str, Any]]
    folder: Path | None
    finished: bool
    """False when it was stopped by Ctrl-C before all frames were played."""
    held_out: Evaluation | None = None

    def __repr__(self) -> str:
        last = self.metrics[-1] if self.metrics else {}
        frames, success = last.get("frames", 0), last.get("success", 0.0)
        return f"Run({self.config.method} on {self.config.level}, {frames:,} frames, success {success:.3f})"


def choose_device(name: str) -> torch.device:
    """ "auto" is a GPU if there is one.

    Raises:
        UserError: the device is unknown or not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, ValueError):
        raise UserError(f"unknown device {name!r}; use 'auto', 'cpu' or 'cuda'") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device {name!r} is not supported; use 'auto', 'cpu' or 'cuda'")
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise UserError(f"device {name!r} is not available on this machine; use 'cpu' or 'auto'")
    return device


def make_bank(levels: tuple[str, ...], seeds: range, progress: bool = False) -> LevelBank:
    """One bank of these levels, each with these seeds."""
    if not levels:
        raise UserError("no level to train on; name at least one, such as BabyAI-GoToLocal-v0")
    banks = [LevelBank.generate(level, seeds=seeds, progress=progress) for level in levels]
    return banks[0] if len(banks) == 1 else LevelBank.concat(banks)


class Trainer:
    """A run in progress. `tick()` moves it on; `tensors()` and `restore()` take it apart and put it together."""

    def __init__(self, config: TrainConfig, bank: LevelBank | None = None, progress: bool = False) -> None:
        self.config = config
        self.device = choose_device(config.device)
        chosen = method(config.method)
        bank = bank or make_bank(config.levels, range(config.train_levels), progress)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.agent = Agent(chosen.agent_config(config.agent)).to(self.device)
        self.clocks = make_clocks(self.agent, config.scales)
        self.dice = torch.Generator(device=self.device).manual_seed(2 * config.seed)
        self.learner: TaskLearner | None = None
        if config.scales.adaptation == "per-task":
            worlds: Any = TaskWorlds(bank, config.scales.tasks, config.num_envs, self.device, config.seed)
            self.learner = TaskLearner(self.agent, self.clocks["slow"], config.scales, config.ppo, worlds)
        else:
            worlds = GridWorlds(bank, config.num_envs, device=self.device, seed=config.seed)
        acting = torch.Generator(device=self.device).manual_seed(2 * config.seed + 1)
        self.player = Player(worlds, self.agent, acting)
        self.counters = {"tick": 0, "frames": 0, "reports": 0, "seconds": 0.0}

    def tick(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """One rollout and one update of the clock whose turn it is: (watched numbers, sums over episodes)."""
        scales, config = self.config.scales, self.config
        name = scales.clock_of_tick(self.counters["tick"])
        clock = self.clocks[name]
        if self.learner is not None:
            watched, episodes, T = self.learner.tick(self.player, config.steps, self.dice)
        else:
            T = clock.span if name == "slow" else max(config.steps, clock.span)
            rollout = self.player.collect(self.agent, T, clock.span)
            watched, episodes = clock.update(self.agent, rollout, config.ppo, self.dice), rollout.episodes
        self.counters["tick"] += 1
        self.counters["frames"] += T * config.num_envs
        return {f"{name}/{k}": v for k, v in watched.items()}, episodes

    def tensors(self) -> dict[str, Tensor]:
        """The whole run as plain tensors."""
        parts = {"agent": self.agent.state_dict(), "player": self.player.state_dict()}
        for name, clock in self.clocks.items():
            parts[f"optimizer.{name}"] = optimizer_tensors(clock.optimizer)
        flat = {f"{part}/{k}": v for part, tensors in parts.items() for k, v in tensors.items()}
        return flat | {"dice": self.dice.get_state()}

    def restore(self, tensors: dict[str, Tensor], counters: dict[str, Any], what: str) -> None:
        """Go on from what `tensors()` gave.

        Raises:
            UserError: a field is missing, unknown, of another shape or not finite.
        """
        expected = self.tensors()
        for name, clock in self.clocks.items():  # an optimizer has no memory before its first step
            moments = _adam_shapes(clock.optimizer)
            if any(k.startswith(f"optimizer.{name}/") for k in tensors):
                expected |= {f"optimizer.{name}/{k}": v for k, v in moments.items()}
        if set(counters) != set(self.counters):
            raise UserError(
                f"{what}: field 'counters' of {STATE} has {sorted(counters)}, expected {sorted(self.counters)}"
            )
        fill(expected, tensors, what)

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.agent.load_state_dict(part("agent/"))
        self.player.load_state_dict(part("player/"))
        for name, clock in self.clocks.items():
            load_optimizer(clock.optimizer, part(f"optimizer.{name}/"))
        self.dice.set_state(tensors["dice"].cpu())
        self.counters = dict(counters)


def train(
    config: TrainConfig | None = None,
    *,
    folder: str | Path | None = None,
    progress: bool = True,
    bank: LevelBank | None = None,
    held_out: LevelBank | None = None,
    on_report: Callable[[dict[str, Any]], None] | None = None,
) -> Run:
    """Train an agent; with a folder, survive being killed.

    Arguments:
        config: what to train and how.
        folder: where to keep config, metrics and checkpoints. A folder that holds a run of the same config
            is resumed. None: nothing is written.
        progress: show a bar.
        bank: train on these levels instead of `config.train_levels` seeds of `config.level`.
        held_out: levels for the evaluations while training.
        on_report: called with each line of the metrics.

    Returns:
        The Run: agent, metrics, folder.

    Raises:
        UserError: unknown names, impossible numbers, a folder of another run, a damaged checkpoint, a loss that
            is not finite (the last good checkpoint stays).
    """
    config = config or TrainConfig()
    method(config.method)
    choose_device(config.device)
    folder = None if folder is None else make_folder(folder)
    resume = folder is not None and open_folder(folder, config, may_change="frames")
    trainer = Trainer(config, bank, progress)
    metrics: list[dict[str, Any]] = []
    if resume:
        assert folder is not None
        tensors, state = read_checkpoint(folder)
        trainer.restore(tensors, state.get("counters", {}), f"checkpoint in {str(folder)!r}")
        metrics = _read_metrics(folder, trainer.counters["reports"])
    if config.evaluate_every and held_out is None:
        seeds = range(HELD_OUT_SEEDS, HELD_OUT_SEEDS + config.evaluate_episodes)
        held_out = make_bank(config.levels, seeds, progress)

    bar = tqdm(
        total=config.frames, initial=trainer.counters["frames"], unit=" frames", unit_scale=True,
        desc=config.method, disable=not progress,
    )  # fmt: skip
    with bar, _stop_at_next_tick() as stopped:
        while trainer.counters["frames"] < config.frames and not stopped():
            line = _advance(trainer, held_out, stopped, bar)
            metrics.append(line)
            if folder is not None:
                with (folder / "metrics.jsonl").open("a") as f:
                    f.write(json.dumps(line) + "\n")
                write_checkpoint(folder, trainer.tensors(), {"counters": trainer.counters})
            if on_report is not None:
                on_report(line)
    finished = trainer.counters["frames"] >= config.frames
    if folder is not None and finished:
        save_agent(folder / "agent", trainer.agent, {"method": config.method, "level": config.level})
    return Run(config, trainer.agent, metrics, folder, finished)


def _advance(trainer: Trainer, held_out: LevelBank | None, stopped: Callable[[], bool], bar: Any) -> dict[str, Any]:
    """Ticks up to the next report; returns its line of metrics."""
    config, counters = trainer.config, trainer.counters
    sums: dict[str, list[Tensor]] = {}
    episodes: dict[str, Tensor] = {}
    began, first = time.perf_counter(), counters["frames"]
    while True:
        before = counters["frames"]
        watched, ended = trainer.tick()
        bad = [k for k, v in watched.items() if not v.isfinite()]
        if bad:
            raise UserError(
                f"{bad[0]} is not finite at {counters['frames']:,} frames; the last good checkpoint is kept: "
                "lower the learning rate and resume from it"
            )
        for k, v in watched.items():
            sums.setdefault(k, []).append(v)
        episodes = {k: episodes.get(k, 0) + v for k, v in ended.items()}
        bar.update(counters["frames"] - before)
        if counters["tick"] % config.report_every == 0 or counters["frames"] >= config.frames or stopped():
            break
    numbers = {k: torch.stack([torch.as_tensor(x) for x in v]).mean().item() for k, v in sums.items()}
    count = max(1.0, float(episodes["count"]))
    seconds = time.perf_counter() - began
    counters["seconds"] += seconds
    counters["reports"] += 1
    line: dict[str, Any] = {
        "frames": counters["frames"],
        "tick": counters["tick"],
        "success": float(episodes["success"]) / count,
        "reward": float(episodes["reward"]) / count,
        "length": float(episodes["length"]) / count,
        "episodes": int(episodes["count"]),
        "frames_per_second": (counters["frames"] - first) / seconds,
        "seconds": counters["seconds"],
        **numbers,
    }
    due = config.evaluate_every and counters["frames"] // config.evaluate_every > first // config.evaluate_every
    if due and held_out is not None:
        result = evaluate(trainer.agent, held_out, min(config.evaluate_episodes, len(held_out)))
        line["held_out_success"] = result.success.value
    bar.set_postfix(success=f"{line['success']:.3f}")
    return line


def _read_metrics(folder: Path, reports: int) -> list[dict[str, Any]]:
    """The first `reports` lines of metrics.jsonl; later ones belong to work that was lost, and are cut off."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines()[:reports] if path.exists() else []
    if len(lines) < reports:
        raise UserError(
            f"{str(path)!r} has {len(lines)} lines, field 'reports' of {STATE} says {reports}; the run is damaged"
        )
    replace_file(path, "".join(line + "\n" for line in lines).encode())
    return [json.loads(line) for line in lines]


def _adam_shapes(optimizer: torch.optim.Optimizer | None) -> dict[str, Tensor]:
    """What Adam remembers after its first step, by name, with the right shapes."""
    shapes: dict[str, Tensor] = {}
    if optimizer is None:
        return shapes
    for i, p in enumerate(p for group in optimizer.param_groups for p in group["params"]):
        shapes |= {f"{i}.step": torch.zeros(()), f"{i}.exp_avg": p.detach(), f"{i}.exp_avg_sq": p.detach()}
    return shapes


@contextmanager
def _stop_at_next_tick() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C inside asks to stop after the current tick, when a run can be saved whole; the second stops."""
    asked = False

    def ask(*_: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        os.write(2, b"\nstopping after this tick (Ctrl-C again to stop at once)\n")

    if threading.current_thread() is not threading.main_thread():
        yield lambda: asked
        return
    previous = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, previous)
