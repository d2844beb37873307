"""Demonstrations: how minigrid's own BabyAI bot plays the levels of a bank, for an agent to imitate.

A level and the actions taken in it say everything, since worlds follow no dice. So actions are all that is cached
(beside the levels, one file for each level id and thousand of seeds); what was seen on the way is played again.
"""

from __future__ import annotations

import functools
import gzip
import logging
import warnings
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from ..cache import cache_folder, cached_path, read_cached, write_cached
from ..envs import GridWorlds, LevelBank, Observation
from ..envs.storage import SEEDS_PER_FILE
from ..errors import UserError
from ..machine import in_processes
from .bot import Bot

log = logging.getLogger(__name__)

BOT = 1  # raise it when the bot plays differently
MANY = 0.2  # share of a level's episodes that the bot may fail in before it is a warning
GAVE_UP = np.zeros(0, dtype=np.uint8)
Actions = dict[int, np.ndarray]  # seed -> uint8 [steps]; no steps where the bot failed


class Demonstrations(NamedTuple):
    """n successful episodes, one after the other: S steps in all.

    >>> bank = LevelBank.generate("BabyAI-GoToLocal-v0", seeds=range(1000))
    >>> shown = demonstrate(bank)
    >>> shown.image.shape, shown.lengths.shape
    (torch.Size([5249, 7, 7, 3]), torch.Size([1000]))
    """

    image: UInt8[Tensor, "S 7 7 3"]
    direction: UInt8[Tensor, "S"]
    actions: UInt8[Tensor, "S"]
    mission: UInt8[Tensor, "n L"]
    lengths: Int[Tensor, "n"]
    """Steps of each episode."""
    reward: Float[Tensor, "n"]
    """What the last step of each episode was rewarded with."""
    level: Int[Tensor, "n"]
    """Which level of the bank each episode plays."""

    @property
    def begins(self) -> Int[Tensor, "n"]:
        """The step at which each episode begins."""
        return self.lengths.cumsum(0) - self.lengths

    @property
    def resets(self) -> Bool[Tensor, "S"]:
        """True where an episode begins."""
        resets = torch.zeros(len(self.actions), dtype=torch.bool, device=self.actions.device)
        resets[self.begins] = True
        return resets

    def seen(self, step: Int[Tensor, "*lead"], episode: Int[Tensor, "*lead"]) -> Observation:
        """What was seen at these steps, which are of these episodes."""
        return Observation(self.image[step], self.direction[step].long(), self.mission[episode].long())

    def checksum(self) -> int:
        """A number that differs, as good as surely, where the demonstrations do: CRC-32 of lengths and actions."""
        lengths, actions = self.lengths.cpu().numpy(), self.actions.cpu().numpy()
        return zlib.crc32(actions.tobytes(), zlib.crc32(lengths.tobytes()))

    def to(self, device: str | torch.device) -> Demonstrations:
        """The same on another device."""
        return Demonstrations(*(x.to(device) for x in self))


def demonstrate(
    bank: LevelBank, workers: int | None = None, progress: bool = False, cache: bool = True
) -> Demonstrations:
    """Let minigrid's bot play every level of a bank once, exploring as minigrid ships it; keep its successes.

    Where it failed is said in one line, with counts; it is a warning where it failed in many episodes of a level, since
    what is left may be the easy ones.

    Args:
        workers: processes; None decides by how long it will take.
        progress: show a bar.
        cache: keep the bot's actions on disk and take those that are there.

    Raises:
        UserError: the bot succeeds in no level.
    """
    actions: list[np.ndarray] = [GAVE_UP] * len(bank)
    failed, many = [], False
    for task, level_id in enumerate(bank.level_ids):
        rows = (bank.task == task).nonzero()[:, 0].tolist()
        seeds = bank.seeds[rows].tolist()
        known = _known(level_id, sorted(set(seeds)), workers, progress, cache)
        for row, seed in zip(rows, seeds, strict=True):
            actions[row] = known[seed]
        if missed := sum(not len(actions[row]) for row in rows):
            failed.append(f"{missed} of {len(rows)} episodes of {level_id}")
            many |= missed > MANY * len(rows)
    solved = [row for row, taken in enumerate(actions) if len(taken)]
    if not solved:
        raise UserError(f"minigrid's bot solves none of {bank!r}; choose another level to imitate it on")
    said = f"minigrid's bot failed in {', '.join(failed)}; the other {len(solved)} are the demonstrations"
    if many:
        warnings.warn(f"{said}, so what it cannot do is not in them", stacklevel=2)
    elif failed:
        log.warning(said)
    return play_again(bank, solved, [actions[row] for row in solved])


