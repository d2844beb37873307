"""LevelBank: many generated levels as tables of small integers, ready to be copied into worlds."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ..config import whole_number, whole_numbers
from ..errors import UserError
from ..files import make_folder, replace_file, user_path
from .generation import check_level_id, generate_many
from .missions import decode_mission
from .storage import SEEDS_PER_FILE, Damaged, fingerprints, from_bytes, join, read_cache, to_bytes, write_cache


@dataclass(frozen=True, eq=False, repr=False)
class LevelBank:
    """Levels made by minigrid, one row each. A bank never changes; split, select and concat make new ones.

    >>> bank = LevelBank.generate("BabyAI-GoToLocal-v0", seeds=range(10))
    >>> train, held_out = bank.split(0.8)
    >>> len(train), len(held_out), bank.mission_text(0)
    (8, 2, 'go to the yellow box')
    """

    tables: dict[str, Tensor]
    """The levels themselves, with n rows each (see storage.py)."""
    level_ids: tuple[str, ...]
    """The distinct levels (tasks) in the bank."""
    task: Int[Tensor, "n"]
    """Which of `level_ids` each level belongs to."""
    seeds: Int[Tensor, "n"]
    """The seed that made each level."""
    seen: Bool[Tensor, "n"] | None = None
    """Which levels are known to be identical to a training level; None: nobody compared them. Not kept in files."""

    @classmethod
    def generate(
        cls, level_id: str, seeds: Iterable[int], progress: bool = False, workers: int | None = None, cache: bool = True
    ) -> LevelBank:
        """Reset minigrid's environment once with every seed and keep what it made.

        Args:
            level_id: an id of `supported()`.
            seeds: whole numbers ≥ 0; each gives one level, always the same. The few with which minigrid itself never
                finishes a level are left out, with a warning.
            progress: show a bar.
            workers: processes to generate with; None decides by how long it will take.
            cache: keep levels on disk and take those that are there (see storage.py).

        Raises:
            UserError: unknown or unsupported level, seeds that are not whole numbers, no seeds,
                BABYAI_DONE_ACTIONS set.
        """
        seeds = _check_seeds(seeds)
        check_level_id(level_id)
        blocks = sorted({seed // SEEDS_PER_FILE for seed in seeds}) if cache else []
        known = [cls._of(tables, level_id) for block in blocks if (tables := read_cache(level_id, block))]
        missing = sorted(set(seeds).difference(*(bank.seeds.tolist() for bank in known)))
        levels = generate_many(level_id, missing, workers, progress) if missing else []
        made = cls.of_levels(levels, level_id, missing)
        if len(made) < len(missing):
            named = ", ".join(str(seed) for seed in missing if seed not in made.seeds)
            warnings.warn(f"minigrid never finishes {level_id!r} with seed {named}: left out", stacklevel=2)
        bank = cls.concat([*known, made])
        for block in (made.seeds // SEEDS_PER_FILE).unique().tolist() if cache else ():
            of_block = bank.select((bank.seeds // SEEDS_PER_FILE == block).nonzero()[:, 0])
            write_cache(level_id, block, of_block._all_tables())
        row = {seed: index for index, seed in enumerate(bank.seeds.tolist())}
        if not any(seed in row for seed in seeds):
            raise UserError(f"minigrid never finishes a level of {level_id!r} with seeds {seeds}; choose others")
        return bank.select([row[seed] for seed in seeds if seed in row])

    @classmethod
    def of_levels(
        cls, levels: Sequence[dict[str, np.ndarray] | None], level_id: str, seeds: Sequence[int]
    ) -> LevelBank:
        """A bank of what `generate_levels` gave for these seeds, without those that it could not make."""
        made = [(seed, level) for seed, level in zip(seeds, levels, strict=True) if level is not None]
        rows = [{name: torch.from_numpy(array) for name, array in level.items()} for _, level in made]
        seeds = torch.tensor([seed for seed, _ in made], dtype=torch.int64)
        return cls(join(rows) if rows else {}, (level_id,), torch.zeros_like(seeds), seeds)

    @classmethod
    def _of(cls, tables: dict[str, Tensor], *level_ids: str) -> LevelBank:
        """A bank of tables that hold `task` and `seeds` as well."""
        own = {name: table for name, table in tables.items() if name not in ("task", "seeds")}
        return cls(own, level_ids, tables["task"], tables["seeds"])

    def _all_tables(self) -> dict[str, Tensor]:
        return self.tables | {"task": self.task, "seeds": self.seeds}

    def checksum(self) -> int:
        """A number that differs, as good as surely, where the levels do: CRC-32 of their names, order and seeds."""
        names = zlib.crc32("\n".join(self.level_ids).encode())
        return zlib.crc32(self.seeds.numpy().tobytes(), zlib.crc32(self.task.numpy().tobytes(), names))

    @property
    def share_seen(self) -> float | None:
        """Share of the levels that are identical to a training level; None where nobody compared them."""
        return None if self.seen is None else float(self.seen.double().mean())

    def fingerprints(self) -> Int[Tensor, "n"]:
        """A number for each level, whatever its seed: equal where two levels are identical (see storage.py)."""
        return fingerprints(self.tables)

    def save(self, path: str | Path) -> None:
        """Write the bank to one file, small enough to ship (see storage.py).

        Raises:
            UserError: the file cannot be written.
        """
        path = user_path(path)
        make_folder(path.parent)
        replace_file(path, to_bytes(self._all_tables(), self.level_ids), mend="choose another place")

    @classmethod
    def load(cls, path: str | Path) -> LevelBank:
        """A bank that `save` wrote. minigrid is not asked.

        Raises:
            UserError: no such file, or a damaged or foreign one (with the field that is wrong).
        """
        try:
            tables, level_ids, _ = from_bytes(user_path(path).read_bytes())
        except OSError as error:
            raise UserError(f"cannot read a bank from {str(path)!r}: {error.strerror}") from error
        except Damaged as error:
            raise UserError(f"{str(path)!r} is not a usable bank of levels: {error}; generate it again") from error
        return cls._of(tables, *level_ids)

    @classmethod
    def concat(cls, banks: Sequence[LevelBank]) -> LevelBank:
        """One bank that holds the levels of several, of any sizes and step limits. Equal ids become one task.

        Raises:
            UserError: no banks.
        """
        if not banks:
            raise UserError("LevelBank.concat got no banks; give it at least one")
        banks = [bank for bank in banks if len(bank)] or banks[:1]
        level_ids = tuple(dict.fromkeys(i for bank in banks for i in bank.level_ids))
        tables = join([bank.tables for bank in banks])
        task = [torch.tensor([level_ids.index(i) for i in bank.level_ids])[bank.task] for bank in banks]
        seen = None if any(bank.seen is None for bank in banks) else torch.cat([bank.seen for bank in banks])
        return cls(tables, level_ids, torch.cat(task), torch.cat([bank.seeds for bank in banks]), seen)

    def select(self, index: Int[Tensor, "m"] | Sequence[int]) -> LevelBank:
        """The levels at these positions, in this order. Tasks keep their numbers."""
        index = whole_numbers("positions of levels", index)
        tables = {name: table[index] for name, table in self.tables.items()}
        seen = None if self.seen is None else self.seen[index]
        return replace(self, tables=tables, task=self.task[index], seeds=self.seeds[index], seen=seen)

    def split(self, fraction: float) -> tuple[LevelBank, LevelBank]:
        """Two banks without a common seed: the first `fraction` of the seeds, in ascending order, and the rest.

        Raises:
            UserError: a fraction that leaves one of the two without levels.
        """
        seeds = self.seeds.unique()  # ascending
        count = round(fraction * len(seeds)) if 0 < fraction < 1 else 0
        if not 0 < count < len(seeds):
            raise UserError(f"cannot split {len(seeds)} seeds at {fraction}; choose one that leaves some on both sides")
        first = self.seeds < seeds[count]
        return self.select(first.nonzero()[:, 0]), self.select((~first).nonzero()[:, 0])

    def __len__(self) -> int:
        return len(self.seeds)

    def __repr__(self) -> str:
        return f"LevelBank({len(self)} levels of {', '.join(self.level_ids)})"

    def mission_text(self, level: int) -> str:
        """The mission of one level, as minigrid words it."""
        return decode_mission(self.tables["mission"][whole_number("level", level)])

    @property
    def max_mission_length(self) -> int:
        """Words of the longest mission: beyond it all tokens of all levels are padding."""
        return int((self.tables["mission"] != 0).sum(1).max())

    @property
    def step_limit(self) -> int:
        """Steps after which an episode in any of the levels is over."""
        return int(self.tables["max_steps"].max())

    @property
    def width(self) -> int:
        """Cells from left to right of the widest level."""
        return self.tables["cells"].shape[2]


def _check_seeds(seeds: Any) -> list[int]:
    if isinstance(seeds, (int, str)) or not isinstance(seeds, Iterable) or getattr(seeds, "ndim", 1) != 1:
        raise UserError(f"seeds must be several whole numbers, got {seeds!r}; for example seeds=range(1000)")
    checked = [whole_number("each seed", seed, at_least=0, at_most=2**63 - 1) for seed in seeds]
    if not checked:
        raise UserError("a bank needs at least one seed, got none; for example seeds=range(1000)")
    return checked
