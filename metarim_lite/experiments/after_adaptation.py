"""How good is an agent on a new task, before and after a little experience of it? The papers' main claim, measured.

A copy of the agent learns on training levels of the task, in the way of a method, and plays held-out levels of it
before and after:

    online     the method's clocks tick, as in training, with new optimizers; with `fast_only` only the fast one, and
               what is on the slow clock stays as it is: the papers' inner loop
    per task   the inner loop of `adaptation.py`, and only it: play the support with the copy, then K steps of gradient
               descent on it with the rate α; again with fresh support, until the experience is used up
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from tqdm.auto import tqdm

from ..analysis import Estimate, mean_interval
from ..config import config_of, whole_number
from ..envs import GridWorlds, LevelBank
from ..errors import Diverged, UserError
from ..machine import choose_device
from ..models import Agent
from ..processes import check_alone
from ..training.adaptation import adapt
from ..training.banks import held_out_bank, make_bank, mark_seen
from ..training.evaluation import Evaluation, evaluate
from ..training.fitting import USUAL_WORLDS
from ..training.methods import method as find_method
from ..training.ppo import cut_into_spans
from ..training.rollouts import Player
from ..training.timescales import find_groups
from ..training.trainer import TrainConfig, Trainer

USUAL = 40_000  # steps of experience where nobody says how much


class Point(NamedTuple):
    """Success after some experience."""

    frames: int
    updates: int
    success: Estimate


@dataclass(frozen=True)
class Adapted:
    """What some experience of a task does for an agent."""

    task: str
    method: str
    fast_only: bool
    """Whether only the fast groups learned. Per task it is always so."""
    frames: int
    """Steps of experience, over all worlds."""
    updates: int
    """Online: ticks (a rollout, and all that a clock makes of it). Per task: steps of gradient descent."""
    before: Evaluation
    after: Evaluation
    """On the same held-out levels, with the same dice."""
    curve: tuple[Point, ...]
    """Success from the beginning to the end, and in between where that was asked for."""
    spent: dict[str, int]
    """frames/CLOCK and updates/GROUP of it (online), inner_steps (per task), as in metrics.jsonl."""
    agent: Agent
    """The adapted copy."""

    @property
    def gain(self) -> Estimate:
        """Success after minus success before, level by level, with its interval."""
        return mean_interval(self.after.successes.astype(float) - self.before.successes)

    def __str__(self) -> str:
        what = f"{self.method}{', fast groups only' if self.fast_only else ''}"
        experience = f"{self.frames:,} frames, {self.updates} updates"
        return (
            f"before: {self.before}\nafter:  {self.after}\n"
            f"gain {self.gain} by {experience} on {self.task} ({what})"
        )  # fmt: skip


def evaluate_adaptation(
    agent: Agent,
    task: str | LevelBank,
    method: str = "meta-rim",
    *,
    frames: int | None = None,
    updates: int | None = None,
    fast_only: bool = False,
    every: int = 0,
    episodes: int = 1000,
    config: TrainConfig | None = None,
    held_out: LevelBank | None = None,
    progress: bool = False,
) -> Adapted:
    """Let a copy of an agent learn on a task and play held-out levels of it before and after; the agent stays as it is.

    Args:
        agent: trained on other tasks, or not at all.
        task: a level id (several, separated by commas), or levels: then the last fifth of the seeds is held out.
        method: how the copy learns, one of METHODS; it must be for the agent's controller.
        frames: steps of experience over all worlds, rounded up to whole rollouts; default 40,000 …
        updates: … or how many updates: see `Adapted.updates`.
        fast_only: online, leave what is on the slow clock as it is.
        every: updates between two points of the curve; 0: none in between.
        episodes: held-out levels of each id to play.
        config: worlds, steps, levels, rates, seed and device of the adaptation, as of a run; what it says of method,
            level, frames and agent does not count. Per task `num_envs / tasks` worlds play, as many as a task has in
            training.
        held_out: levels to be judged on, instead.
        progress: show bars.

    Raises:
        UserError: an agent of another controller than the method's, frames and updates at once, a method that does not
            adapt, as `train` and `evaluate`.
        Diverged: numbers that are not finite.
    """
    check_alone("evaluation after adaptation")
    frames, updates = _experience(frames, updates)
    config = replace(config_of(TrainConfig, config), method=method, frames=max(1, frames or 1))
    every, episodes = whole_number("every", every, at_least=0), whole_number("episodes", episodes, at_least=1)
    if not isinstance(task, LevelBank):
        config = replace(config, level=task)
        bank = make_bank(config.levels, range(config.train_levels), progress)
        held_out = held_out or held_out_bank(config.levels, episodes, bank, progress)
    else:
        bank = task
        if held_out is None:
            bank, rest = task.split(0.8)
            held_out = mark_seen(rest, bank.fingerprints())
    learner = _learner(agent, config, bank, fast_only)
    count = min(episodes * len(held_out.level_ids), len(held_out))

    before = after = evaluate(learner.agent, held_out, count)
    curve = [Point(0, 0, before.success)]
    name = ",".join(bank.level_ids)
    with tqdm(total=frames or updates, desc=f"{method} on {name}", disable=not progress) as bar:
        while learner.frames < frames or learner.updates < updates:
            learner.update(updates - learner.updates if updates else learner.largest)
            bar.update(min(bar.total, learner.frames if frames else learner.updates) - bar.n)
            if every and learner.updates // every > curve[-1].updates // every:
                after = evaluate(learner.agent, held_out, count)
                curve.append(Point(learner.frames, learner.updates, after.success))
    if curve[-1].updates < learner.updates:
        after = evaluate(learner.agent, held_out, count)
        curve.append(Point(learner.frames, learner.updates, after.success))
    return Adapted(
        task=name,
        method=method,
        fast_only=learner.fast_only,
        frames=learner.frames,
        updates=learner.updates,
        before=before,
        after=after,
        curve=tuple(curve),
        spent=learner.spent,
        agent=learner.agent,
    )


def _experience(frames: int | None, updates: int | None) -> tuple[int, int]:
    """(frames, updates), one of them 0."""
    if frames is not None and updates is not None:
        raise UserError(f"frames={frames!r} and updates={updates!r} say twice how long to adapt; leave one out")
    frames = None if frames is None else whole_number("frames", frames, at_least=0)
    updates = None if updates is None else whole_number("updates", updates, at_least=0)
    return (USUAL if frames is None and updates is None else frames or 0), updates or 0


def _learner(agent: Agent, config: TrainConfig, bank: LevelBank, fast_only: bool) -> Any:
    if not isinstance(agent, Agent):
        raise UserError(f"{type(agent).__name__} has nothing that adapts; give an Agent")
    wanted = find_method(config.method).agent_config(agent.config)
    for name, value in vars(wanted).items():
        if value != getattr(agent.config, name):
            raise UserError(
                f"method {config.method!r} is for agents whose AgentConfig.{name} is {value!r}, this one's is "
                f"{getattr(agent.config, name)!r}; choose another method"
            )
    config = replace(config, agent=agent.config)
    if config.scales.adaptation == "per-task":
        return _PerTask(agent, config, bank)
    return _Online(agent, config, bank, fast_only)


class _Online:
    """A copy of the agent, as a run of its own."""

    largest = 1

    def __init__(self, agent: Agent, config: TrainConfig, bank: LevelBank, fast_only: bool) -> None:
        scales, self.fast_only = config.scales, fast_only
        if fast_only:
            if not scales.fast:
                raise UserError(f"fast_only=True leaves {config.method!r} nothing to learn: it has no fast clock")
            resting = replace(config.timescales, slow=(), frozen=(*scales.frozen, *scales.slow))
            config = replace(config, timescales=resting)
        self.trainer = Trainer(config, bank)
        self.agent = self.trainer.agent
        self.agent.load_state_dict(agent.state_dict())

    frames = property(lambda self: self.trainer.counters["frames"])
    updates = property(lambda self: self.trainer.counters["tick"])

    @property
    def spent(self) -> dict[str, int]:
        return {name: count for name, count in self.trainer.counters.items() if "/" in name}

    def update(self, most: int) -> None:
        """One tick."""
        watched, _ = self.trainer.tick()
        _check_finite(watched, self.frames)


class _PerTask:
    """A copy of the agent that takes the steps of the inner loop itself."""

    fast_only = True

    def __init__(self, agent: Agent, config: TrainConfig, bank: LevelBank) -> None:
        self.config, self.scales, device = config, config.scales, choose_device(config.device)
        if not self.scales.inner_steps:
            raise UserError(f"method {config.method!r} with inner_steps=0 does not adapt; give it some")
        self.agent = copy.deepcopy(agent).to(device)
        by_group = find_groups(self.agent, self.scales)
        fast = {id(p) for group in self.scales.fast for p in by_group[group]}
        self.start = {name: p for name, p in self.agent.named_parameters() if id(p) in fast}
        if not self.start:
            raise UserError(f"method {config.method!r} leaves this agent nothing to adapt: it has no fast parameters")
        B = max(1, (config.num_envs or USUAL_WORLDS) // self.scales.tasks)
        worlds = GridWorlds(bank, B, device=device, seed=config.seed, visits=self.scales.visits)
        self.player = Player(worlds, self.agent, torch.Generator(device=device).manual_seed(2 * config.seed + 1))
        self.steps = self.scales.steps_of_tick("fast", config.steps)
        self.largest, self.frames, self.updates = self.scales.inner_steps, 0, 0

    @property
    def spent(self) -> dict[str, int]:
        return {"frames/fast": self.frames, "inner_steps": self.updates}

    def update(self, most: int) -> None:
        """Fresh support, and up to `most` steps on it."""
        K, span, ppo = min(most, self.largest), self.scales.fast_span, self.config.ppo
        played = self.player.collect(self.agent, self.steps, span)
        support = cut_into_spans(played, span, ppo)
        adapted = adapt(self.agent, self.start, support, 1, K, self.scales.fast_lr, ppo, through=False)
        with torch.no_grad():
            for name, p in self.start.items():
                p.copy_(adapted[name][0])
        self.frames += played.resets.numel()
        self.updates += K
        _check_finite(adapted, self.frames)


def _check_finite(numbers: dict[str, torch.Tensor], frames: int) -> None:
    for name, x in numbers.items():
        if not x.isfinite().all():
            raise Diverged(f"{name} is not finite after {frames:,} frames of adaptation; use lower learning rates")
