"""Shortest ways to a thing, for who sees the whole level: which actions are right, and which are not."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from jaxtyping import UInt8
from torch import Tensor

from ..envs.cells import COLOURS, DIRECTIONS, TYPE

Place = tuple[int, int]
Pose = tuple[int, int, int]


def things_called(cells: UInt8[Tensor, "w h 3"], mission: str) -> list[Place]:
    """Where the things are that a mission such as "go to the red ball" names with its last words.

    Args:
        cells: of a level, `GridWorlds.cells`, or of a view.
    """
    *_, colour, kind = mission.split()
    found = cells[..., 0] == TYPE[kind]
    if colour in COLOURS:
        found &= cells[..., 1] == COLOURS.index(colour)
    return [(x, y) for x, y in found.nonzero().tolist()]


def steps_to_face(cells: UInt8[Tensor, "w h 3"], goals: Iterable[Place]) -> dict[Pose, int]:
    """How many actions it takes from each (x, y, direction) until the agent faces one of `goals`.

    Only empty cells are walked on; poses from which there is no way are missing.
    """
    goals = set(goals)
    empty = {
        (x, y) for x, y in ((cells[..., 0] == TYPE["empty"]) | (cells[..., 0] == TYPE["agent"])).nonzero().tolist()
    }
    poses = [(x, y, d) for x, y in sorted(empty) for d in range(4)]
    steps = {pose: 0 for pose in poses if _ahead(pose)[:2] in goals}
    queue = deque(steps)
    while queue:  # backwards in time: from where could one come here?
        x, y, d = pose = queue.popleft()
        dx, dy = DIRECTIONS[d]
        for before in ((x, y, (d + 1) % 4), (x, y, (d - 1) % 4), (x - dx, y - dy, d)):
            if before[:2] in empty and before not in steps:
                steps[before] = steps[pose] + 1
                queue.append(before)
    return steps


def right_actions(steps: dict[Pose, int], pose: Pose) -> tuple[int, ...]:
    """Which of left (0), right (1) and forward (2) begin a shortest way from `pose`; none where there is no way."""
    x, y, d = pose
    after = ((x, y, (d - 1) % 4), (x, y, (d + 1) % 4), _ahead(pose))
    return tuple(action for action, p in enumerate(after) if pose in steps and steps.get(p) == steps[pose] - 1)


def _ahead(pose: Pose) -> Pose:
    x, y, d = pose
    return x + DIRECTIONS[d][0], y + DIRECTIONS[d][1], d
