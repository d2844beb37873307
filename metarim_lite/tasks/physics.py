"""Balls in a box, simulated event by event: between two collisions balls fly straight, so nothing is approximated.

A simulation in small time steps lets balls sink into each other and gains or loses energy. Here we ask instead when the
next collision happens, move every ball up to that moment, and bounce. Energy is conserved and nothing overlaps
up to rounding, which is what the tests hold. All B boxes run side by side, each with its own clock.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import UserError

NEVER = float("inf")
MAX_PLACINGS = 2000  # attempts at placing one ball in all boxes


class Balls(NamedTuple):
    """M discs in each of B boxes, the unit square; float64. Time is counted in frames. Mass is area: radius²."""

    position: Tensor  # [B,M,2], in [radius, 1 - radius]
    velocity: Tensor  # [B,M,2], box sides per frame
    radius: Tensor  # [B,M]


def place_balls(
    B: int, M: int, radii: tuple[float, float], speeds: tuple[float, float], generator: torch.Generator
) -> Balls:
    """Balls of uniform random radius, place, speed and direction, none overlapping another.

    Raises:
        UserError: they do not fit.
    """

    def uniform(low: float | Tensor, high: float | Tensor, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64)

    radius, speed, angle = uniform(*radii, B, M), uniform(*speeds, B, M), uniform(0, 2 * torch.pi, B, M)
    position = torch.empty(B, 0, 2, device=generator.device, dtype=torch.float64)
    for m in range(M):
        r = radius[:, m : m + 1]  # [B,1]
        place = uniform(r, 1 - r, B, 2)
        for _ in range(MAX_PLACINGS):
            near = (place.unsqueeze(1) - position).norm(dim=-1) < r + radius[:, :m]  # [B,m]
            clash = near.any(-1, keepdim=True)  # [B,1]
            if not clash.any():
                break
            place = torch.where(clash, uniform(r, 1 - r, B, 2), place)
        else:
            raise UserError(f"{M} balls of radius {radii[0]} to {radii[1]} do not fit into a box of side 1; take fewer")
        position = torch.cat((position, place.unsqueeze(1)), 1)  # [B,m,2] -> [B,m+1,2]
    velocity = speed.unsqueeze(-1) * torch.stack((angle.cos(), angle.sin()), -1)  # [B,M,2]
    return Balls(position, velocity, radius)


def wall_times(balls: Balls) -> Tensor:
    """When each ball would hit the wall it flies towards, along each axis: [B,M,2], `NEVER` if it stands still."""
    x, v, r = balls.position, balls.velocity, balls.radius.unsqueeze(-1)
    room = torch.where(v > 0, 1 - r - x, x - r).clamp(min=0)
    return torch.where(v == 0, NEVER, room / v.abs())


def pair_times(balls: Balls, i: Tensor, j: Tensor) -> Tensor:
    """When balls i and j [P] would touch: [B,P], `NEVER` if they do not, or are moving apart.

    With distance d and relative velocity w they touch when |d + w t| = r_i + r_j: a quadratic equation in t.
    """
    d = balls.position[:, j] - balls.position[:, i]  # [B,P,2]
    w = balls.velocity[:, j] - balls.velocity[:, i]
    gap = (d * d).sum(-1) - (balls.radius[:, i] + balls.radius[:, j]) ** 2  # [B,P]
    approach, ww = (d * w).sum(-1), (w * w).sum(-1)
    discriminant = approach**2 - ww * gap
    meets = (approach < 0) & (discriminant > 0)
    # Of the two forms of the root, the one that does not subtract nearly equal numbers.
    time = gap / (-approach + discriminant.clamp(min=0).sqrt())
    return torch.where(meets, time.clamp(min=0), NEVER)


def bounce_off_each_other(balls: Balls, i: Tensor, j: Tensor) -> Tensor:
    """Velocities [B,M,2] after ball i [B] of each box has hit ball j [B], elastically and without friction.

    Along the line of centres n the relative velocity is reversed; momentum moves from one to the other.
    """
    box = torch.arange(len(i), device=i.device)
    m_i, m_j = balls.radius[box, i] ** 2, balls.radius[box, j] ** 2  # [B]
    d = balls.position[box, j] - balls.position[box, i]  # [B,2]
    n = d / d.norm(dim=-1, keepdim=True)
    closing = ((balls.velocity[box, i] - balls.velocity[box, j]) * n).sum(-1)  # [B]
    impulse = (2 * m_i * m_j / (m_i + m_j) * closing).unsqueeze(-1) * n  # [B,2]
    velocity = balls.velocity.clone()
    velocity[box, i] -= impulse / m_i.unsqueeze(-1)
    velocity[box, j] += impulse / m_j.unsqueeze(-1)
    return velocity


def move(balls: Balls, time: float = 1.0) -> Balls:
    """The boxes `time` later, with every collision in between."""
    B, M = balls.radius.shape
    box = torch.arange(B, device=balls.radius.device)
    i, j = torch.triu_indices(M, M, offset=1, device=balls.radius.device)
    left = torch.full((B,), float(time), device=balls.radius.device, dtype=torch.float64)
    while bool((left > 0).any()):
        events = torch.cat((wall_times(balls).flatten(1), pair_times(balls, i, j)), 1)  # [B, 2M + P]
        when, which = events.min(-1)
        happens = when < left
        step = torch.where(happens, when, left)
        balls = balls._replace(position=balls.position + balls.velocity * step[:, None, None])
        left = torch.where(happens, left - step, 0.0)

        at_wall = (happens & (which < 2 * M)).unsqueeze(-1)  # [B,1]
        hit = torch.zeros(B, 2 * M, dtype=torch.bool, device=box.device)
        hit = hit.scatter(1, which.clamp(max=2 * M - 1).unsqueeze(-1), True) & at_wall
        velocity = torch.where(hit.view(B, M, 2), -balls.velocity, balls.velocity)
        if M > 1:
            pair = (which - 2 * M).clamp(min=0)
            met = (happens & (which >= 2 * M))[:, None, None]
            velocity = torch.where(met, bounce_off_each_other(balls, i[pair], j[pair]), velocity)
        balls = balls._replace(velocity=velocity)
    return balls
