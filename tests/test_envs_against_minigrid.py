"""Worlds beside minigrid's own environments, step by step, on a few levels of every kind. (All levels: bots.)"""

import numpy as np
import pytest
import torch

from metarim_lite.bots.bot import Planner
from metarim_lite.envs import GridWorlds, LevelBank, make_minigrid
from metarim_lite.envs.generation import pack_level
from metarim_lite.envs.missions import decode_mission

# level -> seeds: what a mission, a door, a box, a step limit, a rule of minigrid's own can do
LEVELS = {
    "BabyAI-GoToLocal-v0": 6,
    "BabyAI-PickupLoc-v0": 5,
    "BabyAI-PutNextLocalS5N3-v0": 10,
    "BabyAI-PutNextS5N2Carrying-v0": 4,
    "BabyAI-UnlockLocal-v0": 4,
    "BabyAI-KeyInBox-v0": 3,
    "BabyAI-OpenDoorsOrderN4Debug-v0": 5,
    "BabyAI-GoToSeqS5R2-v0": 4,
    "MiniGrid-DoorKey-5x5-v0": 4,
    "MiniGrid-LavaGapS5-v0": 3,
    "MiniGrid-Fetch-5x5-N2-v0": 5,
    "MiniGrid-GoToDoor-5x5-v0": 4,
    "MiniGrid-PutNear-6x6-N2-v0": 5,
    "MiniGrid-MemoryS7-v0": 4,
    "MiniGrid-RedBlueDoors-6x6-v0": 3,
}


def same(observation, theirs):
    return (
        np.array_equal(observation.image[0].numpy(), theirs["image"])
        and int(observation.direction[0]) == theirs["direction"]
        and decode_mission(observation.mission[0]) == theirs["mission"]
    )


def play_beside(level_id, seeds, limit):
    """Each seed twice: by chance, and by minigrid's bot with a random action now and then. Returns how they ended."""
    bank, env = LevelBank.generate(level_id, range(seeds), cache=False), make_minigrid(level_id)
    dice, ends = np.random.default_rng(0), {"success": 0, "failure": 0, "time": 0}
    for level in range(len(bank)):
        for with_bot in (False, True):
            theirs, _ = env.reset(seed=int(bank.seeds[level]))
            env.max_steps = min(env.max_steps, limit)
            tables = bank.tables | {"max_steps": torch.full_like(bank.tables["max_steps"], env.max_steps)}
            worlds = GridWorlds(LevelBank(tables, bank.level_ids, bank.task, bank.seeds), 1, autoreset=False)
            assert same(worlds.reset(torch.tensor([level])), theirs)
            planner, last, over, steps = Planner(env) if with_bot else None, None, False, 0
            while not over:
                action = planner.plan(last) if planner else None
                if action is None or dice.random() < 0.05:
                    action = int(dice.choice(7, p=(0.13, 0.13, 0.3, 0.15, 0.12, 0.15, 0.02)))
                theirs, reward, terminated, truncated, _ = env.step(action)
                step, last, steps = worlds.step(torch.tensor([action])), action, steps + 1
                assert same(step.observation, theirs), (level_id, level, steps)
                ours = (step.reward.item(), bool(step.terminated), bool(step.truncated), bool(step.success))
                assert ours == (float(np.float32(reward)), terminated, truncated, reward > 0), (level_id, level, steps)
                assert np.array_equal(worlds.cells(0).numpy(), env.grid.encode()), (level_id, level, steps)
                over = terminated or truncated
            ends["success" if reward > 0 else "failure" if terminated else "time"] += 1
            assert steps <= env.max_steps
    return ends


@pytest.mark.parametrize("level_id", LEVELS)
def test_a_world_does_what_minigrids_does(level_id):
    ends = play_beside(level_id, LEVELS[level_id], limit=60)
    assert sum(ends.values()) == 2 * LEVELS[level_id]


def play_by_hand(things, instructions, actions):
    """The agent stands at (2, 3) and looks up; every step is minigrid's. Returns whether the last one ended it well.

    Args:
        things: (kind, colour, (x, y)) of what lies in a room of 6 x 6.
        instructions: of the classes of minigrid's verifier, the mission.
    """
    from minigrid.core.world_object import Ball, Box, Key
    from minigrid.envs.babyai.core import verifier

    env = make_minigrid("BabyAI-GoToLocal-v0")
    env.reset(seed=0)
    for x, y in [(x, y) for x in range(1, 7) for y in range(1, 7)]:
        env.grid.set(x, y, None)
    for kind, colour, place in things:
        env.put_obj({"ball": Ball, "box": Box, "key": Key}[kind](colour), *place)
    env.agent_pos, env.agent_dir = np.array((2, 3)), 3
    env.instrs = instructions(verifier)
    env.instrs.reset_verifier(env)
    worlds = GridWorlds(LevelBank.of_levels([pack_level(env)], "BabyAI-GoToLocal-v0", [0]), 1, autoreset=False)
    worlds.reset()
    for number, action in enumerate(actions):
        _, reward, terminated, *_ = env.step(action)
        step = worlds.step(torch.tensor([action]))
        assert (bool(step.terminated), step.reward.item()) == (terminated, float(np.float32(reward))), number
        assert not terminated or number == len(actions) - 1
    return reward > 0


