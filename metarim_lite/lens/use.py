"""A map of use: when is each module active? By kind of mission, phase of the episode and object in view, beside chance.

The agent plays many episodes. If modules specialise, a module is active more often with one kind of mission, or when a
door is in view, than else. But shares differ by chance too, the more the fewer steps there are, and neighbouring steps
of an episode are much alike. So one step is drawn from each episode, and the same table is made many times with the
labels shuffled among them: what lies within the middle 95 % of those is what chance does. (Of 100 cells about 5 lie
outside all the same.) What the whole active set tells of a label, in bits, is in `analysis/specialisation.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..analysis.specialisation import SHUFFLES, Told, one_step_each, phase, told
from ..config import seed_number, whole_number
from ..envs import LevelBank
from ..envs.cells import TYPE, TYPES
from ..envs.missions import MISSION_KINDS
from ..errors import UserError
from ..experiments.modules_at_play import watch_modules
from .page import styled
from .svg import BLUE, FAINT, INK, ORANGE, PAPER, QUIET, VERMILLION, document, number, path, rect, text

PHASES = ("first third", "second third", "last third")
IN_VIEW = ("nothing", "door", "key", "ball", "box")
LEAST = 10  # steps: of fewer, a share says nothing
WIDTH = 440
FULL = 0.5  # of the colour, where a share is 1: a number on it still reads, in the light and in the dark


class Table(NamedTuple):
    """Shares of one label's values, as columns."""

    columns: tuple[str, ...]
    counts: Int[np.ndarray, "C"]
    """Steps with this value."""
    shares: Float[np.ndarray, "N C"]
    """In how many of them each module was active."""
    low: Float[np.ndarray, "N C"]
    high: Float[np.ndarray, "N C"]
    """Between these lie the middle 95 % of shares with shuffled labels."""
    told: Told
    """What the whole active set tells of the label."""

    @property
    def beyond(self) -> Bool[np.ndarray, "N C"]:
        """Where a share lies outside what chance does."""
        return (self.shares < self.low) | (self.shares > self.high)


@dataclass(frozen=True, eq=False)
class MapOfUse:
    """When each of N modules is active, from one step of each episode. `tables` by label: mission, phase, in view."""

    level: str
    episodes: int
    overall: Float[np.ndarray, "N"]
    """Share of all these steps in which each module is active."""
    tables: dict[str, Table]

    def __str__(self) -> str:
        lines = [f"Do modules specialise? {self.episodes} episodes of {self.level}, one step of each."]
        for name, table in self.tables.items():
            t = table.told
            if t.entropy == 0:
                lines.append(f"{name}: always {table.columns[0]}, so nothing can be told.")
                continue
            lines.append(
                f"{name}: the active set tells {t.bits:.2f} of {t.entropy:.2f} bits, {t.null:.2f} by chance alone "
                f"(p = {t.chance:.3f}); {table.beyond.sum()} of {table.beyond.size} shares lie beyond chance."
            )
        return "\n".join(lines)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": use_html(self)}


def map_of_use(
    agent: torch.nn.Module, bank: LevelBank, episodes: int = 500, *, seed: int = 0, shuffles: int = SHUFFLES
) -> MapOfUse:
    """Play the first `episodes` levels of a bank side by side, and see which modules are active when.

    Example:
        >>> print(map_of_use(agent, held_out))

    Args:
        agent: made of modules.
        episodes: how many; each is another level.
        seed: of all dice: actions, the step of each episode, and shufflings.

    Raises:
        UserError: an LSTM; fewer levels than episodes.
    """
    config = getattr(agent, "config", None)
    if config is None or config.controller != "rim":
        what = "an LSTM" if config is not None else type(agent).__name__
        raise UserError(f"{what} has no modules, all of it works at every step; give an agent with controller 'rim'")
    episodes = whole_number("episodes", episodes, at_least=1, at_most=len(bank))
    played = watch_modules(agent, bank.select(range(episodes)), seed_number(seed), nearest_in_view)
    rng = np.random.default_rng(seed)
    at = one_step_each(played.playing, rng=rng)
    labels = {
        "mission": (MISSION_KINDS, played.mission),
        "phase": (PHASES, phase(at[0], played.playing.sum(axis=0))),
        "nearest in view": (IN_VIEW, played.seen[at]),
    }
    chosen = played.active[at]  # (n, N)
    tables = {name: make_table(chosen, label, names, rng, shuffles) for name, (names, label) in labels.items()}
    return MapOfUse(", ".join(bank.level_ids), episodes, chosen.mean(axis=0), tables)


