"""One step of B worlds, and what is seen after it: pure functions of the state, no loop over worlds.

`advance` and `look` are all of it; what they call follows: `act`, what an action does to a world; `verify`, whether the
mission is complete; `minigrid_rules`, how minigrid's own levels end; last, what never changes while worlds run.

Where minigrid keeps lists of tracked positions, we leave traces. A mission "go to D" looks at the positions that D's
objects had at the last *drop action* (or reset), so an object that was since picked up or destroyed still counts at
its old place. At most one object can have been picked up: its place is `origin`. A destroyed box leaves its slot
number in the empty cell, and counts while its bit in `gone` is set. A drop action clears both.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from . import cells
from .cells import ACTIONS, DIRECTIONS, EMPTY, GROUND, THING, TYPE, kind, slot, solidity
from .missions import DONE_NEAR, GO_TO, OPEN, PICK_UP, PUT_NEAR, PUT_NEXT, REACH_OR_TRAP, RED_THEN_BLUE
from .state import Starts, State, pack_starts
from .vision import Vision, make_image, make_vision, view_cells


class Observation(NamedTuple):
    """What the agents see. A later step never changes it."""

    image: UInt8[Tensor, "B 7 7 3"]  # image[b, i, j]: column i, row j; (type, colour, state) as in minigrid
    direction: Int[Tensor, "B"]  # 0 right, 1 down, 2 left, 3 up
    mission: Int[Tensor, "B L"]  # tokens, 0 for padding; see `encode_mission`


class Step(NamedTuple):
    """What a step gives. With autoreset, the observation belongs to the next episode where one ended."""

    observation: Observation
    reward: Float[Tensor, "B"]  # 1 - 0.9 * steps / max_steps on success, else 0
    terminated: Bool[Tensor, "B"]  # mission complete, or failed
    truncated: Bool[Tensor, "B"]  # step limit reached
    success: Bool[Tensor, "B"]


def advance(s: State, actions: Int[Tensor, "B"], fixed: Fixed) -> tuple[Tensor, ...]:
    """One action in each world. Changes `s.grid` in place and nothing else.

    Returns:
        the new values of the registers position ... gone, [6, B]; the complete atoms, [n, B];
        reward, terminated, truncated, success, [B].
    """
    after, deed = act(s, actions, fixed)
    done, success, failed = verify(after, deed, s.carrying, fixed)
    if fixed.features.rules:
        ended, well = minigrid_rules(after, deed, fixed)
        success, failed = success | (ended & well), failed | (ended & ~well)
    if {TYPE["goal"], TYPE["lava"]} & fixed.features.types:
        onto = kind(deed.faced)
        success = success | (deed.entered & (onto == TYPE["goal"]))
        failed = failed | (deed.entered & (onto == TYPE["lava"]))
    changed = torch.stack([after.position, after.direction, after.carrying, after.steps, after.origin, after.gone])
    reward = success_reward(success, after.steps, s.max_steps)
    return changed, done, reward, success | failed, after.steps >= s.max_steps, success


def success_reward(success: Bool[Tensor, "B"], steps: Tensor, max_steps: Tensor) -> Float[Tensor, "B"]:
    """minigrid's reward: 1 - 0.9 * steps / max_steps for success, else 0. Computed in double precision, as there."""
    wide = torch.float32 if steps.device.type == "mps" else torch.float64
    return ((1 - 0.9 * (steps.to(wide) / max_steps)) * success).float()


def look(s: State, fixed: Fixed) -> Observation:
    """What the agents see."""
    see_through = s.see_through.bool() if fixed.features.see_through else None
    visible, lit = view_cells(s.grid, fixed.base + s.position, s.direction, fixed.vision, see_through)
    image = make_image(visible, lit, s.carrying, fixed.vision)
    return Observation(image, s.direction.clone(), fixed.starts.mission.index_select(0, s.level).long())


class Deed(NamedTuple):
    """What the actions of one step did, as far as missions ask. All [B]; bool unless noted."""

    pickup: Tensor
    drop: Tensor  # the action, also when it failed
    dropped: Tensor  # it succeeded
    toggle: Tensor
    finish: Tensor  # the action "done"
    before: Tensor  # int64: what was carried before the step
    faced: Tensor  # int64: the cell that was acted upon, as it was
    made: Tensor  # int64: the cell that was acted upon, as it is
    place: Tensor  # int64: its index
    entered: Tensor  # the agent moved onto it


