"""What all runs share: a folder that survives a kill.

    config.json              what decides the run, spelled out (pins.py); config.toml for `metarim train --config`
    metrics.jsonl            one line per report, but for lines that were lost (metrics.py)
    diverged.json            only of a run that diverged: where, and the sentence that said so
    checkpoint.safetensors   the whole run as tensors at the last report, with state.json beside it (checkpoints.py)

state.json also records how many threads torch had on the CPU: sums are rounded otherwise with another number, so a run
keeps the one it began with.

Whoever learns advances in ticks (loop.py). Between two ticks a `Learner` is a set of tensors and counters, which is
what a checkpoint holds. So a run goes on after a kill as if nothing had happened.

A line of metrics.jsonl is about the ticks since the line before. Its keys, for an agent:

    frames                    steps played since the beginning, over all worlds
    tick                      ticks since the beginning
    episodes                  episodes that count now: they began so long ago that even the longest would have ended
                              (training/counting.py), so that short ones have no advantage; each counts in one line
    success                   share of them that ended in success, where there are some
    reward                    mean reward of an episode, where there are some
    length                    mean steps of an episode, where there are some
    episodes/KIND             those with a mission of one kind, where there are some: MISSION_KINDS in envs/missions.py
    success/KIND              share of them that ended in success
    frames_per_second         steps played per second of training (evaluations apart)
    seconds                   seconds of training since the beginning
    held_out_success          success on held-out levels, where an evaluation was due
    held_out_seen             share of these levels that are identical to a training level, where there are some
    frames/CLOCK              steps played for one clock since the beginning (CLOCK is fast or slow; per task, fast is
                              what the copies adapt on)
    updates/GROUP             optimizer steps of one group (or part of one) since the beginning

and, as means over the minibatches of one clock (CLOCK is fast or slow):

    CLOCK/loss                policy_loss + value · value_loss − entropy bonus
    CLOCK/policy_loss         PPO's clipped loss
    CLOCK/value_loss          half the squared error of the critic
    CLOCK/entropy             entropy of the policy in nats, between 0 and ln 7
    CLOCK/kl                  KL(old policy, new policy), Schulman's estimate
    CLOCK/clip_fraction       share of steps whose probability ratio was clipped
    CLOCK/largest_h           largest |h| of the controller after a rollout; beyond 100 a warning is logged
    CLOCK/ratio_error         largest |ratio − 1| before the first update: rounding noise, or something is wrong
    CLOCK/history             steps of history that a step of a span has, in the mean: those since the span began or the
                              memory was last cleared, itself included; (span + 1) / 2 where nothing was cleared
    CLOCK/grad_norm/GROUP     norm of the gradient of one group (or part of one) before clipping

where minigrid's bot is imitated (training/imitation.py):

    CLOCK/cross_entropy       −log π of the bot's actions, instead of policy_loss
    CLOCK/accuracy            share of the bot's actions that are the agent's likeliest

per task, besides (training/adaptation.py):

    CLOCK/movement            how far adaptation moves the copies, as a norm, mean over tasks
    CLOCK/reward_before       mean reward of a step before adaptation
    CLOCK/reward_after        and after it
    inner_steps               gradient steps of each task's copy since the beginning

in a sequence of tasks (experiments/continual.py):

    stage                     number of the stage
    task                      level id trained in it

for a sequence task (experiments/sequences.py):

    update                    updates since the beginning
    loss                      the task's loss on training data
    gradient_norm             norm of the gradient before clipping
    test/SPLIT                the task's metric on a test split
    updates_per_second        updates per second of training (tests apart)
    seconds                   seconds of training since the beginning
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor
from torch.optim import Optimizer

from ..config import from_dict, to_dict, to_toml
from ..errors import UserError
from ..files import append_line, make_folder, replace_file, user_path
from ..flat import fill, part_of
from ..machine import fitting_threads, fixed_threads
from ..processes import leader_first, leads
from .checkpoints import STATE, read_checkpoint, write_checkpoint, write_state
from .metrics import DIVERGED, METRICS, read_metrics
from .pins import check_redefined, compared, read_config, write_settings

log = logging.getLogger(__name__)

OTHERS = {
    "levels": "plays other levels; give it the same bank",
    "held_out": "is evaluated on other held-out levels; give it the same",
}


class Learner:
    """What learns in ticks, and can be taken apart and put together between them.

    Whoever inherits sets `counters` (with "reports" and "seconds") and `dice`, and says what it is made of.
    """

    counters: dict[str, Any]
    dice: torch.Generator
    warned = False
    """Whether it was said that its states are large (loop.py)."""

    def parts(self) -> dict[str, Any]:
        """By name: optimizers, and whatever has a flat `state_dict` of tensors and a `load_state_dict`."""
        raise NotImplementedError

    def tensors(self) -> dict[str, Tensor]:
        """The whole run as plain tensors."""
        flat = {"dice": self.dice.get_state()}
        for name, part in self.parts().items():
            saved = _memory(part) if isinstance(part, Optimizer) else part.state_dict()
            flat |= {f"{name}/{k}": v for k, v in saved.items()}
        return flat

    def restore(self, tensors: dict[str, Tensor], counters: dict[str, Any], what: str) -> None:
        """Go on from what `tensors()` gave.

        Raises:
            UserError: a field is missing, unknown, of another shape or not finite.
        """
        _check_counters(counters, self.counters, what)
        saved = {name: part_of(tensors, f"{name}/") for name in self.parts()}
        expected = self.tensors()
        for name, part in self.parts().items():
            if isinstance(part, Optimizer) and saved[name]:  # it has no memory before its first step
                expected |= {f"{name}/{k}": v for k, v in _adam_shapes(part).items()}
        fill(expected, tensors, what)
        try:
            for name, part in self.parts().items():
                if isinstance(part, Optimizer):
                    _remember(part, saved[name])
                else:
                    part.load_state_dict(saved[name])
            self.dice.set_state(tensors["dice"].cpu())
        except RuntimeError as error:  # torch knows its generators: not every state is one
            raise UserError(
                f"{what} is damaged or was made on another kind of device: {str(error).splitlines()[0]}; go on with it "
                "there, or start the run in a new folder"
            ) from None
        self.counters = dict(counters)


def _check_counters(counters: Any, expected: dict[str, Any], what: str) -> None:
    if not isinstance(counters, dict) or set(counters) != set(expected):
        raise UserError(f"{what}: field 'counters' of {STATE} is {counters!r}, expected numbers for {sorted(expected)}")
    for name, number in counters.items():
        if type(number) not in (int, type(expected[name])) or number < 0:
            raise UserError(f"{what}: field {name!r} of {STATE} is {number!r}, expected a number of at least 0")


def _memory(optimizer: Optimizer) -> dict[str, Tensor]:
    """What an optimizer remembers, as flat names: "<parameter number>.<what>"."""
    return {f"{i}.{k}": v for i, slots in optimizer.state_dict()["state"].items() for k, v in slots.items()}


def _remember(optimizer: Optimizer, saved: dict[str, Tensor]) -> None:
    """The inverse of `_memory`."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in saved.items():
        number, key = name.split(".", 1)
        state.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _adam_shapes(optimizer: Optimizer) -> dict[str, Tensor]:
    """What Adam remembers after its first step, by name, with the right shapes."""
    shapes: dict[str, Tensor] = {}
    for i, p in enumerate(p for group in optimizer.param_groups for p in group["params"]):
        shapes |= {f"{i}.step": torch.zeros(()), f"{i}.exp_avg": p.detach(), f"{i}.exp_avg_sq": p.detach()}
    return shapes


