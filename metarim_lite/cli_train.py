"""Settings from the defaults, a TOML file and the command line; the commands that train one agent or one model of a
sequence task: train, imitate and adapt."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from .config import overlay, read_toml
from .errors import UserError, unknown
from .experiments.sequences import SEQUENCES, SequenceConfig
from .machine import choose_device
from .models import Agent
from .models.controller import count_parameters
from .training.trainer import TrainConfig

USUAL = 240  # steps a world in which methods are compared: whole cycles of every method of ours at 40 steps a rollout

IMITATION = TrainConfig(imitate=True, frames=1_000_000, train_levels=2_000, num_envs=64, evaluate_every=100_000)


def train(
    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = TrainConfig(), folder: Path | None = None,  # noqa: B008
    tensorboard: bool = False,
) -> None:  # fmt: skip
    """Train an agent. A folder that holds the same run is resumed.

    With `--config FILE.toml` settings come from a file, such as the config.toml of a run; what stands on the command
    line beside it wins. Time scales, from either, are laid over the method's own.

    With `--task NAME` (copying, copying-small, adding, bouncing-balls, digits) train a controller on one of the
    RIM paper's sequence tasks instead; `metarim train --task NAME --help` lists its settings.

    Args:
        config: what to train and how.
        folder: where the run is kept; default runs/METHOD-LEVEL-sSEED.
        tensorboard: also write the metrics as TensorBoard reads them, to FOLDER/tensorboard.
    """
    from . import training

    name = f"{config.method}-{config.level.replace(',', '+')}-s{config.seed}"
    folder = folder or Path("runs") / ("imitate-" * config.imitate + name)
    from .processes import join, leads

    join()
    config = training.fitted(config, folder)
    if leads():
        print(f"{config.method}: {machine_in_words(config)}; {clocks_in_words(config)}")
    run = training.train(config, folder=folder, on_report=_reporter(folder, tensorboard))
    if not leads():
        return
    groups = {name: sum(p.numel() for p in group) for name, group in run.agent.parameter_groups().items()}
    print(f"parameters: {sum(groups.values()):,} ({', '.join(f'{name} {n:,}' for name, n in groups.items() if n)})")
    if run.finished:
        held_out = training.held_out_bank(config.levels, 1000, config.train_levels)
        print(f"held-out levels: {training.evaluate(run.agent, held_out, len(held_out))}")
    if run.metrics:
        print(f"spent: {spent_in_words(run.metrics[-1])}")
    if not run.finished:
        raise KeyboardInterrupt
    print(f"run kept in {folder}")


def imitate(
    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = IMITATION, folder: Path | None = None
) -> None:  # fmt: skip
    """Train an agent to do what minigrid's bot does. Reinforcement learning can go on from there: train --start RUN.

    Args:
        config: what to train and how; frames are steps of demonstrations read.
        folder: where the run is kept; default runs/imitate-METHOD-LEVEL-sSEED.
    """
    train(config, folder)


def adapt(
    agent: tyro.conf.Positional[str],
    task: tyro.conf.Positional[str],
    method: str = "meta-rim",
    frames: int | None = None,
    updates: int | None = None,
    fast_only: bool = False,
    every: int = 0,
    episodes: int = 1000,
    seed: int = 0,
    num_envs: int = 256,
    train_levels: int = 10_000,
) -> None:
    """Let a copy of an agent learn on a task; print its success on held-out levels before and after, with intervals.

    For example: metarim adapt meta-rim-gotolocal BabyAI-PickupLoc-v0 --method meta-rim --frames 40000

    Args:
        agent: file, run folder, or name of a shipped agent.
        task: a level id.
        method: how the copy learns; a method that adapts per task does its inner loop.
        frames: steps of experience over all worlds; default 40,000.
        updates: instead of frames: ticks of the clocks, or per task steps of gradient descent.
        fast_only: leave what is on the slow clock as it is.
        every: updates between two evaluations on the way; 0: none.
        episodes: held-out levels.
        seed: seeds the worlds and the dice of the adaptation.
        num_envs: parallel worlds.
        train_levels: levels of the task to learn on.
    """
    from .experiments import evaluate_adaptation
    from .runs import load_agent

    config = TrainConfig(seed=seed, num_envs=num_envs, train_levels=train_levels)
    how = {"frames": frames, "updates": updates, "fast_only": fast_only, "every": every, "episodes": episodes}
    adapted = evaluate_adaptation(load_agent(agent), task, method, config=config, progress=True, **how)
    for point in adapted.curve[1:-1]:
        print(f"{point.frames:>9,} frames, {point.updates} updates: success {point.success}")
    print(adapted)


def _reporter(folder: Path, tensorboard: bool) -> Callable[[dict[str, Any]], None] | None:
    from .runs.tensorboard import tensorboard_reporter

    return tensorboard_reporter(folder / "tensorboard") if tensorboard else None


def _train_from(path: str, method: str | None) -> Callable[..., None]:
    """`metarim train --config FILE`: the train command with the file's settings as defaults.

    The table [timescales] must fit the method that will hold, which the command line may name.
    """
    named = {} if method is None else {"method": method}
    return _with_default(train, overlay(TrainConfig(), read_toml(path) | named))


def _train_task(name: str, path: str | None) -> Callable[..., None]:
    """`metarim train --task NAME`: the train command of a sequence task, with a file's settings as defaults."""
    from .experiments.sequences import train_sequence

    if name not in SEQUENCES:
        raise unknown("task", name, SEQUENCES)

    def train(
        config: Annotated[SequenceConfig, tyro.conf.arg(name="")], folder: Path | None = None, tensorboard: bool = False
    ) -> None:
        """Train a controller on a sequence task. A folder that holds the same run is resumed.

        Args:
            config: what to train and how; `--config FILE.toml` reads settings from a file.
            folder: where the run is kept; default runs/TASK-CONTROLLER-sSEED.
            tensorboard: also write the metrics as TensorBoard reads them, to FOLDER/tensorboard.
        """
        place = folder or Path("runs") / f"{name}-{config.controller}-s{config.seed}"
        run = train_sequence(config, folder=place, on_report=_reporter(place, tensorboard))
        print(run)
        controller = count_parameters(run.model.controller)
        print(f"parameters: {count_parameters(run.model):,} ({config.controller} {controller:,})")
        if not run.finished:
            raise KeyboardInterrupt
        print(f"run kept in {place}")

    values = {} if path is None else read_toml(path)
    if values.get("task", SEQUENCES[name].task) != SEQUENCES[name].task:
        raise UserError(f"{path!r} holds settings of the task {values['task']!r}, not of {name!r}: change --task")
    return _with_default(train, overlay(SEQUENCES[name], values))


