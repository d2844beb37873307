"""Lesson 01, worlds and missions: what an agent sees, what it is paid for, and why it needs a memory.

Grids are indexed [x, y], x to the right and y down; directions are 0 right, 1 down, 2 left, 3 up; see `envs/cells.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...analysis.aliasing import aliased as package_aliased
from ...analysis.aliasing import kinds
from ...envs import GridWorlds, LevelBank
from ...envs.cells import ACTIONS, COLOURS, DIRECTIONS, TYPE, TYPES
from ...envs.simulation import success_reward as package_reward
from ...envs.vision import seen_place
from ..declaring import Behaviour, Dice, exercise
from ..errors import CheckFailed

exercise_1 = partial(exercise, lesson="01_worlds_and_missions")
WALL = TYPE["wall"]


@exercise_1(
    "1.1", "The egocentric view", difficulty=3, importance=4, minutes=20, points=3, returns="view", needs="indexing",
    sizes=tuple({"W": 6 + d, "V": 9 - d, "d": d} for d in range(4)), tolerance=(0, 0),
    draws={
        "grid": lambda dice, s: dice.whole(1, 9, s["W"], s["V"]),
        "x": lambda dice, s: dice.whole(0, s["W"] - 1),
        "y": lambda dice, s: dice.whole(0, s["V"] - 1),
        "direction": lambda dice, s: s["d"],
    },
    formula=r"""Cut out of a grid of types the 7×7 window that an agent at (x, y) sees, turned so that it looks *up*: `view[i, j]` is
column i from the left and row j from the top, and the agent itself is at `view[3, 6]`. What lies outside of the grid is wall
(2). Here walls hide nothing.

