"""Adding: two of many numbers are marked; say their sum at the end (Hochreiter & Schmidhuber 1997; Goyal et al., appendix).

    value   .31 .82 .05 .47 .90 …
    mark     0   1   0   0   1  …       target .82 + .90

Everything unmarked has to be ignored, which is what a module does that attends to null.
"""  # noqa: E501

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..config import bounded, check
from .protocol import Batch, check_split, unit_encoder


def adding_sequences(B: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Values uniform in [0, 1), one mark in the first half of the steps and one in the second.

    Returns:
        inputs [T,B,2], value and mark, with T = length; targets [B], the sum of the two marked values.
    """
    device, half = generator.device, length // 2
    values = torch.rand(length, B, generator=generator, device=device)
    first = torch.randint(half, (1, B), generator=generator, device=device)
    second = torch.randint(half, length, (1, B), generator=generator, device=device)
    marks = torch.zeros_like(values).scatter_(0, torch.cat((first, second)), 1.0)
    return torch.stack((values, marks), -1), (values * marks).sum(0)  # 2 x [T,B] -> [T,B,2], [T,B] -> [B]


@dataclass(frozen=True)
class Adding:
    """The task; the defaults are the shorter of the paper's two settings (the longer: 500, tested with 1000)."""

    length: int = bounded(50, at_least=2)
    """Numbers in a sequence in training."""
    test_lengths: tuple[int, ...] = bounded((100, 200), at_least=2)
    """Numbers in a sequence in testing, besides that of training."""

    metric_name: ClassVar[str] = "mean squared error of the sum"
    input_size: ClassVar[int] = 2
    output_size: ClassVar[int] = 1
    chance: ClassVar[float] = 1 / 6
    """The metric of a model that always says 1: the variance of the sum of two uniform numbers."""

    def __post_init__(self) -> None:
        check(self)

    @property
    def tests(self) -> tuple[str, ...]:
        return tuple(f"{n} numbers" for n in (self.length, *self.test_lengths))

    def sample(self, B: int, generator: torch.Generator, split: str = "train") -> Batch:
        """Inputs [T,B,2]; targets [B]."""
        length = int(check_split(split, self.tests, B).split()[0])
        return Batch(*adding_sequences(B, length, generator), given=length)

    def encoder(self, width: int) -> nn.Module:
        return unit_encoder(self.input_size, width, mean_square=1 / 3)  # of the value; marks are rare

    def decoder(self, width: int) -> nn.Module:
        return nn.Linear(width, self.output_size)

    def as_input(self, answers: Tensor) -> Tensor:
        raise NotImplementedError("all inputs of this task are given")

    def loss(self, answers: Tensor, batch: Batch) -> Tensor:
        """Squared error of the answer at the last step."""
        return nn.functional.mse_loss(answers[-1, :, 0], batch.targets)

    def metric(self, answers: Tensor, batch: Batch) -> Tensor:
        """The same as the loss."""
        return self.loss(answers, batch)
