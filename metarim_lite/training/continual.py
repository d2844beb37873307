"""One task after another: what does an agent forget?

A run has one stage per task. After each stage the agent is evaluated on held-out levels of all tasks; these
rows are the success matrix, which metarim_lite.analysis.forgetting turns into measures. Agent, optimizers and
clocks go on from stage to stage; worlds and the controller's memory begin afresh.

Three yardsticks stand beside plain training ("none"):

    replay   from the second stage on, a share of the worlds plays the old tasks, split evenly among them, so that
             every batch holds fresh experience of old tasks (old levels are kept, not old transitions)
    ewc      weights are held near their old values, each as strongly as it matters to the old tasks (see ewc.py)
    joint    in every stage all tasks at once, the worlds split evenly: the upper bound, with as many frames in all
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..analysis import Estimate
from ..analysis.forgetting import area_under_curve, summarize
from ..envs import GridWorlds, LevelBank
from ..envs.missions import MISSION_LENGTH, VOCABULARY
from ..errors import UserError, unknown
from ..models import Agent
from .adaptation import TaskLearner, TaskWorlds
from .checkpoints import STATE, make_folder, open_folder, read_checkpoint, replace_file, save_agent, write_checkpoint
from .evaluation import evaluate
from .ewc import ElasticWeights, fisher_diagonal
from .ppo import cut_into_spans
from .rollouts import Player
from .side_by_side import SideBySide
from .trainer import (
    HELD_OUT_SEEDS,
    TrainConfig,
    Trainer,
    _advance,
    _read_metrics,
    _stop_at_next_tick,
    make_bank,
    train,
)

YARDSTICKS = ("none", "replay", "ewc", "joint")


@dataclass(frozen=True)
class ContinualConfig:
    """Everything that decides a sequence of tasks. Same config, same device: same run."""

    base: TrainConfig = field(default_factory=TrainConfig)
    """How each stage trains: method, sizes, seed. Its `level` and `frames` are not used."""
    tasks: tuple[str, ...] = ("BabyAI-GoToLocal-v0", "BabyAI-PickupLoc-v0", "BabyAI-OpenDoor-v0")
    """Level ids, in the order in which they are trained."""
    frames: int = 500_000
    """Steps to play in each stage, over all worlds."""
    yardstick: str = "none"
    """"none", "replay", "ewc" or "joint"."""
    replay_share: float = 0.25
    """Share of the worlds that plays old tasks, from the second stage on."""
    ewc_strength: float = 1000.0
    """λ: how strongly weights are held."""
    ewc_decay: float = 1.0
    """γ: how much of the older tasks' stiffness stays when a task is added."""
    ewc_spans: int = 256
    """Spans played after each stage to estimate the Fisher information."""

    def __post_init__(self) -> None:
        check_tasks(self.tasks, least=2)
        if self.yardstick not in YARDSTICKS:
            raise unknown("yardstick", self.yardstick, YARDSTICKS)
        for name in ("frames", "ewc_spans"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise UserError(f"ContinualConfig.{name} is {value!r}; it must be a whole number of at least 1")
        if not 0 < self.replay_share < 1:
            raise UserError(f"ContinualConfig.replay_share is {self.replay_share!r}; it must lie between 0 and 1")
        if not self.ewc_strength > 0:
            raise UserError(f"ContinualConfig.ewc_strength is {self.ewc_strength!r}; it must be greater than 0")
        if not 0 <= self.ewc_decay <= 1:
            raise UserError(f"ContinualConfig.ewc_decay is {self.ewc_decay!r}; it must lie between 0 and 1")
        if self.base.scales.adaptation == "per-task" and self.yardstick in ("replay", "ewc"):
            raise UserError(
                f"yardstick {self.yardstick!r} needs adaptation='online', method {self.base.method!r} adapts per task; "
                "choose 'none' or 'joint', or another method"
            )
        for stage in range(len(self.tasks)):
            if any(count < 1 for _, count in self.worlds_of_stage(stage)):
                raise UserError(
                    f"{self.base.num_envs} worlds with yardstick {self.yardstick!r} leave a task without a world in "
                    f"stage {stage}; use more worlds"
                )

    def worlds_of_stage(self, stage: int) -> list[tuple[int, int]]:
        """(task, number of worlds) for every task that is played in this stage."""
        B = self.base.num_envs
        if self.yardstick == "joint":
            return _deal(B, range(len(self.tasks)))
        if self.yardstick != "replay" or stage == 0:
            return [(stage, B)]
        old = round(self.replay_share * B)
        return [(stage, B - old), *_deal(old, range(stage))]

    def config_of_stage(self, stage: int) -> TrainConfig:
        """What the trainer reads while this stage runs. Frames count from the beginning of the sequence."""
        return replace(self.base, level=self.tasks[stage], frames=self.frames * (stage + 1))


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

    def __init__(self, sequence: ContinualConfig, banks: Sequence[LevelBank]) -> None:
        super().__init__(sequence.config_of_stage(0), banks[0])
        self.sequence, self.banks = sequence, list(banks)
        self.counters["stage"] = 0
        self.elastic = None
        if sequence.yardstick == "ewc":
            self.elastic = ElasticWeights(self.agent, sequence.ewc_strength, sequence.ewc_decay)
        self.begin_stage(0)

    def begin_stage(self, stage: int) -> None:
        """New worlds and a cleared memory; agent, optimizers, clocks and dice stay as they are."""
        self.config = self.sequence.config_of_stage(stage)
        shares, B, seed = self.sequence.worlds_of_stage(stage), self.config.num_envs, self.config.seed
        if self.learner is not None:  # per task: a batch of tasks, cut from the levels of this stage
            scales, bank = self.config.scales, LevelBank.concat([self.banks[task] for task, _ in shares])
            worlds: Any = TaskWorlds(bank, scales.tasks, B, self.device, _seed(seed, stage, 0))
            self.learner = TaskLearner(self.agent, self.clocks["slow"], scales, self.config.ppo, worlds)
        else:
            parts = [
                GridWorlds(self.banks[task], count, device=self.device, seed=_seed(seed, stage, n))
                for n, (task, count) in enumerate(shares)
            ]
            worlds = parts[0] if len(parts) == 1 else SideBySide(parts)
        self.player = Player(worlds, self.agent, self.player.generator)

    def end_stage(self) -> None:
        """What a yardstick has to remember of the task just trained, then the next stage."""
        stage, last = self.counters["stage"], len(self.sequence.tasks) - 1
        if self.elastic is not None and stage < last:
            self.elastic.hold(self.fisher())
        self.counters["stage"] = stage + 1
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

    def tensors(self) -> dict[str, Tensor]:
        springs = {} if self.elastic is None else self.elastic.state_dict()
        return super().tensors() | {f"ewc/{k}": v for k, v in springs.items()}

    def restore(self, tensors: dict[str, Tensor], counters: dict[str, Any], what: str) -> None:
        stage, S = counters.get("stage"), len(self.sequence.tasks)
        if not isinstance(stage, int) or not 0 <= stage <= S:
            raise UserError(f"{what}: field 'stage' of {STATE} is {stage!r}, expected 0 to {S}")
        self.begin_stage(min(stage, S - 1))
        super().restore(tensors, counters, what)
        if self.elastic is not None:
            self.elastic.load_state_dict({k.removeprefix("ewc/"): v for k, v in tensors.items() if k[:4] == "ewc/"})


def _seed(seed: int, stage: int, part: int) -> int:
    """Seed of the worlds of one part of a stage. The first is the run's own: stage 0 is what `train` would do."""
    return seed + 1_000_003 * stage + 7_919 * part


@dataclass
class ContinualRun:
    """What a sequence of tasks leaves behind."""

    config: ContinualConfig
    agent: Agent
    before: list[Estimate]
    """Success on each task before any training."""
    rows: list[list[Estimate]]
    """rows[i][j]: success on held-out levels of task j after stage i."""
    metrics: list[dict[str, Any]]
    folder: Path | None
    finished: bool
    """False when it was stopped by Ctrl-C."""

    @property
    def success(self) -> np.ndarray:
        """The success matrix R [stages done, S]."""
        return np.array([[cell.value for cell in row] for row in self.rows]).reshape(-1, len(self.config.tasks))

    def summary(self) -> dict[str, float]:
        """The measures of analysis.forgetting, by name. For "joint", which has no own stages, the first only."""
        numbers = summarize(self.success, [cell.value for cell in self.before])
        joint = self.config.yardstick == "joint"
        return {k: v for k, v in numbers.items() if not joint or k == "average_performance"}

    def table(self) -> str:
        """The success matrix with 95 % intervals, in Markdown."""
        return matrix_table(self.config.tasks, [self.before, *self.rows], self.config.yardstick == "joint")

    def areas(self) -> list[float]:
        """Area under each task's curve during its own stage, for analysis.forward_transfer beside `areas_alone`.

        The curve is measured on held-out levels at both ends of the stage and, where `base.evaluate_every` is set,
        in between.

        Raises:
            UserError: the yardstick is "joint", which trains no task by itself.
        """
        if self.config.yardstick == "joint":
            raise UserError("yardstick 'joint' trains no task by itself; measure forward transfer with another")
        corners, begin, areas = [self.before, *self.rows], 0, []
        for j in range(len(self.rows)):
            lines = [line for line in self.metrics if line["stage"] == j]
            areas.append(_area(lines, begin, corners[j][j].value, corners[j + 1][j].value))
            begin = lines[-1]["frames"]
        return areas


def _area(lines: list[dict[str, Any]], begin: int, first: float, last: float) -> float:
    """Area under the held-out curve of one training, given its first number of frames and the success at both ends."""
    inner = [(line["frames"], line["held_out_success"]) for line in lines[:-1] if "held_out_success" in line]
    frames, success = zip((begin, first), *inner, (lines[-1]["frames"], last), strict=True)
    return area_under_curve(frames, success)


def matrix_table(tasks: Sequence[str], rows: Sequence[Sequence[Estimate]], joint: bool = False) -> str:
    """A Markdown table: the first row before training, then one row per stage."""
    stages = [f"all tasks, part {n}" for n in range(1, len(rows))] if joint else list(tasks)
    lines = [_line(["after training on", *tasks]), "|---" * (len(tasks) + 1) + "|"]
    return "\n".join([*lines, *(_line([name, *row]) for name, row in zip(["nothing", *stages], rows, strict=False))])


def _line(cells: Sequence[Any]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def train_sequence_of_tasks(
    config: ContinualConfig | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
    *,
    banks: Sequence[LevelBank] | None = None,
    held_out: Sequence[LevelBank] | None = None,
    on_report: Callable[[dict[str, Any]], None] | None = None,
) -> ContinualRun:
    """Train on one task after the other and fill in the success matrix; with a folder, survive being killed.

    Arguments:
        config: which tasks, how long, how, beside which yardstick.
        folder: where to keep config, metrics, checkpoints, the agent after each stage (`agent-1.safetensors`, …), and
            the matrix (`matrix.json`). A folder that holds a run of the same config is resumed. None: nothing is kept.
        progress: show a bar.
        banks: for each task, levels to train on instead of `base.train_levels` seeds of it.
        held_out: for each task, levels to evaluate on instead of `base.evaluate_episodes` seeds that no training sees.
        on_report: called with each line of the metrics.

    Returns:
        The ContinualRun: agent, success matrix with intervals, metrics.

    Raises:
        UserError: as `train`; tasks that do not share the vocabulary.
    """
    config = config or ContinualConfig()
    base, S = config.base, len(config.tasks)
    folder = None if folder is None else make_folder(folder)
    resume = folder is not None and open_folder(folder, config, may_change="")
    if banks is None:
        banks = [make_bank((task,), range(base.train_levels), progress) for task in config.tasks]
    if held_out is None:
        held_out = held_out_levels(config.tasks, base.evaluate_episodes, progress)
    check_shared(banks, config.tasks)
    check_shared(held_out, config.tasks)

    trainer = ContinualTrainer(config, banks)
    metrics: list[dict[str, Any]] = []
    if resume:
        tensors, state = read_checkpoint(folder)
        trainer.restore(tensors, state.get("counters", {}), f"checkpoint in {str(folder)!r}")
        metrics = _read_metrics(folder, trainer.counters["reports"])
        rows = _read_rows(state, trainer.counters["stage"], S, folder)
    else:
        rows = [_row(trainer.agent, held_out, base.evaluate_episodes)]

    def save() -> None:
        if folder is not None:
            write_checkpoint(folder, trainer.tensors(), {"counters": trainer.counters, "rows": rows})

    bar = tqdm(
        total=config.frames * S, initial=trainer.counters["frames"], unit=" frames", unit_scale=True,
        desc=f"{base.method}, {config.yardstick}", disable=not progress,
    )  # fmt: skip
    with bar, _stop_at_next_tick() as stopped:
        while trainer.counters["stage"] < S and not stopped():
            stage = trainer.counters["stage"]
            if trainer.counters["frames"] < trainer.config.frames:
                watched = None if config.yardstick == "joint" else held_out[stage]
                line = _advance(trainer, watched, stopped, bar) | {"stage": stage, "task": config.tasks[stage]}
                metrics.append(line)
                if folder is not None:
                    with (folder / "metrics.jsonl").open("a") as f:
                        f.write(json.dumps(line) + "\n")
                save()
                if on_report is not None:
                    on_report(line)
            else:
                rows.append(_row(trainer.agent, held_out, base.evaluate_episodes))
                if folder is not None:
                    _keep_stage(folder, config, rows, trainer.agent)
                trainer.end_stage()
                save()
    finished = trainer.counters["stage"] == S
    if folder is not None and finished:
        save_agent(folder / "agent", trainer.agent, {"method": base.method, "tasks": ",".join(config.tasks)})
    return ContinualRun(config, trainer.agent, rows[0], rows[1:], metrics, folder, finished)


def areas_alone(config: ContinualConfig, folder: str | Path | None = None, progress: bool = True) -> list[float]:
    """Train each task alone, from nothing, for as many frames, and give the area under each curve.

    For `analysis.forward_transfer(run.areas(), areas_alone(config))`. It takes as long as the sequence did.

    Arguments:
        folder: keeps one run per task in it, each resumed if it is there.
    """
    areas = []
    for task, levels in zip(config.tasks, held_out_levels(config.tasks, config.base.evaluate_episodes), strict=True):
        alone = replace(config.base, level=task, frames=config.frames)
        first = _row(Trainer(alone, levels).agent, [levels], alone.evaluate_episodes)[0]
        run = train(alone, folder=None if folder is None else Path(folder) / task, progress=progress, held_out=levels)
        last = _row(run.agent, [levels], alone.evaluate_episodes)[0]
        areas.append(_area(run.metrics, 0, first.value, last.value))
    return areas


def held_out_levels(tasks: Sequence[str], episodes: int, progress: bool = False) -> list[LevelBank]:
    """For each task, levels with seeds that training never uses."""
    return [make_bank((task,), range(HELD_OUT_SEEDS, HELD_OUT_SEEDS + episodes), progress) for task in tasks]


def _row(agent: Agent, held_out: Sequence[LevelBank], episodes: int) -> list[Estimate]:
    """Success on each task, with the same dice every time."""
    return [evaluate(agent, bank, min(episodes, len(bank))).success for bank in held_out]


def _keep_stage(folder: Path, config: ContinualConfig, rows: list[list[Estimate]], agent: Agent) -> None:
    """The matrix so far, and the agent as it is after this stage."""
    stage = len(rows) - 1
    save_agent(folder / f"agent-{stage}", agent, {"method": config.base.method, "after": config.tasks[stage - 1]})
    matrix = {"tasks": config.tasks, "yardstick": config.yardstick, "before": rows[0], "rows": rows[1:]}
    replace_file(folder / "matrix.json", json.dumps(matrix, indent=1).encode())


def _read_rows(state: dict[str, Any], stage: int, S: int, folder: Path) -> list[list[Estimate]]:
    try:
        rows = [[Estimate(*map(float, cell)) for cell in row] for row in state["rows"]]
    except (KeyError, TypeError, ValueError):
        rows = []
    if [len(row) for row in rows] != [S] * (stage + 1):
        raise UserError(
            f"field 'rows' of {str(folder / STATE)!r} is damaged, expected {stage + 1} rows of {S} estimates; "
            "start the run in a new folder"
        )
    return rows
