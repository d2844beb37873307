"""The verdict on an answer that sits behind the boundary.

The inputs are drawn here, and only when the answer has been loaded; the reference, the worlds and the score never leave
this side. A child can say what it likes: what it says is checked for its kind, shape and size, then compared.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..course.declaring import Behaviour, Dice, Exercise, Verdict
from ..course.errors import CheckFailed, NotAttempted
from ..course.probing import Answered, Case
from .answers import Found
from .sandbox import NO_ANSWER, Child, Ended, Limits, Nursery

LONGEST = 400  # letters of a reason


class Outcome(NamedTuple):
    """What an exercise came to. `seed` drew the inputs; `trace` is for the log, where something went wrong here."""

    exercise: str
    points: int
    out_of: int
    says: str
    attempted: bool = True
    notes: tuple[str, ...] = ()
    seed: int | None = None
    trace: str = ""

    @property
    def passed(self) -> bool:
        return self.points > 0


def grade_answer(
    exercise: Exercise, found: Found, nursery: Nursery, limits: Limits | None = None, hidden: Iterable[Path] = ()
) -> Outcome:
    """Points for the answer `found`: all or none.

    Raises:
        NoSandbox: nothing is known about it, through no fault of its own.
    """
    if not found.pieces:
        return Outcome(exercise.name, 0, exercise.points, found.reason, found.attempted, found.notes)
    generator = torch.Generator()
    limits = limits or replace(Limits(), seconds=exercise.seconds)
    trace = ""
    with nursery.child(limits, hidden) as child:
        try:
            verdict = _judge(exercise, found, child, generator)
        except Ended as end:
            verdict = Verdict(False, True, str(end))
        except NotAttempted:
            verdict = Verdict(False, False, "not attempted")
        except CheckFailed as failure:
            verdict = Verdict(False, True, str(failure))
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
            # something of a kind that nobody has thought of: no points, and the instructor finds it in the log
            verdict = Verdict(False, True, "what your function returned could not be judged.")
            trace = traceback.format_exc()
    points = exercise.points if verdict.passed else 0
    says, seed = readable(verdict.says), generator.initial_seed()
    return Outcome(exercise.name, points, exercise.points, says, verdict.attempted, found.notes, seed, trace)


def readable(text: str) -> str:
    """A stranger's words as one line of a report."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def _judge(exercise: Exercise, found: Found, child: Child, generator: torch.Generator) -> Verdict:
    """Raises CheckFailed, NotAttempted, Ended."""
    outputs = [tuple(output) for output in exercise.outputs]
    _heard(child.ask({"name": exercise.name, "pieces": [list(p) for p in found.pieces], "outputs": outputs}), "ready")
    generator.seed()  # from now on, and not a moment earlier, there are inputs
    if isinstance(exercise, Behaviour):
        return exercise.play(Player(child), Dice(generator))
    cases = exercise.draw(generator)
    return exercise.compare(cases, [_answered(child, case) for case in cases])


def _heard(reply: Any, kind: str) -> list[Any]:
    """What a reply of this kind says.

    Raises:
        NotAttempted, CheckFailed: it says so itself, which costs nobody else anything.
        Ended: it is no such reply.
    """
    if type(reply) is list and reply and reply[0] == kind:
        return reply[1:]
    if reply == ["stub"]:
        raise NotAttempted
    if type(reply) is list and len(reply) == 2 and reply[0] == "failed" and type(reply[1]) is str:
        raise CheckFailed(reply[1])
    raise Ended(NO_ANSWER)


def _answered(child: Child, case: Case) -> Answered:
    reply = child.ask(["case", case.letters, case.inputs, case.extreme, case.directions])
    match _heard(reply, "answered"):
        case [result, dict(gradients), str(cut)]:
            return Answered(result, {n: g if type(g) is Tensor else None for n, g in gradients.items()}, cut)
    raise Ended(NO_ANSWER)


class Player:
    """An answer that acts, played from here: it is handed what it may see, and gives back what it does. A dict among
    its arguments stays with it, the same one whenever it is handed the same."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._stores: dict[int, tuple[int, dict[str, Any]]] = {}

    def __call__(self, **given: Any) -> Any:
        kept = {name: self._store(value) for name, value in given.items() if isinstance(value, dict)}
        seen = {name: None if name in kept else value for name, value in given.items()}
        match _heard(self._child.ask(["act", seen, kept]), "returned"):
            case [result]:
                return result
        raise Ended(NO_ANSWER)

    def _store(self, store: dict[str, Any]) -> int:
        return self._stores.setdefault(id(store), (len(self._stores), store))[0]