def _with_default(command: Callable[..., None], config: Any) -> Callable[..., None]:
    """The command with this config as its default; tyro reads defaults from signatures."""

    @functools.wraps(command)
    def changed(*args: Any, **kwargs: Any) -> None:
        return command(*args, **kwargs)

    shape = inspect.signature(command, eval_str=True)
    first, *rest = shape.parameters.values()
    changed.__signature__ = shape.replace(parameters=[first.replace(default=config), *rest])  # type: ignore[attr-defined]
    return changed


def train_command(words: list[str]) -> tuple[list[str], Callable[..., None]]:
    """The words of `train` without `--task NAME` and `--config FILE`, and the command that these two ask for."""
    rest, task = _take(words, "--task")
    rest, path = _take(rest, "--config")
    if task is not None:
        return rest, _train_task(task, path)
    return rest, train if path is None else _train_from(path, _take(rest, "--method")[1])


def from_file(words: list[str], command: Callable[..., None]) -> tuple[list[str], Callable[..., None]]:
    """The words without `--config FILE`, and the command with the file's settings as defaults of its config."""
    rest, path = _take(words, "--config")
    if path is None:
        return rest, command
    config, *_ = inspect.signature(command).parameters.values()
    return rest, _with_default(command, overlay(config.default, read_toml(path)))


def _take(words: list[str], flag: str) -> tuple[list[str], str | None]:
    """The words without `flag VALUE` or `flag=VALUE`, and VALUE; None where it is not there."""
    for i, word in enumerate(words):
        if word.startswith(f"{flag}="):
            return words[:i] + words[i + 1 :], word.partition("=")[2]
        if word == flag and i + 1 < len(words):
            return words[:i] + words[i + 2 :], words[i + 1]
    return words, None


def machine_in_words(config: TrainConfig) -> str:
    """What a fitted config asks of the machine, in one line."""
    compiled = ", compiled" if config.agent.kernel == "compiled" else ""
    return f"{config.num_envs} worlds on {choose_device(config.device)}{compiled}"


def clocks_in_words(config: TrainConfig) -> str:
    """The clocks of a run, what they move and what they spend in 240 steps of each world, in one line."""
    from .training import make_clocks, spending
    from .training.methods import method
    from .training.timescales import groups_that_learn

    scales = config.scales
    with torch.random.fork_rng(devices=[]):
        agent = Agent(method(config.method).agent_config(config.agent))
    groups = groups_that_learn(make_clocks(agent, scales))
    spent = spending(scales, config.ppo, config.steps, scales.slow_every + 1, groups=groups)
    share = USUAL / sum(spent.frames.values())
    clocks = []
    for name, span in (("fast", scales.fast_span), ("slow", scales.slow_span)):
        if name in spent.frames:
            on_it = ", ".join(g for g in getattr(scales, name) if g in groups)
            clocks.append(f"{name} clock {on_it} (spans of {span}, {share * spent.frames[name]:.4g} steps)")
    updates = ", ".join(f"{group} {share * count:.4g}" for group, count in spent.updates.items())
    inner = f"; {share * spent.inner_steps:.4g} steps of each task's copy" if spent.inner_steps else ""
    memory = "an episode" if scales.memory == "episode" else f"{scales.task_episodes} episodes of a task"
    return f"{'; '.join(clocks)}; memory of {memory}; in {USUAL} steps a world, updates of {updates}{inner}"


def spent_in_words(counters: dict[str, float]) -> str:
    """What a run has spent, from its counters."""
    frames = ", ".join(f"{k.split('/')[1]} {v:,}" for k, v in counters.items() if k.startswith("frames/"))
    updates = ", ".join(f"{k.split('/')[1]} {v:,}" for k, v in counters.items() if k.startswith("updates/"))
    inner = f"; steps of each task's copy {counters['inner_steps']:,}" if counters.get("inner_steps") else ""
    return f"frames by clock: {frames}; updates by group: {updates}{inner}"
