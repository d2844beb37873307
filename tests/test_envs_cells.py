"""Cells: what their bits are called, and worlds whose cells are edited."""

import pytest
import torch

from metarim_lite.envs import GridWorlds, LevelBank, cells
from metarim_lite.errors import UserError


def test_an_edited_cell_is_seen_and_acts_like_what_it_holds():
    worlds = GridWorlds(LevelBank.generate("MiniGrid-Empty-8x8-v0", range(1), cache=False), 2)
    worlds.reset()
    worlds.edit(0, 2, 1, "ball", "blue")  # in front of the agent, which looks right from (1, 1)
    assert worlds.observe().image[0, 3, 5].tolist() == [6, 2, 0]
    assert worlds.observe().image[1, 3, 5].tolist() == [1, 0, 0]
    step = worlds.step(torch.tensor([3, 3]))  # pick up
    assert step.observation.image[0, 3, 6].tolist() == [6, 2, 0]
    worlds.edit(0, 2, 1, "wall", "grey")
    worlds.step(torch.tensor([2, 2]))
    assert worlds.agent_place(0) == (1, 1, 0) and worlds.agent_place(1) == (2, 1, 0)
    for arguments, sentence in (((0, 9, 1), "cannot be edited"), ((0, 2, 2, "bal"), "did you mean 'ball'")):
        with pytest.raises(UserError, match=sentence):
            worlds.edit(*arguments)


def test_an_edited_cell_acts_also_where_no_level_has_such_a_thing():
    """A closed door, a locked one, lava and a goal in a room that has none; forks, and worlds beside, as they were."""
    bank = LevelBank.generate("BabyAI-GoToObj-v0", range(4), cache=False)
    for thing, state, actions in (("door", 1, (5, 2)), ("lava", 0, (2,)), ("goal", 0, (2,)), ("door", 2, (5, 2))):
        worlds = GridWorlds(bank, 2, autoreset=False)
        worlds.reset(torch.tensor([0, 0]))
        fork = worlds.fork()
        x, y, direction = worlds.agent_place(0)
        ahead = x + cells.DIRECTIONS[direction][0], y + cells.DIRECTIONS[direction][1]
        assert worlds.cells(0)[ahead].tolist()[0] == cells.TYPE["empty"]
        worlds.edit(0, *ahead, thing, state=state)
        for action in actions:
            step, plain = worlds.step(torch.tensor([action] * 2)), fork.step(torch.tensor([action] * 2))
        on_it = worlds.agent_place(0)[:2] == ahead
        assert on_it == (state != 2), thing
        assert bool(step.terminated[0]) == (thing in ("lava", "goal")) and bool(step.success[0]) == (thing == "goal")
        assert not (plain.terminated.any() or step.terminated[1]) and torch.equal(worlds.cells(1), fork.cells(1))


def test_a_cells_bits_have_names_that_say_what_they_were_made_of():
    """Every door in every state, as ints and as a tensor; opening is what turns one state's cell into another's."""
    names = ("open", "closed", "locked")
    for colour in cells.COLOURS:
        doors = [cells.make_cell("door", colour, state, slot=9) for state in range(3)]
        for state, door in enumerate(doors):
            said = cells.kind(door), cells.state(door), cells.slot(door), cells.is_locked(door)
            assert said == (cells.TYPE["door"], state, 9, names[state] == "locked")
            assert cells.solidity(door) == (cells.GROUND if names[state] == "open" else cells.BARRIER)
            assert cells.flipped(door) == doors[0 if state else 1]
            assert cells.hides(door) == (-1 if state else 0)
        many = torch.tensor(doors)
        assert cells.flipped(many).tolist() == [doors[1], doors[0], doors[0]]
        assert cells.is_locked(many).tolist() == [False, False, True]
        keys = [cells.make_cell("key", other) for other in cells.COLOURS]
        assert [cells.fits(key, doors[2]) for key in keys] == [other == colour for other in cells.COLOURS]
        assert not cells.fits(cells.make_cell("ball", colour), doors[2])
    box = cells.make_cell("box", "red", slot=5)
    assert cells.solidity(box) == cells.THING and cells.kind(cells.trace(box)) == cells.TYPE["empty"]
    assert cells.slot(cells.trace(box)) == 5 and cells.trace(cells.EMPTY) == cells.EMPTY
    assert cells.hides(cells.WALL) == -1 and cells.solidity(cells.EMPTY) == cells.GROUND
