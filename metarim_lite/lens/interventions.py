"""Interventions: what an experimenter changes in a running agent to ask "what if?".

Each starts at a step. Before it the episode is the one without the intervention, move for move, because the
random numbers are the same; after it, whatever differs is due to the intervention. A controller knows no dates: at each
step it is handed the `Interventions` of `models` that are in force (`in_force`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..config import as_whole
from ..errors import UserError
from ..models import Interventions


@dataclass(frozen=True)
class ModulesOff:
    """A lesion from step `start` on: these modules are never active, and all that reads them reads zeros."""

    modules: tuple[int, ...]
    start: int = 0

    def __str__(self) -> str:
        return f"{_listed(self.modules)} off{_since(self.start)}"


@dataclass(frozen=True)
class ModulesFrozen:
    """From step `start` on these modules compete, but their state stands still; others can read it."""

    modules: tuple[int, ...]
    start: int = 0

    def __str__(self) -> str:
        return f"{_listed(self.modules)} frozen{_since(self.start)}"


@dataclass(frozen=True)
class ModulesForced:
    """From step `start` on these modules are always among the active ones; the others compete for the rest."""

    modules: tuple[int, ...]
    start: int = 0

    def __str__(self) -> str:
        return f"{_listed(self.modules)} forced{_since(self.start)}"


@dataclass(frozen=True)
class ModulesDeaf:
    """From step `start` on these modules read nothing from the others: communication is silent for them."""

    modules: tuple[int, ...]
    start: int = 0

    def __str__(self) -> str:
        return f"{_listed(self.modules)} deaf{_since(self.start)}"


@dataclass(frozen=True)
class EditCell:
    """At step `start` a thing stands in cell (x, y) of the world: what if it were there? No mission speaks of it."""

    x: int
    y: int
    kind: str = "empty"
    """"empty" takes away what is there."""
    colour: str = "red"
    start: int = 0

    def __str__(self) -> str:
        what = "emptied" if self.kind == "empty" else f"{self.colour} {self.kind} put there"
        return f"cell ({self.x}, {self.y}): {what}{_since(self.start)}"


@dataclass(frozen=True)
class SwapMission:
    """Another mission is shown to the agent from step `start` on; the world still judges its own mission."""

    text: str
    start: int = 0

    def __str__(self) -> str:
        return f"mission swapped{_since(self.start)}"  # the headline of a drawing shows the text itself


OnModules = ModulesOff | ModulesFrozen | ModulesForced | ModulesDeaf
Intervention = OnModules | SwapMission | EditCell
KINDS = {ModulesOff: "off", ModulesFrozen: "frozen", ModulesForced: "forced", ModulesDeaf: "deaf"}


def check(interventions: Sequence[Intervention], num_modules: int | None) -> tuple[Intervention, ...]:
    """The interventions as a tuple, if they fit an agent with `num_modules` modules (None: an LSTM).

    Raises UserError for something that is no intervention, a module that does not exist, a negative start.
    """
    if isinstance(interventions, Intervention):
        interventions = (interventions,)
    checked = []
    for one in (interventions,) if isinstance(interventions, str) else interventions:
        if not isinstance(one, Intervention):
            raise UserError(f"{one!r} is not an intervention; use ModulesOff, ModulesFrozen or SwapMission, say")
        start = as_whole(one.start)
        if start is None or start < 0:
            raise UserError(f"an intervention starts at step 0 or later, a whole number, not at {one.start!r}")
        plain = {} if not isinstance(one, OnModules) else {"modules": _check_modules(one, num_modules)}
        checked.append(replace(one, start=start, **plain))
    return tuple(checked)


def in_force(interventions: Sequence[Intervention], t: int) -> Interventions | None:
    """What the agent's controller is handed at step t: all that has begun, without its date; None when its modules are
    left alone."""
    begun = [one for one in interventions if t >= one.start]
    chosen = {
        name: tuple(sorted({m for one in begun if isinstance(one, kind) for m in one.modules}))
        for kind, name in KINDS.items()
    }
    return Interventions(**chosen) if any(chosen.values()) else None


def mission_at(interventions: Sequence[Intervention], t: int) -> str | None:
    """The mission that the agent is told instead of its own at step t: that of the swap that came last, or None."""
    swaps = [one for one in interventions if isinstance(one, SwapMission) and t >= one.start]
    return max(swaps, key=lambda one: one.start).text if swaps else None


def _check_modules(one: OnModules, num_modules: int | None) -> tuple[int, ...]:
    """The modules that it names, as Python's own numbers."""
    if num_modules is None:
        raise UserError(f"{type(one).__name__} needs an agent made of modules, and this one has an LSTM; use a RIM")
    modules = tuple(map(as_whole, one.modules)) if isinstance(one.modules, tuple) else (None,)
    if None in modules:
        raise UserError(f"{type(one).__name__} has modules {one.modules!r}; write a tuple of indices such as (2,)")
    if not modules:
        raise UserError(f"{type(one).__name__} names no module; give at least one of 0 to {num_modules - 1}")
    for module in modules:
        if not 0 <= module < num_modules:
            raise UserError(f"there is no module {module}; the agent has modules 0 to {num_modules - 1}")
    return modules


def _listed(modules: Sequence[int]) -> str:
    names = [str(m) for m in modules]
    if len(names) == 1:
        return f"module {names[0]}"
    return "modules " + ", ".join(names[:-1]) + " and " + names[-1]


def _since(start: int) -> str:
    return f" from step {start}" if start else ""
