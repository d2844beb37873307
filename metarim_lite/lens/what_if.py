"""What if? An episode again with one change, beside the original and beside a control, all with the same dice.

A change alone shows little: nearly everything that one does to a network changes what it does. So the same is always
done to something chosen at random as well, the control, and what counts is the difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool

from ..analysis import Estimate, mean_interval, wilson
from ..config import seed_number
from ..envs import COLOURS, TYPES, GridWorlds, LevelBank, encode_mission
from ..errors import UserError
from ..models import act
from .interventions import EditCell, Intervention, OnModules, SwapMission, check, in_force, mission_at
from .recording import check_words
from .trace import Trace

Successes = Bool[np.ndarray, "n"]


@dataclass(frozen=True)
class Comparison:
    """One level played three times with the same dice: as it was, changed, and with the control."""

    original: Trace
    changed: Trace
    control: Trace | None
    """None: there is nothing left to do the same to; `note` says so."""
    note: str

    def __str__(self) -> str:
        return f"As it was: {_told(self.original)}. {_changed(self.changed)}. Control: {self.note}" + (
            f" {_told(self.control)}." if self.control else ""
        )


@dataclass(frozen=True)
class Effect:
    """Success over many levels, each played three times with the same dice, and the differences level by level."""

    original: Estimate
    changed: Estimate
    control: Estimate | None
    difference: Estimate
    """Success changed − as it was, at 95 %."""
    control_difference: Estimate | None
    levels: int

    def __str__(self) -> str:
        words = f"{self.levels} held-out levels: success {self.original} as it was, {self.changed} changed: "
        words += f"difference {_signed(self.difference)}"
        if self.control_difference is None:
            return words + "; no control is possible."
        return words + f"; the control's difference {_signed(self.control_difference)}."


def compare(trace: Trace, change: Intervention, seed: int = 0) -> Comparison:
    """Play the level of `trace` again with `change`, and with a control drawn with `seed`.

    Raises:
        UserError: nobody to play it, or a change that does not fit the agent or the level.
    """
    if trace.agent is None:
        raise UserError("This trace does not know who played it; record one with Trace.record.")
    if change.start >= trace.num_steps:
        raise UserError(f"Step {change.start} is the end of the episode; choose one of 0 to {trace.num_steps - 1}.")
    (change,) = check((change,), None if trace.active is None else trace.active.shape[1])
    control, note = control_for(trace, change, np.random.default_rng(seed_number(seed)))
    return Comparison(trace, again(trace, change), None if control is None else again(trace, control), note)


def again(trace: Trace, *changes: Intervention) -> Trace:
    """The episode of `trace`, level, dice and all, with these changes beside those it had."""
    bank, dice = trace.worlds[0].bank, trace.seed
    second = Trace.record(trace.agent, bank, 0, dice, (*trace.interventions, *changes), trace.greedy)
    return replace(second, index=trace.index)


def control_for(trace: Trace, change: Intervention, rng: np.random.Generator) -> tuple[Intervention | None, str]:
    """The same kind of change, done to something else that is drawn at random, and a sentence on it."""
    if isinstance(change, OnModules):
        others = [m for m in range(trace.active.shape[1]) if m not in change.modules]
        if len(others) < len(change.modules):
            return None, "none, there are not as many other modules to do the same to."
        chosen = rng.choice(others, size=len(change.modules), replace=False)
        other: Intervention = replace(change, modules=tuple(sorted(map(int, chosen))))
    elif isinstance(change, SwapMission):
        texts = [f"go to the {colour} {kind}" for colour in COLOURS for kind in ("ball", "box", "key")]
        texts = [text for text in texts if text not in (change.text, trace.told(change.start))]
        other = replace(change, text=str(rng.choice(texts)))
        return other, f"told “{other.text}” instead:"
    else:
        cells = cells_like(trace, change)
        if not cells:
            return None, "none, there is no other cell to do the same to."
        x, y = cells[int(rng.integers(len(cells)))]
        other = replace(change, x=x, y=y)
    return other, f"{other}:"


def cells_like(trace: Trace, edit: EditCell) -> list[tuple[int, int]]:
    """Other cells that the same can be done to at that step: full ones to take from, free ones to put into."""
    worlds = trace.worlds[edit.start]
    kinds = worlds.cells(0)[..., 0].numpy()  # (w, h)
    wanted = ("key", "ball", "box", "door") if edit.kind == "empty" else ("empty",)
    fits = np.isin(kinds, [TYPES.index(kind) for kind in wanted])
    taken = {(edit.x, edit.y), worlds.agent_place(0)[:2]}
    return [(int(x), int(y)) for x, y in np.argwhere(fits) if (int(x), int(y)) not in taken]


class Playing:
    """Many levels played at once, to the end, each with dice of its own: `step` by step, so that it can be stopped.

    Two of them with the same bank and seed meet the same luck in every level, whatever is changed.

    Args:
        changes: as of `Trace.record`; an EditCell belongs to one level, and is refused.
    """

    def __init__(self, agent: Any, bank: LevelBank, changes: tuple[Intervention, ...], seed: int, greedy: bool) -> None:
        check_words(agent, bank)
        config = getattr(agent, "config", None)
        rim = config is not None and config.controller == "rim"
        self.changes = check(changes, config.num_modules if rim else None)
        if any(isinstance(one, EditCell) for one in self.changes):
            raise UserError("An edited cell belongs to one level; over other levels it has no meaning.")
        self.agent, self.greedy = agent, greedy
        device = next((p.device for p in agent.parameters()), torch.device("cpu"))
        self.worlds = GridWorlds(bank, len(bank), device=device, autoreset=False)
        self.seen, self.state, self.t = self.worlds.reset(levels=torch.arange(len(bank), device=device)), None, 0
        self.luck = torch.Generator().manual_seed(seed_number(seed))
        self.success = torch.zeros(len(bank), dtype=torch.bool, device=device)
        self.steps = int(bank.step_limit)

    @property
    def over(self) -> bool:
        return bool(self.worlds.finished.all())

    @torch.no_grad()
    def step(self) -> None:
        """One step in every level that is not over."""
        told, B, device = self.seen.mission, len(self.success), self.success.device
        swapped = mission_at(self.changes, self.t)
        if swapped is not None:
            told = encode_mission(swapped).to(device).expand(B, -1)
        starts = torch.full((B,), self.t == 0, device=device)
        options = {"interventions": in_force(self.changes, self.t)}
        out, self.state = act(self.agent, self.seen._replace(mission=told), self.state, starts, **options)
        edges = out.logits.double().softmax(-1).cumsum(-1)  # (B, 7)
        u = torch.rand(B, generator=self.luck, dtype=torch.float64).to(device)
        drawn = (edges <= (u * edges[:, -1])[:, None]).sum(-1).clamp(max=edges.shape[1] - 1)
        result = self.worlds.step_unfinished(out.logits.argmax(-1) if self.greedy else drawn)
        self.success |= result.success
        self.seen, self.t = result.observation, self.t + 1


def effect(
    agent: Any, bank: LevelBank, change: Intervention, control: Intervention | None, seed: int = 0,
    greedy: bool = False, before: tuple[Intervention, ...] = (),
) -> Iterator[float | Effect]:  # fmt: skip
    """Measure what a change does to success over the levels of `bank`: as it was, changed, with the control.

    It is a generator, so that whoever asks may show progress, and stop: it yields the share that is done, at most one
    step of all levels later each time, and last of all the `Effect`.
    """
    kinds = [(), (change,), *([(control,)] if control is not None else [])]
    found: list[Successes] = []
    for number, changes in enumerate(kinds):
        playing = Playing(agent, bank, (*before, *changes), seed, greedy)
        while not playing.over:
            playing.step()
            yield (number + min(playing.t / playing.steps, 1)) / len(kinds)
        found.append(playing.success.cpu().numpy())
    yield _effect(*found)


def _effect(original: Successes, changed: Successes, control: Successes | None = None) -> Effect:
    def rate(of: Successes) -> Estimate:
        return wilson(int(of.sum()), len(of))

    def difference(of: Successes) -> Estimate:
        return mean_interval(of.astype(float) - original.astype(float))

    beside = (None, None) if control is None else (rate(control), difference(control))
    return Effect(rate(original), rate(changed), beside[0], difference(changed), beside[1], len(original))


def _told(trace: Trace) -> str:
    end = "success" if trace.success else "no success"
    return f"{end} in {trace.num_steps} step{'' if trace.num_steps == 1 else 's'}"


def _changed(trace: Trace) -> str:
    return f"Changed ({'; '.join(map(str, trace.interventions))}): {_told(trace)}"


def _signed(estimate: Estimate) -> str:
    return f"{estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"
