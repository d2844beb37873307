r"""How an exercise is declared: a reference, header and hints; its wrong answers, each with its sentence on it.

Random cases are drawn from the shapes in the reference's signature: every letter gets a size of its own, so that no
mixed-up axis fits by accident. All of an exercise of your own, in a file beside your notebook (for one that is built,
checked and graded like ours, see notebooks/guides/grading.md):

    from jaxtyping import Float
    from torch import Tensor
    from metarim_lite.course import exercise

    @exercise("9.1", "Centre", lesson="my_lesson", difficulty=1, importance=2, minutes=5, points=1,
              returns="centred", formula="$y_{bd} = x_{bd} - \\frac1D\\sum_d x_{bd}$",
              hints=("Which axis is summed?", "`keepdim=True`.", "`x - x.mean(-1, keepdim=True)`."))
    def centre(x: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        return x - x.mean(-1, keepdim=True)

    @centre.mistake("you take the mean over the batch; take it over the D numbers of each row.")
    def over_batch(x):
        return x - x.mean(0)

    @centre.mistake("you take one mean over all numbers; each row has its own.")
    def over_all(x):
        return x - x.mean()

In the notebook: `check(centre, my_answer)`.

Who judges and who answers may be two processes: `draw` gives the inputs, `probe` (see probing.py) calls the answer and
hands back plain arrays, `compare` judges those. What an exercise expects never comes from the student's code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, get_args, get_type_hints

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from .errors import CheckFailed
from .probing import Answered, Case, Output, as_values, close, probe, run, size_of

Draw = Callable[["Dice", dict[str, int]], Any]


class Verdict(NamedTuple):
    """What came of a check: `says` is one sentence for the student."""

    passed: bool
    attempted: bool
    says: str


class Mistake(NamedTuple):
    """A wrong answer, and what a student is told whose answer is the same. The answer may return None where the mistake
    makes no sense for these sizes."""

    says: str
    answer: Callable[..., Any]


class Dice:
    """Random inputs; without a shape, Python numbers."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float32)

    def uniform(self, low: float, high: float, *shape: int) -> Any:
        drawn = low + (high - low) * torch.rand(shape, generator=self.generator, dtype=torch.float32)
        return drawn if shape else float(drawn)

    def whole(self, low: int, high: int, *shape: int) -> Any:
        """From `low` to `high`, both included."""
        drawn = torch.randint(low, high + 1, shape, generator=self.generator)
        return drawn if shape else int(drawn)

    def flags(self, share: float, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator) < share

    def order(self, n: int) -> Tensor:
        return torch.randperm(n, generator=self.generator)

    def sizes(self, count: int) -> list[int]:
        """Different sizes from 2 on."""
        return (self.order(max(7, count)) + 2)[:count].tolist()