def act(s: State, actions: Int[Tensor, "B"], fixed: Fixed) -> tuple[State, Deed]:
    """Apply one action in each world: minigrid's `step` without mission and observation.

    Writes the changed cell into `s.grid` in place; every other field of the returned state is new where it changed.
    """
    flat, features, contents = s.grid.view(-1), fixed.features, fixed.starts.contents
    if features.carried:
        s = _take_into_hands(s, fixed)
    if features.rules:  # in the memory levels picking up is read as toggling
        no_pickup = (s.rule == REACH_OR_TRAP) & (actions == ACTIONS.index("pickup"))
        actions = torch.where(no_pickup, ACTIONS.index("toggle"), actions)
    left, right, forward, pickup, drop, toggle, finish = (actions == fixed.actions).unbind(0)

    front = s.position + fixed.ahead.index_select(0, s.direction)
    where = fixed.base + front
    faced = flat.index_select(0, where).long()
    solid, type_ = solidity(faced), kind(faced)
    entered = forward & (solid == GROUND)
    empty_hands = s.carrying == EMPTY

    picked = pickup & (solid == THING) & empty_hands
    dropped = drop & (type_ == TYPE["empty"]) & ~empty_hands
    made = torch.where(picked | dropped, s.carrying, faced)  # picking up leaves EMPTY, which is what was carried
    carrying = torch.where(picked, faced, torch.where(dropped, EMPTY, s.carrying))
    if TYPE["door"] in features.types:
        flips = toggle & (type_ == TYPE["door"]) & (cells.fits(s.carrying, faced) | ~cells.is_locked(faced))
        made = torch.where(flips, cells.flipped(faced), made)
    opened = toggle & (type_ == TYPE["box"])
    if features.contents:
        which = s.level * contents.shape[1] + slot(faced)
        left_behind = contents.view(-1).index_select(0, which).long()
    else:
        left_behind = cells.trace(faced)
    made = torch.where(opened, left_behind, made)
    flat.index_copy_(0, where, made.int())

    position = torch.where(entered, front, s.position)
    direction = (torch.add(s.direction, left, alpha=3) + right) & 3
    after = s._replace(position=position, direction=direction, carrying=carrying, steps=s.steps + 1)
    if GO_TO in features.kinds:
        origin = torch.where(picked, front, s.origin).masked_fill_(drop, -1)
        gone = (s.gone | (opened.long() << slot(faced))).masked_fill_(drop, 0)
        after = after._replace(origin=origin, gone=gone)
    return after, Deed(pickup, drop, dropped, toggle, finish, s.carrying, faced, made, front, entered)


def _take_into_hands(s: State, fixed: Fixed) -> State:
    """In a level's first step, the object that the agent starts with leaves the floor (quirk 5)."""
    flat = s.grid.view(-1)
    first = (s.steps == 0) & (s.carried_from >= 0)
    where = fixed.base + s.carried_from.clamp(min=0)  # index 0 is in the margin
    there = flat.index_select(0, where)
    flat.index_copy_(0, where, torch.where(first, EMPTY, there))
    carrying, origin = torch.where(first, there.long(), s.carrying), torch.where(first, s.carried_from, s.origin)
    return s._replace(carrying=carrying, origin=origin)


def verify(
    s: State, deed: Deed, remembered: Int[Tensor, "B"], fixed: Fixed
) -> tuple[Int[Tensor, "n B"], Bool[Tensor, "B"], Bool[Tensor, "B"]]:
    """Is the mission complete, or failed?

    Args:
        s: the state after the action, its atoms as they were before.
        remembered: what the instructions remember as carried before (the register before the step).

    Returns:
        the atoms that are complete now (the first `features.atoms`), success, failure.
    """
    n = fixed.features.atoms
    done = s.done[:n]
    hit = (s.first[:n] >> _spoken_of(s, deed, remembered, fixed)) & 1  # (n, B)
    if PUT_NEXT in fixed.features.kinds:
        hit = hit * (s.second[:n] & _slots_around(s, deed.place, fixed) != 0)  # all ones for the other kinds
    if n == 4:  # the second stage looks once the first is complete
        complete = (done[0] | hit[0]) & (done[1] | hit[1])
        hit[2:].mul_(complete)
    failure = fixed.never
    if fixed.features.strict:
        missed = (done == 0) & (hit == 0)  # atoms that look, and do not see what they want
        if n == 4:
            missed[2:].logical_and_(complete)
        failure = _blunder(s, deed, missed, fixed)
    done = done | hit
    return done, functools.reduce(torch.bitwise_and, done.unbind(0)) != 0, failure