$$\text{grid}\,[W,V],\;(x, y),\;\text{direction} \;\to\; \text{view}\,[7,7]$$""",
    hints=(
        "How far ahead of the agent is row j, and how far to its right is column i?",
        "It is 6 − j ahead and i − 3 to the right. Ahead is (fx, fy) of its direction; its right is (−fy, fx).",
        "Pad the grid with 2 by 6 on all sides first: `torch.nn.functional.pad(grid, (6, 6, 6, 6), value=2)`; then no index "
        "is outside.",
    ),
)  # fmt: skip
def egocentric_view(grid: Int[Tensor, "W V"], x: int, y: int, direction: int) -> Int[Tensor, "7 7"]:
    return _look(grid, x, y, direction)


def _look(grid, x, y, direction, outside=WALL, back=0):
    """`back`: how far the window begins behind the agent."""
    padded = torch.nn.functional.pad(grid, (9, 9, 9, 9), value=outside)
    dx, dy = seen_place(torch.arange(7)[:, None], torch.arange(7)[None] + back, direction)
    return padded[x + 9 + dx, y + 9 + dy]


@egocentric_view.mistake("your window is not turned: the agent sees it as if it looked up, whatever its direction is.")
def not_turned(grid, x, y, direction):
    return _look(grid, x, y, 3)


@egocentric_view.mistake("your view is a mirror image: left and right are exchanged.")
def mirrored(grid, x, y, direction):
    return _look(grid, x, y, direction).flip(0)


@egocentric_view.mistake("your view has its axes exchanged: view[i, j] is column i, row j.")
def axes_exchanged(grid, x, y, direction):
    return _look(grid, x, y, direction).t()


@egocentric_view.mistake("what lies outside of the grid is 0 in your view; it is wall, 2.")
def outside_unseen(grid, x, y, direction):
    return _look(grid, x, y, direction, outside=0)


@egocentric_view.mistake("the agent stands in the middle of your window; it stands in the middle of the last row, at view[3, 6].")
def in_the_middle(grid, x, y, direction):
    return _look(grid, x, y, direction, back=3)


@egocentric_view.mistake("your view is turned the wrong way: left where it should be right.")
def turned_the_wrong_way(grid, x, y, direction):
    return _look(grid, x, y, (2 - direction) % 4)


@exercise_1(
    "1.2", "The reward", difficulty=1, importance=3, minutes=5, points=1, returns="reward", needs="arithmetic",
    sizes=({"B": 12}, {"B": 9}, {"B": 15}),
    draws={
        "success": lambda dice, s: dice.order(s["B"]) % 2 == 0,
        "steps": lambda dice, s: dice.whole(2, 60, s["B"]),
        "limit": lambda dice, s: dice.whole(64, 300, s["B"]),
    },
    formula=r"""What an episode pays: $1 - 0.9\,t/\text{limit}$ for success after t steps, and 0 without. $[B] \to [B]$""",
    hints=("Whole numbers divided by `/` give floating-point numbers.", "`torch.where(success, …, 0.0)`.", "`(1 - 0.9 * steps / limit) * success`."),
)  # fmt: skip
def success_reward(success: Bool[Tensor, "B"], steps: Int[Tensor, "B"], limit: Int[Tensor, "B"]) -> Float[Tensor, "B"]:
    return package_reward(success, steps, limit)


@success_reward.mistake("you pay for failures, too; without success the reward is 0.")
def failures_paid(success, steps, limit):
    return 1 - 0.9 * steps / limit


@success_reward.mistake("your reward falls to 0 at the limit; with 0.9 it falls to 0.1, so that late success is still worth something.")
def falls_to_zero(success, steps, limit):
    return (1 - steps / limit) * success


@success_reward.mistake("every success is worth 1 to you; it is worth less the later it comes.")
def always_one(success, steps, limit):
    return success.float()


@success_reward.mistake("you punish failures; without success the reward is 0.")
def punished(success, steps, limit):
    return torch.where(success, 1 - 0.9 * steps / limit, -0.9 * steps / limit)


@success_reward.mistake("you take 0.9 of the whole; 0.9 belongs to the share of time alone.")
def nine_tenths(success, steps, limit):
    return 0.9 * (1 - steps / limit) * success


Policy = Callable[[Tensor, int, str, dict[str, Any]], int]
LEVELS, NEEDED, AT_ONCE = 200, 0.9, 50


def draw_levels(dice: Dice) -> LevelBank:
    """Levels that nobody has seen before, to try a policy on; no seed twice."""
    seeds: set[int] = set()
    while len(seeds) < LEVELS:
        seeds.add(dice.whole(10**7, 10**9))  # beyond all that lessons train on and judge by
    return LevelBank.generate("BabyAI-GoToLocal-v0", sorted(seeds), workers=1, cache=False)


def try_policy(act: Callable[..., Any], dice: Dice) -> None:
    """Play 200 levels, 50 at a time; raises CheckFailed once too many have failed."""
    bank, failed, watched = draw_levels(dice), 0, []
    for chosen in torch.arange(len(bank)).split(AT_ONCE):
        failed += _play(act, bank.select(chosen), watched)
        if failed > (1 - NEEDED) * LEVELS:
            for mistake in explore.mistakes:
                if _acts_like(mistake.answer, watched):
                    raise CheckFailed(mistake.says)
            raise CheckFailed(
                f"your policy failed in {failed} of the first {len(watched)} levels; it should succeed in {NEEDED:.0%} of "
                f"{LEVELS}. Play one, print what it sees and does, and look where it goes round in circles."
            )


Watched = list[list[tuple[Tensor, int, str, int]]]


def _play(act: Callable[..., Any], levels: LevelBank, watched: Watched) -> int:
    """How many of these levels it fails in; what it saw and did in each is added to `watched`."""
    worlds = GridWorlds(levels, len(levels), autoreset=False)
    observation, failed = worlds.reset(torch.arange(len(levels))), torch.ones(len(levels), dtype=torch.bool)
    memories: list[dict[str, Any]] = [{} for _ in range(len(levels))]
    going, missions = torch.ones_like(failed), [worlds.mission_text(b) for b in range(len(levels))]
    seen: Watched = [[] for _ in range(len(levels))]
    while going.any():
        actions = torch.full((len(levels),), ACTIONS.index("done"))
        for b in going.nonzero()[:, 0].tolist():
            image, direction = observation.image[b].clone(), int(observation.direction[b])
            action = act(image=image, direction=direction, mission=missions[b], memory=memories[b])
            if isinstance(action, (Tensor, np.ndarray, np.generic)) and len(action.reshape(-1)) == 1:
                action = action.item()
            if type(action) is not int or not 0 <= action < len(ACTIONS):
                raise CheckFailed(f"your policy returns {str(action)[:40]!r}; an action is a whole number from 0 to 6.")
            actions[b] = action
            seen[b].append((observation.image[b].clone(), direction, missions[b], action))
        step = worlds.step_unfinished(actions)
        observation, going = step.observation, going & ~(step.terminated | step.truncated)
        failed &= ~step.success
    watched += seen
    return int(failed.sum())


def _acts_like(policy: Policy, watched: Watched) -> bool:
    """Whether it does the same, step by step, with a memory of its own."""
    for level in watched[:20]:
        memory: dict[str, Any] = {}
        if any(policy(image, direction, mission, memory) != action for image, direction, mission, action in level):
            return False
    return True


@exercise_1(
    "1.3", "A policy with a memory", difficulty=3, importance=4, minutes=25, points=4, returns="action", kind=Behaviour,
    trial=try_policy, seconds=120, needs="1.1; a search on a grid",
    formula=r""""go to the red ball": one room, a few things in it, and a view that does not show all of it. Write a policy that succeeds in at
