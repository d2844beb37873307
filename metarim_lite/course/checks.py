"""`check`: an answer against the package's reference on fresh random inputs, naming the likely mistake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..errors import unknown
from .declaring import Exercise, Verdict
from .errors import CheckFailed, NotAttempted
from .exercises import ALL
from .probing import undisturbed

EXERCISES: dict[str, Exercise] = {e.name: e for e in ALL}


def check(name: str | Exercise, answer: Callable[..., Any]) -> None:
    """Check `answer` to the exercise of this name, or to one of your own; print one line when it passes.

    The inputs are drawn afresh at every call; the expected values come from the package's reference alone.
    Random generators, default dtype and gradient mode are left as they were found.

    Raises:
        NotAttempted: the body of `answer` is still the exercise's own `raise NotImplementedError`.
        CheckFailed: `answer` is wrong; the text names the likely mistake.
        UserError: there is no exercise `name`.
    """
    exercise = find(name)
    name = exercise.name
    verdict = judge(exercise, answer)
    if not verdict.attempted:
        raise NotAttempted(f"{name}: {verdict.says}")
    if not verdict.passed:
        raise CheckFailed(f"{name}: {verdict.says}")
    print(f"✓ {name}: {exercise.points} of {exercise.points} points")


def solved_or_reference(name: str | Exercise, answer: Callable[..., Any]) -> Callable[..., Any]:
    """`answer` when it passes its check, the package's implementation otherwise; prints which of the two."""
    exercise = find(name)
    name = exercise.name
    if judge(exercise, answer).passed:
        print(f"From here on: your {name}.")
        return answer
    print(f"From here on: the package's {name}, since yours does not pass its check yet.")
    return exercise.reference


def find(name: str | Exercise) -> Exercise:
    """The exercise called `name`, or `name` itself if it is one; raises UserError with the nearest names."""
    if isinstance(name, Exercise):
        return name
    if name not in EXERCISES:
        raise unknown("exercise", name, EXERCISES)
    return EXERCISES[name]


def judge(exercise: Exercise, answer: Callable[..., Any], seed: int | None = None) -> Verdict:
    """The verdict on `answer`; `seed` fixes the inputs (None: fresh ones)."""
    if not callable(answer):
        return Verdict(False, True, f"`{exercise.name}` is a {type(answer).__name__}; it should be a function.")
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    with undisturbed():
        try:
            return exercise.judge(answer, generator)
        except NotAttempted:
            return Verdict(False, False, "not attempted yet; put your code in place of `raise NotImplementedError`.")
        except CheckFailed as failure:
            return Verdict(False, True, str(failure))