LEFT, RIGHT, FORWARD, PICK_UP, DROP = range(5)
BALL, KEY = ("ball", "red", (2, 2)), ("key", "green", (3, 1))


def test_a_second_stage_that_begins_with_a_drop_does_not_remember_what_was_carried():
    """One drop puts the ball next to the box and next to the key. It completes the first stage only: minigrid asks the
    second one for the first time then, and it has seen nobody carry the ball."""

    def instructions(v):
        return v.BeforeInstr(*(v.PutNextInstr(v.ObjDesc("ball"), v.ObjDesc(other)) for other in ("box", "key")))

    things = BALL, ("box", "blue", (4, 2)), KEY
    # pick up, around to the place between box and key, drop; and once more
    assert play_by_hand(things, instructions, (PICK_UP, RIGHT, FORWARD, LEFT, DROP, PICK_UP, DROP))


def test_who_has_something_in_hand_picks_nothing_up():
    """The ball is in hand before "pick it up" counts. To press the button again is not to pick it up."""

    def instructions(v):
        return v.BeforeInstr(v.GoToInstr(v.ObjDesc("box")), v.PickupInstr(v.ObjDesc("ball")))

    to_the_box = PICK_UP, RIGHT, FORWARD
    things = BALL, ("box", "blue", (4, 3))
    assert not play_by_hand(things, instructions, (*to_the_box, PICK_UP, LEFT, PICK_UP))
    assert play_by_hand(things, instructions, (*to_the_box, PICK_UP, LEFT, DROP, PICK_UP))


@pytest.mark.parametrize("drops", [True, False])
def test_where_a_carried_thing_lay_counts_until_something_is_dropped_or_only_tried_to_be(drops):
    """The ball is in hand when "go to the ball" begins to count. Its old place will do, in minigrid, unless "drop" was
    pressed meanwhile, if only in front of a key, where nothing can be put."""

    def instructions(v):
        return v.BeforeInstr(v.GoToInstr(v.ObjDesc("box")), v.GoToInstr(v.ObjDesc("ball")))

    things = BALL, ("box", "blue", (4, 3)), ("key", "green", (1, 3))
    tries = (DROP,) if drops else ()
    actions = (PICK_UP, LEFT, *tries, RIGHT, RIGHT, FORWARD, LEFT, LEFT, FORWARD, RIGHT)
    assert play_by_hand(things, instructions, actions) == (not drops)


def test_reward_and_the_step_limit_by_hand():
    """Success after s of M steps earns 1 − 0.9 s / M; the M-th step is the last one."""
    bank = LevelBank.generate("MiniGrid-Empty-5x5-v0", range(1), cache=False)
    limit = int(bank.tables["max_steps"][0])
    worlds = GridWorlds(bank, 1, autoreset=False)
    worlds.reset()
    for action in (2, 2, 1, 2):
        assert worlds.step(torch.tensor([action])).reward.item() == 0
    last = worlds.step(torch.tensor([2]))
    assert last.reward.item() == pytest.approx(1 - 0.9 * 5 / limit) and bool(last.terminated & last.success)
    worlds.reset()
    steps = [worlds.step(torch.tensor([0])) for _ in range(limit)]
    assert [bool(s.truncated) for s in steps] == [False] * (limit - 1) + [True]
    assert not any(bool(s.terminated) for s in steps)


def test_what_the_agent_starts_with_is_carried_in_its_own_level_only():
    """In one bank a level with something in hand and one without: the latter's hands stay empty after a step."""
    ids = ("BabyAI-PutNextS5N2Carrying-v0", "BabyAI-GoToLocal-v0", "MiniGrid-GoToDoor-5x5-v0")
    bank = LevelBank.concat([LevelBank.generate(level_id, range(1), cache=False) for level_id in ids])
    worlds = GridWorlds(bank, 3)
    worlds.reset(torch.arange(3))
    before = [worlds.cells(b) for b in range(3)]
    worlds.step(torch.zeros(3, dtype=torch.int64))
    held = [worlds.observe().image[b, 3, 6, 0].item() for b in range(3)]
    assert held[0] > 4 and held[1:] == [1, 1], "a key, ball or box; and empty cells"
    changed = [int((worlds.cells(b) != before[b]).any(-1).sum()) for b in range(3)]
    assert changed == [1, 0, 0]
    nowhere = [worlds.state.carried_from.tolist(), worlds.state.target.tolist(), worlds.state.trap.tolist()]
    assert [[place < 0 for place in places] for places in nowhere] == [
        [False, True, True], [True, True, False], [True, True, True],
    ]  # fmt: skip
