"""Copying: remember a few symbols over a long silence, then say them again (Goyal et al., section 4.1).

    input    3 7 1 … 0 0 0 0 … 0 9 0 0 0 …      symbols, blanks, the cue, blanks
    target   0 0 0 … 0 0 0 0 … 0 0 3 7 1 …      blanks, then the symbols

Trained with 50 blanks and tested with 200, it asks whether a memory survives a silence that is longer than any
it was trained on. Without a rule for *not* writing, every further blank wears the memory away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..config import bounded, check
from .protocol import Batch, check_split, unit_encoder

BLANK = 0  # symbols are 1 … symbols, the cue is symbols + 1


def copying_sequences(
    B: int, symbols: int, recall: int, blanks: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The data as the authors' code lays them out.

    Returns:
        inputs and targets, int64 [T,B] with T = 2·recall + blanks: `recall` symbols, blanks - 1 blanks, the cue,
        `recall` blanks; the target is blank up to the cue, and then the symbols. With 10 symbols T = blanks + 20.
    """
    T, device = 2 * recall + blanks, generator.device
    said = torch.randint(1, symbols + 1, (recall, B), generator=generator, device=device)
    inputs = torch.full((T, B), BLANK, device=device)
    inputs[:recall] = said
    inputs[recall + blanks - 1] = symbols + 1
    targets = torch.full((T, B), BLANK, device=device)
    targets[recall + blanks :] = said
    return inputs, targets


@dataclass(frozen=True)
class Copying:
    """The task; the defaults are the paper's."""

    symbols: int = bounded(8, at_least=2)
    """Different symbols."""
    recall: int = bounded(10, at_least=1)
    """How many of them to remember."""
    blanks: int = bounded(50, at_least=1)
    """Length of the silence in training (the paper's T)."""
    test_blanks: tuple[int, ...] = bounded((100, 200), at_least=1)
    """Lengths of the silence in testing, besides that of training."""

    metric_name: ClassVar[str] = "cross-entropy of the recalled symbols (nats)"

    def __post_init__(self) -> None:
        check(self)

    @property
    def input_size(self) -> int:
        return self.symbols + 2

    @property
    def output_size(self) -> int:
        return self.symbols + 2

    @property
    def tests(self) -> tuple[str, ...]:
        return tuple(f"{n} blanks" for n in (self.blanks, *self.test_blanks))

    @property
    def chance(self) -> float:
        """The metric of a model that knows only which symbols there are: ln 8 = 2.079 in the paper's setting."""
        return math.log(self.symbols)

    def sample(self, B: int, generator: torch.Generator, split: str = "train") -> Batch:
        """One-hot inputs [T,B,D]; targets int64 [T,B]."""
        blanks = int(check_split(split, self.tests, B).split()[0])
        inputs, targets = copying_sequences(B, self.symbols, self.recall, blanks, generator)
        return Batch(nn.functional.one_hot(inputs, self.input_size).float(), targets, len(inputs))  # [T,B] -> [T,B,D]

    def encoder(self, width: int) -> nn.Module:
        return unit_encoder(self.input_size, width, mean_square=1)

    def decoder(self, width: int) -> nn.Module:
        return nn.Linear(width, self.output_size)

    def as_input(self, answers: Tensor) -> Tensor:
        return nn.functional.one_hot(answers.argmax(-1), self.input_size).float()

    def loss(self, answers: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy, mean over *all* steps, as in the authors' code: staying silent is learned too."""
        return nn.functional.cross_entropy(answers.flatten(0, 1), batch.targets.flatten())

    def metric(self, answers: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy, mean over the last `recall` steps.

        Never the mean over all steps: a model that has learned nothing but silence scores 10·ln 8 / (blanks + 20)
        there, 0.297 with 50 blanks and 0.0945 with 200, and looks as if it generalised.
        """
        last = slice(-self.recall, None)
        return nn.functional.cross_entropy(answers[last].flatten(0, 1), batch.targets[last].flatten())


COPYING_SMALL = Copying(symbols=4, recall=3, blanks=10, test_blanks=(20, 40, 60))
"""Small enough to be trained while one waits; memory is asked to last six times as long as in training."""