LEFT_OPEN = {"num_envs": "0", "kernel": '"auto"'}  # what a config leaves to the machine, or to the run as it began


class RunFolder:
    """Where a run is kept. Without a path nothing is written, and there is nothing to go on from.

    Args:
        path: a new folder, or that of the same run.
        config: what decides the run.
        may_change: settings that may differ from the kept ones, by dotted name; numbers only grow, so that a run can
            be made longer.
        threads: of torch, for a new run; 0: as many as fit. A run that goes on has those that it began with.

    Raises:
        UserError: the folder cannot be written to, or holds something else; the checkpoint is damaged.
    """

    def __init__(
        self, path: str | Path | None, config: Any, may_change: tuple[str, ...] = (), threads: int = 0
    ) -> None:
        self.path, self.config = None if path is None else user_path(path), config
        self.metrics: list[dict[str, Any]] = []
        self.lost = 0  # reports whose line is gone
        self.threads = threads or fitting_threads()
        with leader_first():
            if self.path is not None and leads():
                check_folder(make_folder(self.path), config, may_change)
            self.resumes = self.path is not None and (self.path / STATE).exists()
            self._found = read_checkpoint(self.path) if self.resumes else ({}, {})
        if self.resumes:
            self.threads = self._recorded_threads(self._found[1])

    def _recorded_threads(self, state: dict[str, Any]) -> int:
        threads = state.get("threads")
        if threads is None:  # a run kept from before they were recorded
            log.warning("the run in %s does not say how many threads it had; it goes on with %d, which may round "
                        "otherwise", self.path, self.threads)  # fmt: skip
            return self.threads
        if type(threads) is not int or threads < 1:
            raise UserError(f"field 'threads' of {str(self.path / STATE)!r} is {threads!r}; start in a new folder")
        return threads

    def resume(self, learner: Learner, checksums: dict[str, list[int]] | None = None) -> dict[str, Any]:
        """Put the learner where the run was left. Returns what `save` was given besides; {} in a new folder.

        Args:
            checksums: of the levels that its worlds play ("levels") and of those that its agent is evaluated on
                ("held_out"), as `save` was given them.

        Raises:
            UserError: the checkpoint was made by another configuration or on other levels, or its metrics are damaged.
        """
        if not self.resumes:
            return {}
        (tensors, state), self._found = self._found, ({}, {})
        learner.restore(tensors, state.get("counters", {}), f"checkpoint in {str(self.path)!r}")
        for name, mine in (checksums or {}).items():
            if state.get(name, mine if name == "held_out" else None) != mine:  # older runs do not say what was held out
                raise UserError(f"the run in this folder {OTHERS[name]}, or choose another folder")
        if leads():
            count = state.get("lines", learner.counters["reports"])
            self.metrics = read_metrics(self.path, count, state.get("line"))
            self.lost = learner.counters["reports"] - len(self.metrics)
            if len(self.metrics) < count:  # those that are lost are counted no longer
                write_state(self.path, state | {"lines": len(self.metrics)})
        return state

    def begin(self, finished: bool, result: str) -> None:
        """Make the folder this run's, once nothing speaks against going on: from here on its config is this one.

        Args:
            finished: whether there is nothing left to do.
            result: file that a finished run leaves. That of a shorter run is not this one's, and is taken away.
        """
        if self.path is not None and leads():
            if not finished:
                (self.path / result).unlink(missing_ok=True)
                (self.path / DIVERGED).unlink(missing_ok=True)  # written again where it diverges again
            write_config(self.path, self.config)

    def report(self, line: dict[str, Any], learner: Learner, **more: Any) -> None:
        """Add a line to the metrics, then write a checkpoint."""
        self.metrics.append(line)
        if self.path is not None and leads():
            append_line(self.path / METRICS, json.dumps(line))
        self.save(learner, **more)

    def save(self, learner: Learner, **more: Any) -> None:
        """Replace the checkpoint. `more` must go into JSON."""
        if self.path is not None:
            tensors = learner.tensors()
            if leads():
                said = {"threads": self.threads, "lines": len(self.metrics), "line": (self.metrics or [None])[-1]}
                write_checkpoint(self.path, tensors, {"counters": learner.counters, **said, **more})


