"""A sequence of tasks: what each stage trains on, and what goes on from stage to stage.

Agent, optimizers and clocks go on; worlds and the controller's memory begin afresh. Three yardsticks stand beside plain
training ("none"):

    replay   from the second stage on, a share of the worlds plays the old tasks, split evenly among them, so that
             every batch holds fresh experience of old tasks (old levels are kept, not old transitions)
    ewc      weights are held near their old values, each as strongly as it matters to the old tasks (see ewc.py)
    joint    in every stage all tasks at once, the worlds split evenly: the upper bound, with as many frames in all
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..config import bounded, check
from ..envs import GridWorlds, LevelBank
from ..envs.missions import MISSION_LENGTH, VOCABULARY
from ..errors import UserError
from ..runs.checkpoints import STATE
from ..training.adaptation import Adaptation, task_worlds
from ..training.fitting import USUAL_WORLDS
from ..training.ppo import cut_into_spans
from ..training.rollouts import Player
from ..training.trainer import TrainConfig, Trainer
from .ewc import ElasticWeights, fisher_diagonal

YARDSTICKS = ("none", "replay", "ewc", "joint")


@dataclass(frozen=True)
class ContinualConfig:
    """Everything that decides a sequence of tasks. Same config, same device: same run."""

    base: TrainConfig = field(default_factory=TrainConfig)
    """How each stage trains: method, sizes, seed. Its `level` and `frames` are not used."""
    tasks: tuple[str, ...] = ("MiniGrid-GoToDoor-5x5-v0", "MiniGrid-Fetch-5x5-N2-v0", "BabyAI-GoToLocalS5N2-v0")
    """Level ids, in the order in which they are trained. The default's are small, but a mission ends by another act in
    each: say done at a door, pick up, be beside. What one task teaches to do at the goal, the next unlearns."""
    frames: int = bounded(300_000, at_least=1)
    """Steps to play in each stage, over all worlds, rounded up to whole ticks."""
    yardstick: str = bounded("none", one_of=YARDSTICKS)
    """"none", "replay", "ewc" or "joint"."""
    replay_share: float = bounded(0.25, above=0, below=1)
    """Share of the worlds that plays old tasks, from the second stage on."""
    ewc_strength: float = bounded(300.0, above=0)
    """λ: how strongly weights are held. Too weak: the old task is forgotten; too strong: the new one is not learnt."""
    ewc_decay: float = bounded(1.0, at_least=0, at_most=1)
    """γ: how much of the older tasks' stiffness stays when a task is added."""
    ewc_spans: int = bounded(256, at_least=1)
    """Spans played after each stage to estimate the Fisher information."""

    def __post_init__(self) -> None:
        check(self)
        check_tasks(self.tasks, least=2)
        if self.base.imitate:
            raise UserError("a sequence of tasks is learned from reward; leave base.imitate off")
        if self.base.scales.adaptation == "per-task" and self.yardstick in ("replay", "ewc"):
            raise UserError(
                f"yardstick {self.yardstick!r} needs adaptation='online', method {self.base.method!r} adapts per task; "
                "choose 'none' or 'joint', or another method"
            )
        for stage in range(len(self.tasks)):
            if any(count < 1 for _, count in self.worlds_of_stage(stage)):
                raise UserError(
                    f"{self.worlds} worlds with yardstick {self.yardstick!r} leave a task without a world in "
                    f"stage {stage}; use more worlds"
                )

    def pinned(self) -> dict[str, Any]:
        return {"base": self.base.pinned()}

    @property
    def worlds(self) -> int:
        """Parallel worlds: those of `base`, or 256 on any device, so that shares of tasks do not depend on it."""
        return self.base.num_envs or USUAL_WORLDS

    def worlds_of_stage(self, stage: int) -> list[tuple[int, int]]:
        """(task, number of worlds) for every task that is played in this stage."""
        B = self.worlds
        if self.yardstick == "joint":
            return _deal(B, range(len(self.tasks)))
        if self.yardstick != "replay" or stage == 0:
            return [(stage, B)]
        old = rehearsed(self.replay_share, B)
        return [(stage, B - old), *_deal(old, range(stage))]

    def config_of_stage(self, stage: int, began: int = 0) -> TrainConfig:
        """What the trainer reads while this stage runs, which began after so many frames of the sequence."""
        return replace(self.base, level=self.tasks[stage], frames=began + self.frames, num_envs=self.worlds)


def rehearsed(share: float, B: int) -> int:
    """How many of B places old tasks get, rounded down, so that never more than their share is taken from the new."""
    return int(share * B)


def _deal(count: int, tasks: Sequence[int]) -> list[tuple[int, int]]:
    """`count` worlds dealt to tasks as evenly as can be, the first ones getting one more."""
    each, more = divmod(count, len(tasks))
    return [(task, each + (n < more)) for n, task in enumerate(tasks)]


def check_tasks(tasks: Sequence[str], least: int = 1) -> None:
    """
    Raises:
        UserError: not a list of names, too few, or a name that is there twice.
    """
    if isinstance(tasks, str) or not all(isinstance(task, str) for task in tasks):
        raise UserError(f"tasks must be a list of level names, got {tasks!r}")
    if len(tasks) < least:
        raise UserError(f"got {len(tasks)} tasks; name at least {least}, such as BabyAI-GoToLocal-v0")
    twice = [task for task in tasks if list(tasks).count(task) > 1]
    if twice:
        raise UserError(f"task {twice[0]!r} is named twice; name each task once")


