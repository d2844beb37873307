"""Sequential digits: read an image pixel by pixel, then name the digit (Goyal et al., section 4.1).

Trained at one resolution and tested at finer ones, where the same strokes take more steps and lie further
apart in time. The paper has MNIST, 14×14 in training and 16, 19, 24 in testing. We have the 1,797 digits of
8×8 pixels that come with scikit-learn, so that nothing is downloaded, and the same ratios: 9, 11, 14.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..config import bounded, check
from ..errors import UserError
from .protocol import Batch, check_split, unit_encoder

HELD_OUT = 360  # images for testing; the other 1,437 are for training
MEAN_SQUARE = 0.23  # of a pixel, over all images


@functools.cache
def digit_images() -> tuple[Tensor, Tensor]:
    """scikit-learn's digits: images float32 [1797,8,8] in [0,1], labels int64 [1797].

    In scikit-learn's order, where like images stand near each other (the nearest neighbour in pixels names 95.6 % of
    the last 360 rightly, and 98.9 % of 360 drawn at random): the last `HELD_OUT`, for testing, seem to be mostly by
    writers who wrote none for training. MNIST keeps its writers apart, too.

    Raises:
        UserError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise UserError("the digits come with scikit-learn, which is missing; `pip install scikit-learn`") from None
    digits = load_digits()
    images = torch.as_tensor(digits.images, dtype=torch.float32) / 16  # scikit-learn counts from 0 to 16
    return images, torch.as_tensor(digits.target, dtype=torch.int64)


def read_pixels(images: Tensor, size: int) -> Tensor:
    """Images [B,h,w], scaled to size×size by bilinear interpolation and read row by row: [size·size,B,1]."""
    if images.shape[-1] != size:
        scaled = nn.functional.interpolate(images.unsqueeze(1), (size, size), mode="bilinear", align_corners=False)
        images = scaled.squeeze(1)  # [B,1,size,size] -> [B,size,size]
    return images.flatten(1).t().unsqueeze(-1)  # [B,h,w] -> [B,h·w] -> [h·w,B] -> [h·w,B,1]


@dataclass(frozen=True)
class Digits:
    """The task. Resolutions are those that the images are scaled to."""

    size: int = bounded(8, at_least=2)
    """Resolution in training; 8 is that of the images."""
    test_sizes: tuple[int, ...] = bounded((9, 11, 14), at_least=2)
    """Resolutions in testing, besides that of training."""

    metric_name: ClassVar[str] = "accuracy on held-out images"
    input_size: ClassVar[int] = 1
    output_size: ClassVar[int] = 10
    chance: ClassVar[float] = 0.1
    """The metric of a model that guesses."""

    def __post_init__(self) -> None:
        check(self)

    @property
    def tests(self) -> tuple[str, ...]:
        return tuple(f"{n}x{n}" for n in (self.size, *self.test_sizes))

    def sample(self, B: int, generator: torch.Generator, split: str = "train") -> Batch:
        """Inputs [T,B,1] in [0,1]; targets int64 [B].

        No image twice in a batch: with B ≥ 360 a test split is the whole held-out set, each image once, and the
        batch is as large as the set.
        """
        size = int(check_split(split, self.tests, B).split("x")[0])
        images, labels = (
            (x[:-HELD_OUT] if split == "train" else x[-HELD_OUT:]).to(generator.device) for x in digit_images()
        )
        chosen = torch.randperm(len(images), generator=generator, device=generator.device)[:B]
        return Batch(read_pixels(images[chosen], size), labels[chosen], size * size)

    def encoder(self, width: int) -> nn.Module:
        """Half of all pixels are 0. Without a bias they would start as the zero vector, as null to every module."""
        encoder = unit_encoder(self.input_size, width, MEAN_SQUARE)
        nn.init.normal_(encoder.bias)
        return encoder

    def decoder(self, width: int) -> nn.Module:
        return nn.Linear(width, self.output_size)

    def as_input(self, answers: Tensor) -> Tensor:
        raise NotImplementedError("all inputs of this task are given")

    def loss(self, answers: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy of the answer at the last step."""
        return nn.functional.cross_entropy(answers[-1], batch.targets)

    def metric(self, answers: Tensor, batch: Batch) -> Tensor:
        """Share of digits named rightly at the last step."""
        return (answers[-1].argmax(-1) == batch.targets).float().mean()