@contextmanager
def run_folder(
    path: str | Path | None, config: Any, may_change: tuple[str, ...] = (), threads: int = 0
) -> Iterator[RunFolder]:
    """A `RunFolder` that no other process may train in inside the block: two would write over each other's files.
    Inside it torch has the run's number of threads.

    Raises:
        UserError: somebody trains in it, and nothing in it was touched; as `RunFolder`.
    """
    with _locked(path):
        kept = RunFolder(path, config, may_change, threads)
        with fixed_threads(kept.threads):
            yield kept


@contextmanager
def _locked(path: str | Path | None) -> Iterator[None]:
    if path is None or not leads():
        yield
        return
    lock = FileLock(make_folder(path) / ".training")  # not .lock, which a sweep holds until a run is evaluated, too
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise UserError(
            f"another process is training in {str(path)!r}; wait for it, stop it, or choose another folder"
        ) from None
    except (NotImplementedError, OSError):  # a file system without locks, such as a mounted drive
        log.warning("%s cannot be locked: do not train in it from two processes", path)
    try:
        yield
    finally:
        lock.release()


def open_folder(folder: Path, config: Any, may_change: tuple[str, ...]) -> None:
    """Write a config into a new folder, or one that `check_folder` agrees to.

    Raises:
        UserError: the folder holds something else.
    """
    check_folder(folder, config, may_change)
    write_config(folder, config)


def write_config(folder: Path, config: Any) -> None:
    """Write a config as config.json and config.toml."""
    config = _plain(config)
    write_settings(folder / "config.json", config)
    replace_file(folder / "config.toml", to_toml(config))


def _plain(config: Any) -> Any:
    """The config as a file gives it back: 1 where a number such as 1.0 may stand becomes 1.0."""
    return from_dict(type(config), to_dict(config))


def check_folder(folder: Path, config: Any, may_change: tuple[str, ...]) -> None:
    """Compare a config with the one that the folder holds, if any, but for what may change.

    Raises:
        UserError: the folder holds something else.
    """
    config, path = _plain(config), folder / "config.json"
    if path.exists():
        theirs, besides = read_config(type(config), path)
        check_redefined(folder, config, theirs, besides)
        now, then = compared(config), compared(theirs, besides)
        for key in (k for k in now if k in then):  # settings are in both; one side may have pinned more
            if now[key] == then[key] or now[key] == LEFT_OPEN.get(key.rsplit(".", 1)[-1]):
                continue
            if key not in may_change:
                raise UserError(
                    f"{str(folder)!r} holds another run: its {key} is {then[key]}, this one's {now[key]}; "
                    "choose another folder"
                )
            kept, wanted = (json.loads(settings[key]) for settings in (then, now))
            if all(isinstance(x, (int, float)) for x in (kept, wanted)) and wanted < kept:
                raise UserError(
                    f"{str(folder)!r} holds a run of {key}={kept}; it can be made longer, not shorter ({wanted}): "
                    "choose another folder"
                )