def play_bots(level_id: str, seeds: list[int]) -> list[np.ndarray]:
    """The bot's actions in each level, uint8; none where it gave up, failed, or ran out of time."""
    bank = LevelBank.generate(level_id, seeds)
    B = len(bank)
    worlds = GridWorlds(bank, B)  # with autoreset: who is done plays on, and nobody looks
    worlds.reset(torch.arange(B))
    bots = [Bot(worlds, b) for b in range(B)]
    taken: list[list[int]] = [[] for _ in range(B)]
    playing, idle = set(range(B)), 0
    while playing:
        actions = [idle] * B
        for b in sorted(playing):
            action = bots[b].act(taken[b][-1] if taken[b] else None)
            if action is None:
                taken[b] = []
                playing.remove(b)
            else:
                actions[b] = action
                taken[b].append(action)
        step = worlds.step(torch.tensor(actions))
        success, ended = step.success.tolist(), (step.terminated | step.truncated).tolist()
        for b in [b for b in playing if ended[b]]:
            taken[b] = taken[b] if success[b] else []
            playing.remove(b)
    return [np.array(t, dtype=np.uint8) for t in taken]


def play_again(bank: LevelBank, levels: list[int], actions: list[np.ndarray], batch: int = 256) -> Demonstrations:
    """What is seen when these actions are taken in these levels of a bank.

    Raises:
        UserError: an episode does not end in success, at its last action.
    """
    words, parts = bank.max_mission_length, []
    for first in range(0, len(levels), batch):
        rows, taken = torch.tensor(levels[first : first + batch]), actions[first : first + batch]
        lengths = torch.tensor([len(t) for t in taken])
        T, B = int(lengths.max()), len(rows)
        padded = torch.zeros(T, B, dtype=torch.int64)
        for b, t in enumerate(taken):
            padded[: len(t), b] = torch.from_numpy(t)
        worlds = GridWorlds(bank, B)
        seen, images, directions, ends = worlds.reset(rows), [], [], []
        mission, reward = seen.mission[:, :words], torch.zeros(B)
        for t in range(T):
            images.append(seen.image)
            directions.append(seen.direction)
            step = worlds.step(padded[t])
            ends.append(step.terminated | step.truncated)
            reward = torch.where(lengths == t + 1, step.reward, reward)
            seen = step.observation
        first_end = torch.stack(ends).int().argmax(0) + 1  # (T, B) -> (B)
        wrong = ((first_end != lengths) | (reward <= 0)).nonzero()[:, 0].tolist()
        if wrong:
            raise UserError(
                f"a demonstration of seed {int(bank.seeds[rows[wrong[0]]])} of {bank!r} does not end in success; "
                f"it was made by another version, delete {str((cache_folder() or Path()) / 'demonstrations')!r}"
            )
        mine = torch.arange(T) < lengths.unsqueeze(1)  # (B, T)
        image, direction = (torch.stack(x).transpose(0, 1)[mine] for x in (images, directions))  # (T, B, …) -> (s, …)
        flat = padded.t()[mine]
        parts.append((image, direction.byte(), flat.byte(), mission.byte(), lengths, reward, rows))
    return Demonstrations(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _known(level_id: str, seeds: list[int], workers: int | None, progress: bool, cache: bool) -> Actions:
    """The bot's actions for these seeds, from the cache or played now."""
    blocks = sorted({seed // SEEDS_PER_FILE for seed in seeds}) if cache else []
    kept = {block: _read(level_id, block) for block in blocks}
    known = {seed: taken for actions in kept.values() for seed, taken in actions.items()}
    missing = [seed for seed in seeds if seed not in known]
    label = f"{level_id}, bot" if progress else None
    made = dict(
        zip(missing, in_processes(functools.partial(play_bots, level_id), missing, workers, label), strict=True)
    )
    for block in {seed // SEEDS_PER_FILE for seed in missing} if cache else ():
        _write(level_id, block, kept[block] | {s: a for s, a in made.items() if s // SEEDS_PER_FILE == block})
    return known | made


def _path(level_id: str, block: int) -> Path | None:
    return cached_path("demonstrations", level_id, f"{block}.v{BOT}")


def _read(level_id: str, block: int) -> Actions:
    """The cached actions of one file; none when there is none that is readable."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tables = load(gzip.decompress(read_cached(_path(level_id, block))))
        ends = np.cumsum(tables["lengths"])
        return dict(zip(tables["seeds"].tolist(), np.split(tables["actions"], ends[:-1]), strict=True))
    except (OSError, EOFError, SafetensorError, KeyError, ValueError):
        return {}


def _write(level_id: str, block: int, actions: Actions) -> None:
    from safetensors.numpy import save

    tables = {
        "seeds": np.array(list(actions)),
        "lengths": np.array([len(taken) for taken in actions.values()]),
        "actions": np.concatenate(list(actions.values())),
    }
    content = gzip.compress(save(tables), mtime=0)
    write_cached(_path(level_id, block), content, "demonstrations")