least 90 % of 200 levels of BabyAI-GoToLocal. `image[i, j]` is (type, colour, state) of column i, row j of the view, in the
numbers of the table at the top. `memory` is a dict of yours, empty when an episode begins; what you put into it is there at the
next step. Actions: 0 turns left, 1 right, 2 goes forward. The mission is complete when the agent stands next to the thing and
faces it.""",
    hints=(
        "Keep two things in memory: where you are (counted from where you began), and a dict from places to what you saw there.",
        "1.1 the other way round: column i, row j of the view is 6 − j ahead and i − 3 to the right of you. `direction` says "
        "where ahead is.",
        "A breadth-first search over known empty places: to the thing if you know where it is, else to the nearest place that "
        "you have never seen. The first step of that way tells you whether to turn or to go.",
    ),
)  # fmt: skip
def explore(image: Int[Tensor, "7 7 3"], direction: int, mission: str, memory: dict) -> int:
    """A map of what was seen, and a breadth-first search on it."""
    *_, colour, kind = mission.split()
    wanted = [(TYPE[kind], c) for c in range(len(COLOURS)) if colour not in COLOURS or COLOURS[c] == colour]
    return _search(image, direction, memory, wanted)


def _search(image: Tensor, direction: int, memory: dict[str, Any], wanted: list[tuple[int, int]]) -> int:
    here, seen = memory.setdefault("here", (0, 0)), memory.setdefault("seen", {})
    for i, column in enumerate(image.tolist()):
        for j, (kind, colour, _) in enumerate(column):
            dx, dy = seen_place(i, j, direction)
            if kind and (dx, dy) != (0, 0):
                seen[here[0] + dx, here[1] + dy] = (kind, colour)
    seen[here] = (TYPE["empty"], 0)
    known = {place for place, thing in seen.items() if thing in wanted}
    way = _way(here, seen, lambda place: place in known if known else place not in seen)
    if way is None:
        return ACTIONS.index("right")
    turn = (DIRECTIONS.index((way[0] - here[0], way[1] - here[1])) - direction) % 4
    if turn:
        return ACTIONS.index("left" if turn == 3 else "right")
    if seen.get(way, (TYPE["empty"], 0))[0] == TYPE["empty"]:
        memory["here"] = way
    return ACTIONS.index("forward")


def _way(here: tuple[int, int], seen: dict[Any, Any], is_goal: Callable[[Any], bool]) -> tuple[int, int] | None:
    """The first place on a shortest way to a goal over places that are known to be empty."""
    queue, first = deque([here]), {here: None}
    while queue:
        place = queue.popleft()
        for dx, dy in DIRECTIONS:
            beside = (place[0] + dx, place[1] + dy)
            if beside in first:
                continue
            first[beside] = first[place] or beside
            if is_goal(beside):
                return first[beside]
            if seen.get(beside, (0, 0))[0] == TYPE["empty"]:
                queue.append(beside)
    return None


@explore.mistake("your policy always goes forward; it stops at the first wall.")
def always_forward(image, direction, mission, memory):
    return ACTIONS.index("forward")


@explore.mistake("your policy always turns on the spot; it looks around, and never goes anywhere.")
def always_turning(image, direction, mission, memory):
    return ACTIONS.index("right")


@explore.mistake("your policy goes to the nearest thing of the right kind, whatever its colour; the mission names both.")
def any_colour(image, direction, mission, memory):
    return _search(image, direction, memory, [(TYPE[mission.split()[-1]], c) for c in range(len(COLOURS))])


@explore.mistake("your policy goes to the nearest thing of the right colour, whatever its kind; the mission names both.")
def any_kind(image, direction, mission, memory):
    colour = mission.split()[-2]
    wanted = [COLOURS.index(colour)] if colour in COLOURS else list(range(len(COLOURS)))
    return _search(image, direction, memory, [(TYPES.index(t), c) for t in ("key", "ball", "box") for c in wanted])


@explore.mistake("your policy does not read the mission: it goes to the nearest thing.")
def anything(image, direction, mission, memory):
    return _search(image, direction, memory, [(TYPE[t], c) for t in ("key", "ball", "box") for c in range(len(COLOURS))])


def _moments(inputs, dice):
    """Moments from few views, two of which differ in one colour, and few missions: many are alike."""
    M, L = inputs["missions"].shape
    few = dice.whole(0, 4, 3, 7, 7, 3)
    few[1] = few[0]
    few[1, 3, 3, 1] += 1
    return {
        "views": few[dice.whole(0, 2, M)],
        "missions": dice.whole(1, 9, 2, L)[dice.whole(0, 1, M)],
        "actions": dice.whole(0, 2, M),
    }


@exercise_1(
    "1.4", "Aliased moments", difficulty=2, importance=4, minutes=15, points=2, returns="aliased", needs="broadcasting",
    sizes=({"M": 30}, {"M": 25}, {"M": 20}), prepare=_moments,
    draws={
        "views": lambda dice, s: dice.whole(0, 4, s["M"], 7, 7, 3),
        "missions": lambda dice, s: dice.whole(1, 9, s["M"], s["L"]),
        "actions": lambda dice, s: dice.whole(0, 2, s["M"]),
    },
    formula=r"""M moments: what was seen, what the mission was, and which action would have been right. Two of them are **aliased** if view and