def _spoken_of(s: State, deed: Deed, remembered: Int[Tensor, "B"], fixed: Fixed) -> Int[Tensor, "n B"]:
    """For each atom, the slot of the object that this step would complete it with. Slot 0 is in no set."""
    remembered = remembered[None]
    if fixed.features.atoms == 4:
        # The instructions of a second stage that begins in this very step remember nothing as carried before.
        begun = (s.done[0] & s.done[1]).bool()
        remembered = torch.cat([remembered, torch.where(begun, remembered, EMPTY)])  # (2 stages, B)
    stages, B = remembered.shape
    spoken = {k: SPOKEN_OF[k](s, deed, remembered, fixed).expand_as(remembered) for k in fixed.features.kinds}
    first = next(iter(spoken.values()))
    if len(spoken) == stages == 1:
        return first  # of one atom or of both
    kinds = s.kind[: fixed.features.atoms].view(stages, -1, B)  # (stages, parts, B)
    table = torch.stack([spoken.get(k, first) for k in range(4)])  # (4 kinds, stages, B)
    return table.gather(0, kinds.transpose(0, 1)).transpose(0, 1).flatten(0, 1)


def _gone_to(s: State, deed: Deed, remembered: Tensor, fixed: Fixed) -> Int[Tensor, "B"]:
    """The object, or the trace, in front of the agent."""
    front = s.position + fixed.ahead.index_select(0, s.direction)
    cell = s.grid.view(-1).index_select(0, fixed.base + front).long()
    left = slot(cell)
    counts = (kind(cell) != TYPE["empty"]) | ((s.gone >> left) & 1).bool()
    return torch.where(front == s.origin, slot(s.carrying), left * counts)


def _opened(s: State, deed: Deed, remembered: Tensor, fixed: Fixed) -> Int[Tensor, "B"]:
    """The door that was toggled and is open now."""
    return slot(deed.made) * (deed.toggle & (solidity(deed.made) == GROUND))


def _picked_up(s: State, deed: Deed, remembered: Tensor, fixed: Fixed) -> Int[Tensor, "stages B"]:
    """What is carried after the action "pickup", if nothing was before."""
    return slot(s.carrying) * (deed.pickup & (remembered == EMPTY))


def _put_down(s: State, deed: Deed, remembered: Tensor, fixed: Fixed) -> Int[Tensor, "stages B"]:
    """What was dropped, if it was carried before."""
    return slot(deed.before) * (deed.dropped & (remembered != EMPTY))


SPOKEN_OF = {GO_TO: _gone_to, OPEN: _opened, PICK_UP: _picked_up, PUT_NEXT: _put_down}


def _blunder(s: State, deed: Deed, missed: Bool[Tensor, "n B"], fixed: Fixed) -> Bool[Tensor, "B"]:
    """Did the step do with another object what a strict atom asks for, in a world where it missed the right one?"""
    kinds, strict = s.kind[: fixed.features.atoms], s.strict[: fixed.features.atoms] != 0
    opened = (kinds == OPEN) & deed.toggle & (kind(deed.made) == TYPE["door"])
    picked_up = (kinds == PICK_UP) & deed.pickup & (s.carrying != EMPTY)
    return ((opened | picked_up) & missed & strict).any(0)


def _slots_around(s: State, place: Int[Tensor, "B"], fixed: Fixed) -> Int[Tensor, "B"]:
    """The objects in the four cells around a place, as a bit mask; bit 0 is always set."""
    around = (fixed.base + place) + fixed.ahead[:, None]  # (4, B)
    there = s.grid.view(-1).index_select(0, around.view(-1)).view(4, -1).long()
    present = kind(there) != TYPE["empty"]
    right, down, left, up = (torch.ones_like(there) << slot(there) * present).unbind(0)
    return right | down | left | up | 1