@dataclass(frozen=True)
class Exercise:
    """One exercise. Called, it is its reference.

    Args:
        number: such as "3.1".
        lesson: the notebook it belongs to, without its suffix.
        outputs, inputs: from the reference's signature.
        draws: how arguments are drawn that are neither normal numbers (weights, of a name in capitals: small ones) nor
            rare flags.
        prepare: (inputs, dice) -> inputs, where arguments depend on each other.
        sizes: one entry for each case: sizes of letters that are not drawn.
        extreme: argument -> factor, for one more case, in which a naive formula overflows.
        gradient: whether the gradient must flow from the outputs to all inputs of the kind Float.
        describe: (index of the first wrong output, inputs, results) -> a sentence for a wrong answer that equals no
            known mistake, or None.
        seconds: of computing time that an answer may take when it is graded.
        builds_on: exercises whose functions an answer may call; they are in given.py.
    """

    name: str
    number: str
    title: str
    lesson: str
    difficulty: int
    importance: int
    minutes: int
    points: int
    reference: Callable[..., Any]
    inputs: dict[str, Any]
    outputs: tuple[Output, ...]
    needs: str = "–"
    formula: str = ""
    hints: tuple[str, ...] = ()
    draws: dict[str, Draw] = field(default_factory=dict)
    prepare: Callable[[dict[str, Any], Dice], dict[str, Any]] | None = None
    sizes: tuple[dict[str, int], ...] = ({}, {}, {})
    extreme: dict[str, float] = field(default_factory=dict)
    gradient: bool = False
    tolerance: tuple[float, float] = (1e-3, 1e-4)
    describe: Callable[[int, dict[str, Any], tuple[Any, ...]], str | None] | None = None
    seconds: int = 20
    builds_on: tuple[str, ...] = ()
    mistakes: list[Mistake] = field(default_factory=list)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.reference(*args, **kwargs)

    def mistake(self, says: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Decorates a wrong answer: a function of the exercise's arguments that returns all of its outputs."""

        def declare(answer: Callable[..., Any]) -> Callable[..., Any]:
            self.mistakes.append(Mistake(says, answer))
            return answer

        return declare

    def summary(self) -> dict[str, Any]:
        """What a list of exercises shows."""
        shown = {"lesson": self.lesson, "exercise": self.name, "title": f"{self.number} {self.title}"}
        numbers = {key: getattr(self, key) for key in ("difficulty", "importance", "minutes", "points")}
        return shown | numbers | {"mistakes": len(self.mistakes)}

    def draw(self, generator: torch.Generator) -> list[Case]:
        """Fresh inputs of several sizes."""
        dice = Dice(generator)
        cases = [self._case(dice, fixed) for fixed in self.sizes]
        if self.extreme:
            case = self._case(dice, self.sizes[0])
            for name, factor in self.extreme.items():
                case.inputs[name] = case.inputs[name] * factor
            cases.append(case._replace(extreme=True))
        if self.gradient:
            # a random direction for each output, so that no gradient cancels by symmetry
            directions = tuple(dice.normal(*output.sizes(cases[0].letters)) for output in self.outputs)
            cases[0] = cases[0]._replace(directions=directions)
        return cases

    def _case(self, dice: Dice, fixed: dict[str, int]) -> Case:
        hints = [*self.inputs.values()]
        words = [w for hint in hints if hasattr(hint, "dim_str") for w in re.findall(r"[A-Za-z]\w*", hint.dim_str)]
        free = [word for word in dict.fromkeys(words) if word not in fixed]
        letters = {**fixed, **dict(zip(free, dice.sizes(len(free)), strict=True))}
        inputs = {name: self._value(name, hint, dice, letters) for name, hint in self.inputs.items()}
        if self.prepare is not None:
            inputs = self.prepare(inputs, dice)
        return Case(letters, inputs)

    def _value(self, name: str, hint: Any, dice: Dice, letters: dict[str, int]) -> Any:
        if name in self.draws:
            value = self.draws[name](dice, letters)
        elif not hasattr(hint, "dim_str") or kind_of(hint) == "whole":
            raise UserError(f"{self.name}: nobody knows how to draw {name!r}; say so in draws={{{name!r}: …}}")
        else:
            shape = [size_of(word, letters) for word in hint.dim_str.split()]
            value = dice.flags(0.3, *shape) if kind_of(hint) == "flag" else dice.normal(*shape)
            if name[0].isupper() and len(shape) > 1 and kind_of(hint) == "number":
                # Weights as small as a network starts with: with larger ones softmax and sigmoid round to 0 and 1,
                # gradients explode, and two right answers differ by their rounding.
                value = value / shape[-2] ** 0.5
        if isinstance(value, Tensor) and getattr(hint, "array_type", Tensor) is np.ndarray:
            return value.double().numpy() if value.is_floating_point() else value.numpy()
        return value

    def compare(self, cases: list[Case], answered: list[Answered]) -> Verdict:
        """The verdict on what an answer gave for `cases`."""
        try:
            results = [as_values(a.result, case, self.outputs) for case, a in zip(cases, answered, strict=True)]
            # extreme values are there to overflow; rounding makes their exact results a matter of luck
            usual = [(case, got) for case, got in zip(cases, results, strict=True) if not case.extreme]
            self._compare_values(*map(list, zip(*usual, strict=True)))
            for case, a in zip(cases, answered, strict=True):
                if case.directions is not None:
                    self._compare_gradients(case, a)
        except CheckFailed as failure:
            return Verdict(False, True, str(failure))
        return Verdict(True, True, "passed")

    def judge(self, answer: Callable[..., Any], generator: torch.Generator) -> Verdict:
        """Draw, let `answer` work, compare: all in this process.

        Raises:
            CheckFailed, NotAttempted: what `probe` raises.
        """
        cases = self.draw(generator)
        return self.compare(cases, [probe(answer, case, self.outputs) for case in cases])

    def _compare_values(self, cases: list[Case], results: list[tuple[Any, ...]]) -> None:
        """Raises CheckFailed for the first output that differs from the reference in any case."""
        wanted = [self._values(self.reference, case) for case in cases]
        for index, output in enumerate(self.outputs):
            got, right = [r[index] for r in results], [w[index] for w in wanted]
            if all(self._close(g, r) for g, r in zip(got, right, strict=True)):
                continue
            for mistake in self.mistakes:
                wrong = [self._values(mistake.answer, case) for case in cases]
                if self._first_wrong(wrong, wanted) == index and all(
                    w is None or self._close(g, w[index]) for g, w in zip(got, wrong, strict=True)
                ):
                    raise CheckFailed(mistake.says)
            says = self.describe(index, cases[0].inputs, results[0]) if self.describe is not None else None
            raise CheckFailed(says or f"`{output.name}` has the right shape but the wrong values.")

    def _first_wrong(self, wrong: list[tuple[Any, ...] | None], wanted: list[tuple[Any, ...]]) -> int | None:
        """The first output in which a mistake shows at all."""
        pairs = [pair for pair in zip(wrong, wanted, strict=True) if pair[0] is not None]
        for index in range(len(self.outputs)):
            if not all(self._close(w[index], r[index]) for w, r in pairs):
                return index
        return None

    def _values(self, function: Callable[..., Any], case: Case) -> tuple[Any, ...] | None:
        result = function(*case.copied().values())
        return None if result is None else as_values(result, case, self.outputs, ours=True)

    def _close(self, a: Any, b: Any) -> bool:
        return close(a, b, *self.tolerance)

    def _compare_gradients(self, case: Case, answered: Answered) -> None:
        """Raises CheckFailed unless the gradient reaches every input as it does in the reference."""
        if answered.cut:
            raise CheckFailed(answered.cut)
        wanted = probe(self.reference, case, self.outputs).gradients
        for name, want in wanted.items():
            got, none = answered.gradients.get(name), torch.zeros_like(case.inputs[name])
            # who never touches an argument has no gradient, who multiplies it by 0 has one of zeros: the same
            if not self._close(none if got is None else got, none if want is None else want):
                raise CheckFailed(
                    f"the values are right, but the gradient does not reach `{name}` as it should; "
                    f"is one of the tensors on the way detached?"
                )


@dataclass(frozen=True)
class Behaviour(Exercise):
    """An exercise that is judged by what its answer does in worlds that the judge owns.

    Args:
        trial: (act, dice) -> None; raises CheckFailed with what the answer did. It owns the worlds and the score;
            `act(**given)` asks the answer, which may be in another process.
    """

    trial: Callable[[Callable[..., Any], Dice], None] | None = None

    def play(self, act: Callable[..., Any], dice: Dice) -> Verdict:
        """The verdict on who acts so.

        Raises:
            CheckFailed, NotAttempted: what `trial` or `act` raises.
        """
        self.trial(act, dice)
        return Verdict(True, True, "passed")

    def judge(self, answer: Callable[..., Any], generator: torch.Generator) -> Verdict:
        return self.play(lambda **given: run(answer, given), Dice(generator))


def kind_of(hint: Any) -> str:
    """ "number", "whole" or "flag": what an array's annotation says of its entries."""
    if "bool" in hint.dtypes:
        return "flag"
    return "number" if "float32" in hint.dtypes else "whole"


def exercise(
    number: str,
    title: str,
    *,
    lesson: str,
    returns: str | tuple[str, ...],
    kind: type[Exercise] = Exercise,
    **header: Any,
) -> Callable[[Callable[..., Any]], Exercise]:
    """Decorates a reference: a function whose signature says what it takes and returns.

    Args:
        returns: names of the outputs.
        header: the other fields of `Exercise`.

    Raises:
        UserError: names and annotation of the outputs do not fit.
    """

    def declare(reference: Callable[..., Any]) -> Exercise:
        hints = get_type_hints(reference)
        result = hints.pop("return")
        results = get_args(result) if getattr(result, "__origin__", None) is tuple else (result,)
        names = (returns,) if isinstance(returns, str) else returns
        if len(names) != len(results):
            raise UserError(f"{reference.__name__} returns {len(results)} things, named are {len(names)}: {names}")
        outputs = tuple(_output(name, hint) for name, hint in zip(names, results, strict=True))
        return kind(reference.__name__, number, title, lesson=lesson, reference=reference, inputs=hints,
                    outputs=outputs, **header)  # fmt: skip

    return declare


def _output(name: str, hint: Any) -> Output:
    if hasattr(hint, "dim_str"):
        container = "array" if hint.array_type is np.ndarray else "tensor"
        return Output(name, tuple(hint.dim_str.split()), kind_of(hint), container)
    return Output(name, (), {str: "text", bool: "flag", int: "whole"}.get(hint, "number"), "plain")


def table_of(exercises: Iterable[Exercise], as_json: bool = False) -> str:
    """A line for each exercise, for people or as JSON."""
    if as_json:
        return "\n".join(json.dumps(e.summary(), ensure_ascii=False) for e in exercises)
    lines = [f"{'exercise':<36}  difficulty  importance  minutes  points"]
    for e in exercises:
        numbers = f"{e.difficulty:>10}  {e.importance:>10}  {e.minutes:>7}  {e.points:>6}"
        lines.append(f"{f'{e.number} {e.name}':<36}  {numbers}")
    return "\n".join(lines)
