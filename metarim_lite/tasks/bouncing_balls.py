"""Bouncing balls: given some frames of balls in a box, predict the frames that follow (Goyal et al., section 4.2).

Balls move alone except when they meet, which is what modules that communicate sparsely are meant for. Trained
on 4 balls; tested on more of them, and behind a curtain that hides part of the box.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..config import bounded, check
from ..errors import UserError
from .physics import Balls, move, place_balls
from .protocol import Batch, check_split, is_number


def draw_balls(balls: Balls, size: int) -> Tensor:
    """Frames [B,size,size] of 0 and 1: a pixel is lit if its centre lies in a ball. Rows go down, as in images."""
    centres = (torch.arange(size, device=balls.radius.device, dtype=torch.float64) + 0.5) / size
    dx = (centres - balls.position[..., 0:1]) ** 2  # [B,M,size]
    dy = (centres - balls.position[..., 1:2]) ** 2  # [B,M,size]
    inside = dx.unsqueeze(-2) + dy.unsqueeze(-1) < (balls.radius**2)[..., None, None]  # [B,M,size,size]
    return inside.any(1).float()


def draw_curtains(B: int, size: int, side: float, generator: torch.Generator) -> Tensor:
    """A square hole for each box, `side` of the frame wide and anywhere in it: [B,size,size], 0 behind it, else 1."""
    width = round(side * size)
    corner = torch.randint(size - width + 1, (2, B, 1), generator=generator, device=generator.device)
    pixel = torch.arange(size, device=generator.device)
    hidden = (pixel >= corner) & (pixel < corner + width)  # [2,B,size]
    return (~(hidden[0].unsqueeze(-2) & hidden[1].unsqueeze(-1))).float()  # [B,size,size]


@dataclass(frozen=True)
class BouncingBalls:
    """The task. The paper has 64×64 frames; 32×32, the default, cost a quarter."""

    size: int = bounded(32, at_least=8)
    """Height and width of a frame."""
    balls: int = bounded(4, at_least=1)
    """Balls in training."""
    test_balls: tuple[int, ...] = bounded((6, 7, 8), at_least=1)
    """Balls in testing, besides that of training."""
    frames: int = bounded(51, at_least=3)
    """Frames of a sequence; a model makes one prediction less."""
    given: int = bounded(15, at_least=1)
    """Frames that a model is shown in testing before it goes on from its own predictions. In training it is anything
    from this number to all of them, drawn for each batch: who never goes on alone does not learn to correct itself,
    and becomes sure of what is wrong. (Ours.)"""
    radii: tuple[float, float] = (0.08, 0.12)
    """Smallest and largest ball, in sides of the box. Mass is area."""
    speeds: tuple[float, float] = (0.02, 0.05)
    """Slowest and fastest ball at the start, in sides of the box per frame."""
    curtain: float = 0.4
    """Side of the curtain in the test split that has one."""

    metric_name: ClassVar[str] = "cross-entropy of rolled-out frames (nats per pixel)"

    def __post_init__(self) -> None:
        check(self)
        if self.size % 4:
            raise UserError(f"BouncingBalls.size is {self.size}; the encoder halves it twice, so take a multiple of 4")
        if self.given > self.frames - 2:
            raise UserError(
                f"{self.given} given frames of {self.frames} leave nothing to roll out; give at most {self.frames - 2}"
            )
        for name, top in (("radii", 0.5), ("speeds", 1.0)):
            pair = getattr(self, name)
            two = isinstance(pair, tuple) and len(pair) == 2 and all(map(is_number, pair))
            if not two or not 0 < pair[0] <= pair[1] < top:
                raise UserError(
                    f"BouncingBalls.{name} is {pair!r}; it must be a tuple of two numbers, "
                    f"0 < smallest <= largest < {top}"
                )
        if not 0 < round(self.curtain * self.size) < self.size:
            raise UserError(
                f"BouncingBalls.curtain is {self.curtain!r}; it must hide something and not everything of {self.size} "
                "pixels: take a share between 0 and 1"
            )

    @property
    def input_size(self) -> int:
        return self.size**2

    @property
    def output_size(self) -> int:
        return self.size**2

    @property
    def tests(self) -> tuple[str, ...]:
        return (*(f"{n} balls" for n in (self.balls, *self.test_balls)), f"{self.balls} balls and a curtain")

    def sample(self, B: int, generator: torch.Generator, split: str = "train") -> Batch:
        """Inputs and targets [T,B,size²] with T = frames - 1; targets[t] is the frame after inputs[t].

        In testing the first `given` frames are given, in training a random number between that and all of them.
        Behind the curtain frames are dark, in inputs and targets alike.
        """
        named, given = check_split(split, self.tests, B), self.given
        if split == "train":
            given = int(torch.randint(self.given, self.frames, (), generator=generator, device=generator.device))
        boxes = place_balls(B, int(named.split()[0]), self.radii, self.speeds, generator)
        video = []
        for _ in range(self.frames):
            video.append(draw_balls(boxes, self.size))
            boxes = move(boxes)
        film = torch.stack(video)  # [frames,B,size,size]
        if named == self.tests[-1]:
            film = film * draw_curtains(B, self.size, self.curtain, generator)
        film = film.flatten(2)  # [frames,B,size²]
        return Batch(film[:-1], film[1:], given)

    def encoder(self, width: int) -> nn.Module:
        return nn.Sequential(
            nn.Unflatten(-1, (1, self.size, self.size)), OverTime(
                nn.Conv2d(1, 16, 4, stride=2, padding=1), nn.ReLU(),  # size/2
                nn.Conv2d(16, 32, 4, stride=2, padding=1), nn.ReLU(),  # size/4
            ),
            nn.Flatten(-3), nn.Linear(32 * (self.size // 4) ** 2, width), nn.LayerNorm(width),
        )  # fmt: skip

    def decoder(self, width: int) -> nn.Module:
        quarter = self.size // 4
        return nn.Sequential(
            nn.Linear(width, 32 * quarter**2), nn.ReLU(), nn.Unflatten(-1, (32, quarter, quarter)), OverTime(
                nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1), nn.ReLU(),  # size/2
                nn.ConvTranspose2d(16, 1, 4, stride=2, padding=1),  # size
            ),
            nn.Flatten(-3),
        )  # fmt: skip

    def as_input(self, answers: Tensor) -> Tensor:
        """Each pixel's probability of being lit."""
        return answers.sigmoid()

    def loss(self, answers: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy of the next frame, mean over pixels and steps; answers are logits [T,B,size²]."""
        return nn.functional.binary_cross_entropy_with_logits(answers, batch.targets)

    def metric(self, answers: Tensor, batch: Batch) -> Tensor:
        """The same over the frames that were not given; where all were, over all."""
        first = batch.given - 1 if batch.given < len(answers) else 0
        return nn.functional.binary_cross_entropy_with_logits(answers[first:], batch.targets[first:])


def frame_errors(answers: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy of each step's frame, mean over pixels and boxes: [T]. It grows as a roll-out goes astray."""
    errors = nn.functional.binary_cross_entropy_with_logits(answers, batch.targets, reduction="none")
    return errors.flatten(1).mean(1)


class OverTime(nn.Sequential):
    """Layers for images [n,C,h,w], applied to [...,C,h,w]."""

    def forward(self, images: Tensor) -> Tensor:
        leading = images.shape[:-3]
        return super().forward(images.flatten(0, -4)).unflatten(0, leading)