def check_shared(banks: Sequence[LevelBank], names: Sequence[str]) -> None:
    """One agent reads all tasks, so missions must be made of the package's vocabulary.

    Raises:
        UserError: a bank is missing, or one speaks another vocabulary.
    """
    if len(banks) != len(names):
        raise UserError(f"got {len(banks)} banks for {len(names)} tasks; give one for each task")
    for name, bank in zip(names, banks, strict=True):
        mission = bank.tables["mission"]
        if mission.shape[1] != MISSION_LENGTH or int(mission.max()) >= len(VOCABULARY) or int(mission.min()) < 0:
            raise UserError(
                f"task {name!r} has another vocabulary (missions {tuple(mission.shape)}, tokens up to "
                f"{int(mission.max())}, expected {MISSION_LENGTH} tokens below {len(VOCABULARY)}); "
                "use levels that this package generated"
            )


class ContinualTrainer(Trainer):
    """A `Trainer` that goes from task to task."""

    def __init__(self, sequence: ContinualConfig, banks: Sequence[LevelBank], fresh: bool = True) -> None:
        super().__init__(sequence.config_of_stage(0), banks[0], fresh=fresh)
        self.sequence, self.banks = sequence, list(banks)
        self.counters |= {"stage": 0, "stage_began": 0}
        self.elastic = None
        if sequence.yardstick == "ewc":
            optimizers = [clock.optimizer for clock in self.clocks.values() if clock.optimizer is not None]
            self.elastic = ElasticWeights(self.agent, optimizers, sequence.ewc_strength, sequence.ewc_decay)
        self.begin_stage(0)

    def begin_stage(self, stage: int) -> None:
        """New worlds and a cleared memory; agent, optimizers, clocks and dice stay as they are."""
        self.config = self.sequence.config_of_stage(stage, self.counters["stage_began"])
        shares, B, seed = self.sequence.worlds_of_stage(stage), self.config.num_envs, self.config.seed
        scales = self.config.scales
        if self.adaptation is not None:  # per task: a batch of tasks, cut from the levels of this stage
            bank = LevelBank.concat([self.banks[task] for task, _ in shares])
            worlds, tasks = task_worlds(bank, scales.tasks, B, self.device, _seed(seed, stage, 0), scales.visits)
            self.adaptation = Adaptation(
                self.agent, self.clocks["slow"], scales, self.config.ppo, worlds, tasks, self.config.steps
            )
        else:
            banks, counts = [self.banks[task] for task, _ in shares], [count for _, count in shares]
            seeds = [_seed(seed, stage, n) for n in range(len(shares))]
            worlds = GridWorlds.side_by_side(banks, counts, seeds, self.device, scales.visits)
        self.player = Player(worlds, self.agent, self.player.generator)
        self.recorder.forget()  # these worlds are new, and so may be what an optimizer's step is followed by

    def end_stage(self) -> None:
        """What a yardstick has to remember of the task just trained, then the next stage."""
        stage, last = self.counters["stage"], len(self.sequence.tasks) - 1
        if self.elastic is not None and stage < last:
            self.elastic.hold(self.fisher())
        self.counters |= {"stage": stage + 1, "stage_began": self.counters["frames"]}
        if stage < last:
            self.begin_stage(stage + 1)

    def fisher(self) -> dict[str, Tensor]:
        """Fisher information of the policy on fresh spans of the task being played."""
        B, span, left = self.config.num_envs, self.config.scales.fast_span, self.sequence.ewc_spans
        total = {name: torch.zeros_like(p) for name, p in self.agent.named_parameters()}
        while left > 0:
            spans = cut_into_spans(self.player.collect(self.agent, span, span), span, self.config.ppo)
            count = min(left, B)
            part = fisher_diagonal(self.agent, spans.pick(torch.arange(count, device=self.device)))
            total = {name: F + part[name] * count / self.sequence.ewc_spans for name, F in total.items()}
            left -= count
        return total

    def parts(self) -> dict[str, Any]:
        return super().parts() | ({} if self.elastic is None else {"ewc": self.elastic})

    def restore(self, tensors: dict[str, Tensor], counters: dict[str, Any], what: str) -> None:
        stage, S = counters.get("stage"), len(self.sequence.tasks)
        if not isinstance(stage, int) or not 0 <= stage <= S:
            raise UserError(f"{what}: field 'stage' of {STATE} is {stage!r}, expected 0 to {S}")
        began = counters.get("stage_began")
        if type(began) is not int or began < 0:
            raise UserError(f"{what}: field 'stage_began' of {STATE} is {began!r}, expected a number of at least 0")
        self.counters["stage_began"] = began
        self.begin_stage(min(stage, S - 1))
        super().restore(tensors, counters, what)


def _seed(seed: int, stage: int, part: int) -> int:
    """Seed of the worlds of one part of a stage. The first is the run's own: stage 0 is what `train` would do."""
    return seed + 1_000_003 * stage + 7_919 * part