def minigrid_rules(s: State, deed: Deed, fixed: Fixed) -> tuple[Bool[Tensor, "B"], Bool[Tensor, "B"]]:
    """Where a rule of minigrid's own levels (`s.rule`) ends the episode, and where that is a success.

    DONE_NEAR: "done" ends it, well beside the target; any toggle ends it, too.
    PUT_NEAR: a drop ends it, well within one cell of the target; as does the wrong object in hand.
    REACH_OR_TRAP: standing on either of two places ends it, well on one.
    RED_THEN_BLUE: opening the blue door ends it, well if the red one is open.
    """
    beside = (s.target - s.position == fixed.ahead[:, None]).any(0)
    square = [row * fixed.stride + column for row in (-1, 0, 1) for column in (-1, 0, 1)]
    close = torch.stack([deed.place - s.target == step for step in square]).any(0)
    put = deed.drop & (deed.before != EMPTY)
    wrong = deed.pickup & (s.carrying != EMPTY) & ((s.second[0] >> slot(s.carrying)) & 1 == 0)
    reached = s.position == s.target
    blue = deed.toggle & (solidity(deed.made) == GROUND) & ((s.second[0] >> slot(deed.made)) & 1 == 1)
    red = s.grid.view(-1).index_select(0, fixed.base + s.target.clamp(min=0))
    ends = {
        DONE_NEAR: (deed.finish | deed.toggle, deed.finish & beside),
        PUT_NEAR: (put | wrong, deed.dropped & close),
        REACH_OR_TRAP: (reached | (s.position == s.trap), reached),
        RED_THEN_BLUE: (blue, solidity(red) == GROUND),
    }
    ended = well = fixed.never
    for rule, (ends_it, is_well) in ends.items():
        here = (s.rule == rule) & ends_it
        ended, well = ended | here, well | (here & is_well)
    return ended, well


class Features(NamedTuple):
    """What the levels of a bank contain. Work for what none of them contains is left out."""

    types: frozenset[int]  # of what lies in the cells
    contents: bool
    carried: bool
    see_through: bool
    rules: bool  # rules of minigrid's own levels
    kinds: frozenset[int]
    strict: bool
    atoms: int  # 1, 2 (one stage of two parts) or 4


def find_features(tables: dict[str, Tensor]) -> Features:
    """What there is in a bank's tables."""
    used = tables["done"] == 0
    return Features(
        types=frozenset(kind(tables["cells"]).flatten().bincount().nonzero()[:, 0].tolist()),
        contents=bool((tables["contents"] != EMPTY).any()),
        carried=bool((tables["carried_from"] >= 0).any()),
        see_through=bool(tables["see_through"].any()),
        rules=bool((tables["rule"] != 0).any()),
        kinds=frozenset(tables["kind"][used].unique().tolist()),
        strict=bool(tables["strict"].any()),
        atoms=4 if used[:, 2:].any() else 2 if used[:, 1].any() else 1,
    )


class Fixed(NamedTuple):
    """What never changes while B worlds run, on one device. Places are indices into padded, flattened grids."""

    base: Int[Tensor, "B"]  # where each world's grid begins in all grids flattened
    ahead: Int[Tensor, "4"]  # to the next cell in each direction
    stride: int  # to the next row
    actions: Int[Tensor, "7 1"]
    never: Bool[Tensor, "B"]  # False
    vision: Vision
    starts: Starts
    features: Features


def make_fixed(tables: dict[str, Tensor], num_envs: int, device: torch.device) -> Fixed:
    """Of so many worlds that play the levels of a bank's tables."""
    starts, width = pack_starts(tables, device), tables["cells"].shape[2]
    stride = cells.row_stride(width)
    return Fixed(
        base=torch.arange(num_envs, device=device) * starts.grid.shape[1],
        ahead=torch.tensor([dx + stride * dy for dx, dy in DIRECTIONS], device=device),
        stride=stride,
        actions=torch.arange(len(ACTIONS), device=device)[:, None],
        never=torch.zeros(num_envs, dtype=torch.bool, device=device),
        vision=make_vision(width, device),
        starts=starts,
        features=find_features(tables),
    )