mission are the same and the right actions are not: no policy without a memory can be right in both. (The compass is left out here.)

$$\text{views}\,[M,7,7,3],\; \text{missions}\,[M,L],\; \text{actions}\,[M]$$

$$\to\; \text{aliased}\,[M,M]$$""",
    hints=(
        "`a[:, None] == a[None]` compares every moment with every other.",
        "Two views are the same if *all* 7·7·3 numbers are: flatten, compare, `.all(-1)`.",
        "Same view `&` same mission `&` another action.",
    ),
)  # fmt: skip
def aliased(
    views: Int[Tensor, "M 7 7 3"], missions: Int[Tensor, "M L"], actions: Int[Tensor, "M"]
) -> Bool[Tensor, "M M"]:
    return package_aliased(views, missions, actions)


def _alike(x: Tensor) -> Tensor:
    numbers = kinds(x.reshape(len(x), -1))
    return numbers[:, None] == numbers[None]


@aliased.mistake("you do not look at the missions; with another mission, another action is no surprise.")
def missions_ignored(views, missions, actions):
    return _alike(views) & ~_alike(actions)


@aliased.mistake("you do not look at the actions: moments that look the same and need the same action do no harm.")
def actions_ignored(views, missions, actions):
    return _alike(views) & _alike(missions)


@aliased.mistake("you take views for the same whose colours differ; compare all three numbers of every cell.")
def types_alone(views, missions, actions):
    return aliased(views[..., :1], missions, actions)


@aliased.mistake("you give each pair once; if a is aliased with b, then b is with a.")
def once(views, missions, actions):
    return aliased(views, missions, actions).triu()


@aliased.mistake("you take two views for the same if any of their numbers are; all must be.")
def any_number(views, missions, actions):
    flat = views.flatten(1)
    return (flat[:, None] == flat[None]).any(-1) & _alike(missions) & ~_alike(actions)
