"""What an exercise is made of: its reference, the inputs it is checked on, the mistakes it knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .probing import Case, Output


class Mistake(NamedTuple):
    """A known wrong way to compute one output.

    `variant` takes the exercise's arguments by name and gives the wrong tensor (None where the mistake
    makes no sense for these sizes); `says` is the sentence a student gets whose answer equals it.
    """

    output: str
    variant: Callable[..., Tensor | None]
    says: str


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Args:
        name: the name of the student's function.
        lesson: the notebook it belongs to, without its suffix.
        points: what it is worth.
        outputs: what the function returns, in order.
        reference: the package's implementation; takes the arguments by name or position, returns a tuple.
        cases: draws the inputs of one check from a generator.
        mistakes: known wrong answers, the most telling first.
        describe: (output name, inputs, results) -> a sentence for a wrong answer that equals no known mistake,
            or None.
    """

    name: str
    lesson: str
    points: int
    outputs: tuple[Output, ...]
    reference: Callable[..., tuple[Tensor, ...]]
    cases: Callable[[torch.Generator], list[Case]]
    mistakes: tuple[Mistake, ...]
    describe: Callable[[str, dict[str, Tensor], tuple[Tensor, ...]], str | None]