def nearest_in_view(image: Int[Tensor, "B 7 7 3"]) -> Int[Tensor, "B"]:
    """Which of IN_VIEW is nearest to the agent at column 3, row 6, counted in steps; what it carries, in its own cell,
    does not count. Of several as near it is the one that stands last in IN_VIEW.
    """
    kind = image[..., 0].long().flatten(1)  # (B, 49)
    place = torch.arange(49, device=image.device)
    steps = (place // 7 - 3).abs() + 6 - place % 7  # column first
    number_of = torch.zeros(len(TYPES), dtype=torch.int64, device=image.device)
    for index, name in enumerate(IN_VIEW[1:], 1):
        number_of[TYPE[name]] = index
    found = number_of[kind]
    far = torch.where((found > 0) & (steps > 0), 10 * steps - found, 1000)
    return torch.where(far.amin(1) < 1000, found.gather(1, far.argmin(1, keepdim=True)).squeeze(1), 0)


def make_table(
    active: Bool[np.ndarray, "n N"],
    label: Int[np.ndarray, "n"],
    names: tuple[str, ...],
    rng: np.random.Generator,
    shuffles: int = SHUFFLES,
) -> Table:
    """Shares of each module for each value of a label that comes up in at least LEAST steps (or in most), and where
    chance would put them.
    """
    counts = np.bincount(label, minlength=len(names))
    there = np.flatnonzero(counts >= min(LEAST, counts.max()))
    which = label == there[:, None]  # (C, n)

    def shares(of: np.ndarray) -> np.ndarray:
        return (which.astype(float) @ of / counts[there, None]).T  # (N, C)

    shuffled = np.stack([shares(active[rng.permutation(len(active))]) for _ in range(shuffles)])
    low, high = np.quantile(shuffled, (0.025, 0.975), axis=0)
    chance = told(active, label, rng=rng, shuffles=shuffles)
    return Table(tuple(names[i] for i in there), counts[there], shares(active * 1.0), low, high, chance)


def table_svg(use: MapOfUse, name: str) -> str:
    """One label: a row a module, a column a value. Shade and number: the share; a thick edge: beyond what chance does;
    the two small marks at a cell's foot: between them lies chance, the dot is the share.
    """
    table, N = use.tables[name], len(use.overall)
    left, top, row = 88, 64, 38
    column = min(112.0, (WIDTH - left - 14) / len(table.columns))
    drawn = [text(14, 24, f"active by {name}", size=16, bold=True)]
    for c, (words, count) in enumerate(zip(table.columns, table.counts, strict=True)):
        middle = left + (c + 0.5) * column
        drawn.append(text(middle, 44, words, size=min(14.0, column / 4.9), anchor="middle"))
        drawn.append(text(middle, 59, f"{count} steps", size=min(14.0, column / 5.5), fill=QUIET, anchor="middle"))
    for n in range(N):
        y = top + n * row
        drawn.append(text(14, y + 23, f"module {n}", size=14, fill=QUIET))
        for c in range(len(table.columns)):
            drawn += _cell(table, n, c, left + c * column, y, column, row)
    height = top + N * row + 84
    t = table.told
    said = f"The active set tells {t.bits:.2f} of {t.entropy:.2f} bits,"
    chance = f"{t.null:.2f} by chance alone (p = {t.chance:.3f})."
    said, chance = (said, chance) if t.entropy else ("The label never changes: nothing can be told.", "")
    drawn.append(text(14, height - 62, said, size=14, bold=True))
    drawn.append(text(14, height - 45, chance, size=14, bold=True))
    legend = "Red dot: the share. Between the two marks lies what", "chance does; an orange edge: beyond it."
    for i, words in enumerate(legend):
        drawn.append(text(14, height - 27 + 17 * i, words, size=14, fill=QUIET))
    told_too = f"Share of steps in which each module is active, by {name}. {said} {chance}"
    return document(WIDTH, height, drawn, f"modules active by {name}", told_too)


def _cell(table: Table, n: int, c: int, x: float, y: float, width: float, height: float) -> list[str]:
    share, low, high = (float(of[n, c]) for of in (table.shares, table.low, table.high))
    edge = {"stroke": ORANGE, "line": 3} if table.beyond[n, c] else {"stroke": FAINT, "line": 1}
    inner, foot = width - 14, y + height - 10
    drawn = [rect(x + 2, y + 2, width - 4, height - 4, fill=BLUE, shade=FULL * share, **edge)]
    drawn.append(text(x + width / 2, y + 18, f"{share:.0%}", size=14, anchor="middle"))
    for end in (low, high):
        drawn.append(path(f"M{number(x + 7 + inner * end)} {number(foot - 5)}v10", stroke=INK, line=1.5))
    dot = x + 7 + inner * share
    drawn.append(rect(dot - 2, foot - 2, 4, 4, fill=VERMILLION, stroke=PAPER, line=0.5))
    return drawn


def use_html(use: MapOfUse) -> str:
    """The tables side by side, one below the other where there is no room."""
    place = f"flex:1 1 380px;max-width:{WIDTH}px;min-width:0"
    tables = "".join(f'<div style="{place}">{table_svg(use, name)}</div>' for name in use.tables)
    return styled(f'<div class="metarim-room" style="display:flex;flex-wrap:wrap;gap:8px">{tables}</div>')
