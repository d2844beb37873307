"""`check`: an answer against the package's reference on fresh random inputs, naming the likely mistake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import unknown
from .checks_attention import INPUT_ATTENTION
from .errors import CheckFailed, NotAttempted
from .exercise import Exercise
from .probing import call, check_gradient, close, undisturbed

EXERCISES: dict[str, Exercise] = {e.name: e for e in (INPUT_ATTENTION,)}


class Verdict(NamedTuple):
    """What came of a check: `says` is one sentence for the student."""

    passed: bool
    attempted: bool
    says: str


def check(name: str, answer: Callable[..., Any]) -> None:
    """Check `answer` to the exercise `name`; print one line when it passes.

    The inputs are drawn afresh at every call; the expected values come from the package's reference alone.
    Random generators, default dtype and gradient mode are left as they were found.

    Raises:
        NotAttempted: the body of `answer` is still the exercise's own `raise NotImplementedError`.
        CheckFailed: `answer` is wrong; the text names the likely mistake.
        UserError: there is no exercise `name`.
    """
    exercise = find(name)
    verdict = judge(exercise, answer)
    if not verdict.attempted:
        raise NotAttempted(f"{name}: {verdict.says}")
    if not verdict.passed:
        raise CheckFailed(f"{name}: {verdict.says}")
    print(f"✓ {name}: {exercise.points} of {exercise.points} points")


def solved_or_reference(name: str, answer: Callable[..., Any]) -> Callable[..., Any]:
    """`answer` when it passes its check, the package's implementation otherwise; prints which of the two."""
    exercise = find(name)
    if judge(exercise, answer).passed:
        print(f"From here on: your {name}.")
        return answer
    print(f"From here on: the package's {name}, since yours does not pass its check yet.")
    return exercise.reference


def find(name: str) -> Exercise:
    """The exercise called `name`; raises UserError with the nearest names when there is none."""
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
            cases = exercise.cases(generator)
            results = [call(answer, case, exercise.outputs) for case in cases]
            # extreme values are there to overflow; rounding makes their exact results a matter of luck
            usual = [(case, result) for case, result in zip(cases, results, strict=True) if not case.extreme]
            _compare(exercise, *map(list, zip(*usual, strict=True)))
            check_gradient(answer, exercise.reference, cases[0], exercise.outputs, generator)
        except NotAttempted:
            return Verdict(False, False, "not attempted yet; put your code in place of `raise NotImplementedError`.")
        except CheckFailed as failure:
            return Verdict(False, True, str(failure))
    return Verdict(True, True, "passed")


def _compare(exercise: Exercise, cases: list[Any], results: list[tuple[Tensor, ...]]) -> None:
    """Raises CheckFailed for the first output that differs from the reference in any case."""
    wanted = [exercise.reference(**case.inputs) for case in cases]
    for index, output in enumerate(exercise.outputs):
        got = [result[index] for result in results]
        if all(close(g, w[index]) for g, w in zip(got, wanted, strict=True)):
            continue
        for mistake in exercise.mistakes:
            if mistake.output == output.name and _is(mistake.variant, cases, got):
                raise CheckFailed(mistake.says)
        described = exercise.describe(output.name, cases[0].inputs, results[0])
        raise CheckFailed(described or f"`{output.name}` has the right shape but the wrong values.")


def _is(variant: Callable[..., Tensor | None], cases: list[Any], got: list[Tensor]) -> bool:
    """True when `got` is what the known mistake `variant` gives, in every case it is defined for."""
    pairs = [(g, variant(**case.inputs)) for case, g in zip(cases, got, strict=True)]
    defined = [(g, v) for g, v in pairs if v is not None and v.shape == g.shape]
    return bool(defined) and all(close(g, v) for g, v in defined)
