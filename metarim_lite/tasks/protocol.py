"""What every sequence task offers, so that the trainer never asks which task it has.

A task is a frozen dataclass of settings. From it and a random generator everything else follows: batches with
time first, the encoder that turns its inputs into vectors, the decoder that turns a controller's outputs into
answers, the loss that is learned from, and the metric that the paper reports.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ..config import whole_number
from ..errors import unknown


class Batch(NamedTuple):
    """B sequences of T steps.

    inputs: [T,B,D].
    targets: of all steps, time first, or of the whole sequence, [B, …]; each task says which.
    given: from this step on a model is not shown `inputs[t]` but what it predicted itself at t - 1. T, the
        usual case, means that it is shown all of them.
    """

    inputs: Tensor
    targets: Tensor
    given: int


class Task(Protocol):
    """The protocol. `Copying`, `Adding`, `BouncingBalls` and `Digits` follow it."""

    metric_name: str
    """What `metric` measures, in words."""

    @property
    def input_size(self) -> int:
        """D: width of an input."""
        ...

    @property
    def output_size(self) -> int:
        """Width of an answer, the last axis of what `loss` and `metric` take."""
        ...

    @property
    def tests(self) -> tuple[str, ...]:
        """Names of the test splits; the first is distributed like "train"."""
        ...

    def sample(self, B: int, generator: torch.Generator, split: str = "train") -> Batch:
        """B sequences on the generator's device, decided by its state alone.

        Raises:
            UserError: unknown split, B < 1.
        """
        ...

    def encoder(self, width: int) -> nn.Module:
        """Inputs [..., D] -> vectors [..., width] of about unit size per number."""
        ...

    def decoder(self, width: int) -> nn.Module:
        """A controller's outputs [..., width] -> answers [..., output_size]."""
        ...

    def as_input(self, answers: Tensor) -> Tensor:
        """Answers [B,output_size] as the next step's inputs [B,D], for batches with `given` < T."""
        ...

    def loss(self, answers: Tensor, batch: Batch) -> Tensor:
        """What is minimised: answers [T,B,output_size] -> a number."""
        ...

    def metric(self, answers: Tensor, batch: Batch) -> Tensor:
        """What the paper reports: answers [T,B,output_size] -> a number."""
        ...


def unit_encoder(input_size: int, width: int, mean_square: float) -> nn.Linear:
    """A linear encoder whose outputs start with about unit variance.

    Attention compares inputs with a query of unit size, so inputs should have that size too: PyTorch's own
    initialisation would make the vector of a one-hot symbol √(3·D) times too small.

    Args:
        mean_square: the mean of ‖x‖² over inputs x. For one-hot symbols it is 1, and this is an embedding table.
    """
    linear = nn.Linear(input_size, width)
    nn.init.normal_(linear.weight, 0, 1 / math.sqrt(mean_square))
    nn.init.zeros_(linear.bias)
    return linear


def check_split(split: str, tests: tuple[str, ...], B: int) -> str:
    """The split, with "train" standing for the test split of the same distribution.

    Raises:
        UserError: unknown split, B < 1.
    """
    whole_number("B, the sequences of a batch,", B, at_least=1)
    if split not in ("train", *tests):
        raise unknown("split", split, ("train", *tests))
    return tests[0] if split == "train" else split


def is_number(value: Any) -> bool:
    """Whether it is a finite number, and no truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
