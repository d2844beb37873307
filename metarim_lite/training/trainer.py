"""Play, learn, report, save: an agent in its worlds, tick by tick. At a tick one clock collects a rollout and updates
its groups. What makes a run survive a kill is in metarim_lite/runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..bots import demonstrate
from ..config import bounded, check, config_of
from ..envs import GridWorlds, LevelBank
from ..errors import UserError
from ..machine import choose_device
from ..models import Agent, AgentConfig
from ..processes import Gathered, averaged, join, leader_first, leads, place, share_of, total
from ..runs.checkpoints import save_agent, start_from
from ..runs.folder import Learner, run_folder
from ..runs.loop import Loop, looping
from .adaptation import Adaptation, task_worlds
from .banks import HELD_OUT_SEEDS, held_out_bank, make_bank
from .counting import per_episode
from .evaluation import evaluate
from .fitting import USUAL_WORLDS, fitted, with_worlds
from .graphs import Recorder
from .imitation import Reader, imitation_loss
from .methods import ScaleChanges, changes_from, method, spelled_out, spending
from .ppo import PPOConfig, ppo_loss
from .rollouts import Player, throw_dice
from .timescales import TimeScales, groups_that_learn, make_clocks
from .together import SharedClock, throw_all_dice


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a run. Same config, same device, on a CPU same number of threads: same run."""

    method: str = "meta-rim"
    """One of METHODS."""
    level: str = "BabyAI-GoToLocal-v0"
    """A level, or several separated by commas: then each batch holds them all."""
    frames: int = bounded(2_000_000, at_least=1)
    """Steps to play, over all worlds."""
    seed: int = bounded(0, at_least=0, at_most=2**62 - 1)
    """Seeds parameters, worlds, actions and minibatches."""
    device: str = "auto"
    """"auto" (a GPU if there is one), "cpu" or "cuda"."""
    threads: int = bounded(0, at_least=0, zero="what fits")
    """Of torch on the CPU; 0: as many as fit, at most one for each core. A run that goes on keeps those it began with,
    which its state.json records."""
    num_envs: int = bounded(0, at_least=0, zero="what suits the device")
    """B: parallel worlds; 0: 256 on a CPU, on a GPU up to 2048, fewer in short runs and small memories. A run that goes
    on keeps those it began with, which its config.json records."""
    steps: int = bounded(40, at_least=1)
    """T: steps per world in the rollout of a fast tick."""
    train_levels: int = bounded(10_000, at_least=1)
    """Levels (seeds) to train on, of each level id."""
    report_every: int = bounded(5, at_least=1)
    """Ticks between two reports; a checkpoint is written with each."""
    evaluate_every: int = bounded(0, at_least=0, zero="none")
    """Frames between two evaluations on held-out levels while training; 0: none."""
    evaluate_episodes: int = bounded(500, at_least=1)
    """Held-out levels, of each level id, played in each of them."""
    imitate: bool = False
    """Learn from what minigrid's bot does in the training levels, not from reward; frames are then steps read."""
    start: str = ""
    """Agent to start from: a file, a run's folder, or the name of a shipped one; empty: new parameters."""
    agent: AgentConfig = field(default_factory=AgentConfig)
    """Sizes of the agent; the method decides the controller."""
    ppo: PPOConfig = field(default_factory=PPOConfig)
    timescales: ScaleChanges = field(default_factory=ScaleChanges)
    """What to change of the method's own time scales. In Python a dict will do, such as dict(fast_lr=1e-3); of a
    TimeScales the fields count that differ from its defaults."""

    REMOVED = ("cuda_graphs",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "timescales", changes_from(self.timescales))
        check(self)
        if self.train_levels > HELD_OUT_SEEDS:
            held_out = f"seeds from {HELD_OUT_SEEDS:,} on are held out"
            raise UserError(f"TrainConfig.train_levels is {self.train_levels}; {held_out}, train on fewer")
        scales = self.scales
        if self.imitate and scales.adaptation == "per-task":
            raise UserError(f"imitation is online, method {self.method!r} adapts per task; choose another method")
        if self.imitate and scales.memory != "episode":
            raise UserError(f"imitation reads episodes in any order; memory {scales.memory!r} has no meaning, omit it")
        for clock, span in (("fast", scales.fast_span), ("slow", scales.slow_span)):
            if not getattr(scales, clock):
                continue
            played, worlds = scales.steps_of_tick(clock, self.steps), self.num_envs or USUAL_WORLDS
            if worlds * played < 2:
                raise UserError("one world and one step make one advantage, which has no spread; use more of them")
            if played % span:
                raise UserError(f"spans of {span} steps do not divide a rollout of {played}; choose one that does")
            sequences, minibatches = worlds * played // span, scales.minibatches(clock, self.ppo.minibatches)
            if sequences < minibatches:
                raise UserError(f"{sequences} sequences cannot fill {minibatches} minibatches; use more worlds")

    @property
    def scales(self) -> TimeScales:
        """The time scales that hold: the method's, with this config's changes laid over them."""
        return self.timescales.over(method(self.method).timescales)

    def pinned(self) -> dict[str, Any]:
        """What the method's name stands for, with this config's changes: runs/pins.py keeps it with a run."""
        return spelled_out(self.method, self.scales)

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
    lost: int = 0
    """Reports whose line is not in `metrics`, since a power cut took it."""

    def __repr__(self) -> str:
        last = self.metrics[-1] if self.metrics else {}
        told = f"{self.config.method} on {self.config.level}, {last.get('frames', 0):,} frames"
        told += "".join(f", {k.replace('_', ' ')} {last[k]:.3f}" for k in ("success", "held_out_success") if k in last)
        seen = last.get("held_out_seen")
        return f"Run({told}{f', {seen:.1%} of the held-out levels identical to training levels' if seen else ''})"


