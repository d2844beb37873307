"""A player that sees everything in a minigrid environment: drives comparisons to success in every level."""

from __future__ import annotations

import heapq
from typing import Any

from ..envs.cells import ACTIONS, DIRECTIONS
from .bot import mission_of

LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(len(ACTIONS))
MOVABLE = ("key", "ball", "box")
PATIENCE = 100  # searches for a way in one step; in a crowd, all orders of clearing obstacles would be factorially many

Place = tuple[int, int]


class Oracle:
    """Plays an environment's mission knowing the whole map, hidden things included.

    It goes on from whatever state the environment is in: each step it looks for the cheapest way to the mission's
    target, and the first obstacle on that way (a locked door without its key, an object) becomes the next thing to
    deal with, recursively. It remembers only the object for which it last emptied its hands, so as not to take up
    again what it has just put down. In cramped rooms it may still go round in circles; a random action helps.
    """

    def __init__(self, env: Any):
        self.env = env
        self.mission, self.act_there = mission_of(env)
        self.verified_by_env = hasattr(env, "update_objs_poss")
        self.in_the_way: tuple[Place, Any] = ((-1, -1), None)

    def plan(self, last_action: int | None) -> int | None:
        """The next action; None where there is no way, or none was found with some patience.

        Args:
            last_action: what was done since the last call; None in the first call.
        """
        self.searches = 0
        self.here = tuple(map(int, self.env.agent_pos))
        cells = enumerate(self.env.grid.grid)
        self.things = {(i % self.env.width, i // self.env.width): thing for i, thing in cells if thing is not None}
        if isinstance(self.mission, tuple):
            return self.go({self.mission: self.act_there})
        if not self.verified_by_env and last_action is not None:
            self.mission.verify(last_action)
        place, thing = self.in_the_way
        blocked = thing is not None and self.things.get(place) is thing
        targets = self.clearing(place) if blocked else self.targets(self.mission)
        if not targets and self.env.carrying:  # it carries what it should pick up
            return self.put_away(())
        return self.go(targets)

    def targets(self, mission: Any) -> dict[Place, int]:
        """Places to face, each with what to do there, to go on with a mission."""
        if hasattr(mission, "instr_a"):
            parts = [(mission.instr_a, getattr(mission, "a_done", False))]
            parts.append((mission.instr_b, getattr(mission, "b_done", False)))
            if type(mission).__name__ == "AfterInstr":
                parts.reverse()
            return self.targets(parts[0][0] if parts[0][1] != "success" else parts[1][0])
        kind = type(mission).__name__
        if kind == "GoToInstr":
            return dict.fromkeys(mission.desc.obj_poss, DONE)
        if kind == "OpenInstr":
            doors = {place: thing for place, thing in self.things.items() if _one_of(thing, mission.desc)}
            return {place: TOGGLE for place, door in doors.items() if not door.is_open} or dict.fromkeys(doors, TOGGLE)
        if kind == "PickupInstr":
            return self.picking(lambda thing: _one_of(thing, mission.desc))
        if not self.env.carrying or not _one_of(self.env.carrying, mission.desc_move):
            return self.picking(lambda thing: _one_of(thing, mission.desc_move))
        fixed = [place for place, thing in self.things.items() if _one_of(thing, mission.desc_fixed)]
        beside = [place for there in fixed for place in _around(there)]
        return {place: DROP for place in beside if place not in self.things}

    def picking(self, wanted: Any) -> dict[Place, int]:
        """Where to pick up a wanted thing, or to open the box that holds it."""
        found = {place: PICKUP for place, thing in self.things.items() if thing.type in MOVABLE and wanted(thing)}
        boxes = [(place, thing.contains) for place, thing in self.things.items() if thing.type == "box"]
        return found | {place: TOGGLE for place, content in boxes if content is not None and wanted(content)}

    def go(self, targets: dict[Place, int], shut: frozenset[Place] = frozenset()) -> int | None:
        """The next action on the way to the nearest target, or to what must be done first.

        Args:
            targets: place -> what to do when facing it.
            shut: obstacles already being dealt with, so no way leads through them.
        """
        if set(targets) == {self.here}:  # step aside first
            targets = {place: FORWARD for place in _around(self.here) if place not in self.things}
        while path := self.path(targets, shut):
            act = targets[path[-1]]
            last = path[-1:] if act == TOGGLE and self.is_door(path[-1]) else []
            obstacle = next((place for place in path[:-1] + last if self.is_obstacle(place)), None)
            if obstacle is not None:
                shut |= {obstacle}
                action = self.go(self.clearing(obstacle), shut)
                if action is not None:
                    return action
                targets = {place: act for place, act in targets.items() if place != obstacle}
                continue
            if act == PICKUP and self.env.carrying and not any(self.is_locked(place) for place in path):
                if shut:  # for the sake of something else than the mission's target
                    self.in_the_way = (path[-1], self.things[path[-1]])
                return self.put_away(path, shut)
            turn = (DIRECTIONS.index(_minus(path[0], self.here)) - self.env.agent_dir) % 4
            if turn:
                return LEFT if turn == 3 else RIGHT
            if len(path) == 1:
                return act
            return FORWARD if self.is_free(path[0]) else TOGGLE
        return None

    def clearing(self, obstacle: Place) -> dict[Place, int]:
        """What removes an obstacle: the key of a door, or taking an object away; a box that holds something opens."""
        thing = self.things[obstacle]
        if thing.type == "door":
            return self.picking(lambda key: key.type == "key" and key.color == thing.color)
        return {obstacle: TOGGLE if thing.type == "box" and thing.contains is not None else PICKUP}

    def put_away(self, path: Any, shut: frozenset[Place] = frozenset()) -> int | None:
        """Drop what is carried: off the path, not where something was in the way, preferably not beside a door."""
        places = {(i % self.env.width, i // self.env.width) for i in range(self.env.width * self.env.height)}
        empty = sorted(places - set(self.things) - set(path) - {self.here, self.in_the_way[0]})
        roomy = [place for place in empty if not any(self.is_door(beside) for beside in _around(place))]
        action = self.go(dict.fromkeys(roomy, DROP), shut)
        return self.go(dict.fromkeys(empty, DROP), shut) if action is None else action

    def path(self, targets: dict[Place, int], shut: frozenset[Place]) -> list[Place]:
        """The cheapest way from here to a target, without the start; turns cost a step. Empty if there is none."""
        self.searches += 1
        if self.searches > PATIENCE:
            return []
        queue: list[tuple[int, Place, Any]] = [(0, self.here, None)]
        came: dict[Place, Any] = {}
        while queue:
            cost, place, before = heapq.heappop(queue)
            if place in came:
                continue
            came[place] = before
            if place in targets and place != self.here:
                way = [place]
                while came[way[-1]] != self.here:
                    way.append(came[way[-1]])
                return way[::-1]
            ahead = place if before is None else (2 * place[0] - before[0], 2 * place[1] - before[1])
            for beside in _around(place):
                price = 1 if beside in targets else self.price(beside, shut)
                if price and beside not in came:
                    turned = before is not None and beside != ahead
                    heapq.heappush(queue, (cost + price + turned, beside, place))
        return []

    def price(self, place: Place, shut: frozenset[Place]) -> int:
        """About how many steps it costs to enter a cell; 0 if it cannot be entered."""
        if place in shut:
            return 0
        if self.is_free(place):
            return 1
        if self.things[place].type in ("wall", "lava"):
            return 0
        return 10 if self.is_obstacle(place) else 2

    def is_free(self, place: Place) -> bool:
        thing = self.things.get(place)
        return thing is None or (thing.can_overlap() and thing.type != "lava")

    def is_door(self, place: Place) -> bool:
        return place in self.things and self.things[place].type == "door"

    def is_locked(self, place: Place) -> bool:
        return self.is_door(place) and self.things[place].is_locked

    def is_obstacle(self, place: Place) -> bool:
        """A movable thing, or a locked door without its key in hand."""
        thing, key = self.things.get(place), self.env.carrying
        if self.is_locked(place):
            return not (key and key.type == "key" and key.color == thing.color)
        return thing is not None and thing.type in MOVABLE


def _one_of(thing: Any, description: Any) -> bool:
    return any(thing is known for known in description.obj_set)


def _around(place: Place) -> list[Place]:
    return [(place[0] + dx, place[1] + dy) for dx, dy in DIRECTIONS]


def _minus(a: Place, b: Place) -> Place:
    return (a[0] - b[0], a[1] - b[1])
