"""Shortest ways: against a search that plays the worlds themselves."""

import itertools

import pytest
import torch

from metarim_lite.bots.ways import right_actions, steps_to_face, things_called
from metarim_lite.envs import GridWorlds, LevelBank


def soonest(worlds: GridWorlds, most: int) -> int:
    """Fewest actions to success, found by playing all sequences of left, right and forward in a fork."""
    for length in range(1, most + 1):
        for actions in itertools.product(range(3), repeat=length):
            tried = worlds.fork()
            steps = [tried.step_unfinished(torch.tensor([a])) for a in actions]
            if steps[-1].success[0]:
                return length
    return most + 1


@pytest.mark.parametrize("seed", range(6))
def test_a_way_is_as_long_as_the_shortest_that_the_worlds_reward(seed):
    worlds = GridWorlds(LevelBank.generate("BabyAI-GoToLocalS5N2-v0", [seed]), 1, autoreset=False)
    worlds.reset()
    steps = steps_to_face(worlds.cells(0), things_called(worlds.cells(0), worlds.mission_text(0)))
    here, most = worlds.agent_place(0), 5
    wanted = soonest(worlds, most)
    assert min(steps[here], most + 1) == wanted
    right = right_actions(steps, here)
    assert right and set(right) <= {0, 1, 2}
    for action in range(3):
        tried = worlds.fork()
        done = bool(tried.step_unfinished(torch.tensor([action])).success[0])
        left = 0 if done else steps[tried.agent_place(0)]
        assert (left == steps[here] - 1) == (action in right)


def test_a_mission_names_one_thing_or_all_of_a_kind():
    cells = torch.zeros(3, 3, 3, dtype=torch.uint8)
    cells[0, 1], cells[2, 2] = torch.tensor([6, 0, 0]), torch.tensor([6, 2, 0])  # a red and a blue ball
    assert things_called(cells, "go to the red ball") == [(0, 1)]
    assert things_called(cells, "go to a ball") == [(0, 1), (2, 2)] and things_called(cells, "go to the red key") == []


def test_where_there_is_no_way_no_action_is_right():
    cells = torch.full((5, 3, 3), 2, dtype=torch.uint8)
    cells[1, 1, 0], cells[3, 1] = 1, torch.tensor([6, 0, 0])  # a wall between
    assert right_actions(steps_to_face(cells, [(3, 1)]), (1, 1, 0)) == ()