class Trainer(Learner):
    """An agent in its worlds. `tick()` moves it on.

    Args:
        fresh: begin with the agent `config.start`; False where a checkpoint will be restored.
    """

    def __init__(
        self, config: TrainConfig, bank: LevelBank | None = None, progress: bool = False, fresh: bool = True
    ) -> None:
        self.config = config = with_worlds(config)
        self.device = choose_device(config.device)
        mine = share_of(config.num_envs, "worlds")
        with leader_first():
            bank = make_bank(config.levels, range(config.train_levels), progress) if bank is None else bank
            if len(bank) == 0:
                raise UserError("the bank to train on holds no level; give at least one")
            self.levels_seen = bank.checksum()
            shown = demonstrate(bank, progress=progress) if config.imitate else None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.agent = Agent(method(config.method).agent_config(config.agent)).to(self.device)
        if config.start and fresh:
            start_from(self.agent, config.start)
        scales, B, seed = config.scales, len(mine), config.seed
        alone, per_task = place().size == 1, scales.adaptation == "per-task"
        acting = torch.Generator(device=self.device).manual_seed(2 * seed + 1)
        self.recorder = Recorder(self.device, [acting], alone and not per_task)
        self.clocks = make_clocks(self.agent, scales, self.recorder.clock if alone else SharedClock)
        self.dice = torch.Generator(device=self.device).manual_seed(2 * seed)
        self.adaptation: Adaptation | None = None
        if shown is not None:
            self.player: Player | Reader = Reader(shown, self.agent, B, seed, mine.start)
        elif per_task:
            worlds, tasks = task_worlds(bank, scales.tasks, config.num_envs, self.device, seed, scales.visits)
            slow = self.clocks["slow"]
            self.adaptation = Adaptation(self.agent, slow, scales, config.ppo, worlds, tasks, config.steps)
        else:
            worlds = GridWorlds(bank, B, self.device, seed, first=mine.start, visits=scales.visits)
            if config.agent.kernel == "compiled" and self.device.type == "cuda":  # else theirs are fast as they are
                worlds.compile()
        if shown is None:
            self.player = Player(worlds, self.agent, acting, throw_dice if alone else throw_all_dice)
        self.loss = imitation_loss if config.imitate else ppo_loss
        self.counters = {"tick": 0, "frames": 0, "reports": 0, "seconds": 0.0} | self.spent_after(0)

    def tick(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """One rollout and one update of the clock whose turn it is: (watched numbers, sums over episodes)."""
        scales, config, counters = self.config.scales, self.config, self.counters
        name = scales.clock_of_tick(counters["tick"])
        clock = self.clocks[name]
        if self.adaptation is not None:
            watched, episodes = self.adaptation.tick(self.player, self.dice)
        else:
            T = scales.steps_of_tick(name, config.steps)
            rollout = self.recorder.collect(self.player, self.agent, T, clock.span)
            watched, episodes = clock.update(self.agent, rollout, config.ppo, self.dice, self.loss), rollout.episodes
        watched["largest_h"] = self.player.state.h.abs().max()
        watched = averaged(watched, largest=("ratio_error", "largest_h"))
        counters["tick"] += 1
        counters |= self.spent_after(counters["tick"])
        return {f"{name}/{k}": v for k, v in watched.items()}, total(episodes)

    def spent_after(self, ticks: int) -> dict[str, int]:
        """The counters that say what so many ticks cost (see `spending`), and nothing else of the counters."""
        config, per_task = self.config, self.adaptation is not None
        clocks, groups = ("fast", "slow") if per_task else self.clocks, groups_that_learn(self.clocks)
        spent = spending(config.scales, config.ppo, config.steps, ticks, config.num_envs, groups)
        frames = {f"frames/{clock}": spent.frames.get(clock, 0) for clock in clocks}
        updates = {f"updates/{group}": spent.updates.get(group, 0) for group in groups}
        inner = {"inner_steps": spent.inner_steps} if per_task else {}
        return {"frames": sum(frames.values()), **frames, **updates, **inner}

    def restore(self, tensors: dict[str, Tensor], counters: dict[str, Any], what: str) -> None:
        tick = counters.get("tick") if isinstance(counters, dict) else None
        if type(tick) is int and "frames" in counters and not any("/" in name for name in counters):
            counters = self.spent_after(tick) | counters  # of a version that did not count it
        super().restore(tensors, counters, what)
        self.recorder.forget()

    def parts(self) -> dict[str, Any]:
        optimizers = {f"optimizer.{name}": clock.optimizer for name, clock in self.clocks.items()}
        player = self.player if place().size == 1 else Gathered(self.player)
        return {"agent": self.agent, "player": player, **optimizers}


def train(
    config: TrainConfig | None = None, *, folder: str | Path | None = None, progress: bool = True,
    bank: LevelBank | None = None, held_out: LevelBank | None = None,
    on_report: Callable[[dict[str, Any]], None] | None = None,
) -> Run:  # fmt: skip
    """Train an agent; with a folder, survive being killed.

    Args:
        config: what to train and how.
        folder: where to keep config, metrics and checkpoints. A folder that holds a run of the same config
            is resumed. None: nothing is written.
        progress: show a bar.
        bank: train on these levels instead of `config.train_levels` seeds of `config.level`.
        held_out: levels for the evaluations while training.
        on_report: called with each line of the metrics.

    Returns:
        The Run: agent, metrics, folder. After Ctrl-C it is not finished. (SIGTERM saves as Ctrl-C does, and then does
        what it would have done.)

    Raises:
        UserError: unknown names, impossible numbers, a folder of another run, a damaged checkpoint, a loss that
            is not finite (what checkpoint there is stays).
    """
    join()
    progress = progress and leads()
    config = fitted(config_of(TrainConfig, config), folder)
    with run_folder(folder, config, ("frames", "agent.kernel"), config.threads) as kept:
        trainer = Trainer(config, bank, progress, fresh=not kept.resumes)
        if config.evaluate_every and held_out is None:
            learned = config.train_levels if bank is None else bank
            with leader_first():
                held_out = held_out_bank(config.levels, config.evaluate_episodes, learned, progress)
        evaluated = [held_out.checksum()] if config.evaluate_every and held_out is not None else []
        checksums = {"levels": [trainer.levels_seen], "held_out": evaluated}
        kept.resume(trainer, checksums)
        kept.begin(trainer.counters["frames"] >= config.frames, "agent.safetensors")

        with looping(trainer, "frames", "frames", config.frames, config.method, progress, kept.path) as loop:
            finished = loop.report(kept, lambda: next_report(trainer, held_out, loop), on_report, **checksums)
        if kept.path is not None and finished and leads():
            about = {"method": config.method, "level": config.level, "train_levels": str(config.train_levels)}
            save_agent(kept.path / "agent", trainer.agent, about)
        return Run(config, trainer.agent, kept.metrics, kept.path, finished, kept.lost)


def next_report(trainer: Trainer, held_out: LevelBank | None, loop: Loop) -> dict[str, Any]:
    """Ticks up to the next report; returns its line of metrics."""
    config, counters, first = trainer.config, trainer.counters, trainer.counters["frames"]
    episodes: dict[str, Tensor] = {}

    def tick() -> dict[str, Tensor]:
        watched, ended = trainer.tick()
        episodes.update({k: episodes.get(k, 0) + v for k, v in ended.items()})
        return watched

    def due() -> bool:
        return counters["tick"] % config.report_every == 0 or counters["frames"] >= config.frames

    means, speed = loop.advance(tick, due)
    line: dict[str, Any] = {"frames": counters["frames"], "tick": counters["tick"], **per_episode(episodes)}
    line |= {"frames_per_second": speed, "seconds": counters["seconds"], **means}
    line |= {k: v for k, v in counters.items() if k.startswith(("frames/", "updates/", "inner_steps"))}
    beat = config.evaluate_every
    if held_out is not None and beat and counters["frames"] // beat > first // beat:
        levels = config.evaluate_episodes * len(config.levels)  # `held_out` has them one id after the other
        result = evaluate(trainer.agent, held_out, min(levels, len(held_out)))
        line["held_out_success"] = result.success.value
        line |= {"held_out_seen": result.seen} if result.seen else {}
    told = {k.split("/")[-1]: f"{v:.3f}" for k, v in line.items() if k.endswith(("success", "accuracy"))}
    loop.bar.set_postfix(told)
    return line
