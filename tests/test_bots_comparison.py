"""Both engines side by side: every step and every reset observation equal minigrid's."""

import pytest
import torch

from metarim_lite.bots.bot import Bot
from metarim_lite.bots.compare import compare_level, compare_minigrid
from metarim_lite.bots.oracle import Oracle
from metarim_lite.envs import GridWorlds, LevelBank, simulation, supported
from metarim_lite.envs.generation import make_minigrid
from metarim_lite.errors import UserError

ONE_ROOM = [
    level_id
    for level_id in supported("BabyAI-")
    if level_id.startswith(
        (
            "BabyAI-GoToRed",
            "BabyAI-GoToObj-",
            "BabyAI-GoToObjS",
            "BabyAI-GoToLocal",
            "BabyAI-OneRoom",
            "BabyAI-PickupLoc",
            "BabyAI-PickupDist",
            "BabyAI-PutNextLocal",
        )
    )
]

# level -> steps; chosen so that each family reaches success 300 times in a few seconds
FAMILIES = {
    "two rooms": {
        "BabyAI-PutNextS4N1-v0": 3000,
        "BabyAI-PutNextS5N2-v0": 2000,
        "BabyAI-PutNextS5N2Carrying-v0": 2000,
        "BabyAI-MoveTwoAcrossS5N2-v0": 2000,
        "BabyAI-MoveTwoAcrossS8N9-v0": 1000,
    },
    "doors": {
        "BabyAI-OpenRedDoor-v0": 1000,
        "BabyAI-OpenDoorDebug-v0": 800,
        "BabyAI-OpenDoorLoc-v0": 800,
        "BabyAI-OpenRedBlueDoorsDebug-v0": 800,
        "BabyAI-OpenDoorsOrderN4Debug-v0": 1200,
        "BabyAI-GoToObjDoor-v0": 800,
        "BabyAI-ActionObjDoor-v0": 800,
        "BabyAI-FindObjS5-v0": 600,
        "BabyAI-GoToObjMazeS4R2-v0": 800,
        "BabyAI-UnblockPickup-v0": 600,
    },
    "locks": {
        "BabyAI-UnlockLocalDist-v0": 5000,
        "BabyAI-KeyInBox-v0": 2500,
        "BabyAI-UnlockPickupDist-v0": 4000,
        "BabyAI-BlockedUnlockPickup-v0": 2000,
        "BabyAI-UnlockToUnlock-v0": 800,
        "BabyAI-KeyCorridorS3R1-v0": 5000,
        "BabyAI-GoToImpUnlock-v0": 800,
    },
    "composed": {
        "BabyAI-GoToSeqS5R2-v0": 7000,
        "BabyAI-MiniBossLevel-v0": 6000,
        "BabyAI-SynthLoc-v0": 1000,
        "BabyAI-SynthSeq-v0": 1000,
        "BabyAI-BossLevel-v0": 1600,
    },
}

# family of minigrid's own levels -> steps per level, beginnings of their ids
MINIGRID_FAMILIES = {
    "goals": (300, "Empty", "DistShift", "FourRooms", "LavaGap", "LavaCrossing", "SimpleCrossing"),
    "objects": (300, "Fetch", "GoToDoor", "GoToObject", "PutNear"),
    "memory": (400, "Memory"),
    "doors and keys": (600, "DoorKey", "RedBlueDoors", "Unlock", "BlockedUnlockPickup", "KeyCorridor"),
    "many rooms": (1000, "MultiRoom", "LockedRoom"),
    "obstructed mazes": (800, "ObstructedMaze"),
}


def levels_of(beginnings):
    return [level_id for beginning in beginnings for level_id in supported(f"MiniGrid-{beginning}")]


def check(level_id, steps, seed=0, worlds=16):
    comparison = compare_level(level_id, steps, seed, worlds)
    assert comparison.differences == ()
    assert comparison.steps >= steps
    return comparison


def test_forty_thousand_steps_in_one_room_equal_minigrids():
    results = [check(level_id, 40_000 // len(ONE_ROOM) + 1) for level_id in ONE_ROOM]
    assert len(ONE_ROOM) == 30
    assert sum(result.steps for result in results) >= 40_000
    assert all(result.successes >= 8 for result in results)
    assert sum(result.successes for result in results) >= 1200


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_equals_minigrid_also_where_missions_succeed(family):
    results = [check(level_id, steps, seed=1) for level_id, steps in FAMILIES[family].items()]
    assert sum(result.successes for result in results) >= 300


@pytest.mark.parametrize("family", MINIGRID_FAMILIES)
def test_every_level_of_minigrids_own_succeeds_and_equals_it(family):
    steps, *beginnings = MINIGRID_FAMILIES[family]
    results = [check(level_id, steps, seed=1, worlds=8) for level_id in levels_of(beginnings)]
    assert [result.level for result in results if result.successes == 0] == []
    assert sum(result.successes for result in results) >= 50  # 300 in the six families together


def test_the_families_hold_every_level_of_minigrids_own_that_has_a_reward():
    levels = [level_id for _, *beginnings in MINIGRID_FAMILIES.values() for level_id in levels_of(beginnings)]
    assert sorted([*levels, "MiniGrid-Playground-v0"]) == sorted(supported("MiniGrid-"))
    assert check("MiniGrid-Playground-v0", 300).successes == 0


def test_every_other_babyai_level_equals_minigrid_for_a_while():
    rest = set(supported("BabyAI-")) - set(ONE_ROOM) - {level for family in FAMILIES.values() for level in family}
    for level_id in sorted(rest):
        check(level_id, 160, seed=2)


def test_a_comparison_notices_a_wrong_engine(monkeypatch):
    original = simulation.success_reward
    monkeypatch.setattr(simulation, "success_reward", lambda *args: original(*args) * 0.999)
    result = compare_level("BabyAI-GoToObjS4-v0", 500)
    assert result.differences and "reward" in result.differences[0]


def test_comparing_by_prefix_and_in_processes_gives_one_row_a_level():
    rows = compare_minigrid("BabyAI-GoToObjS", steps=64, worlds=2, workers=2)
    assert [row.level for row in rows] == ["BabyAI-GoToObjS4-v0", "BabyAI-GoToObjS6-v1"]
    assert all(row.steps == 32 and not row.differences for row in rows)
    with pytest.raises(UserError, match="unknown level 'BabyAI-Nothing'"):
        compare_minigrid("BabyAI-Nothing")
    with pytest.raises(UserError, match="nothing to compare"):
        compare_minigrid("BabyAI-GoToObj-v0", steps=0)


@pytest.mark.parametrize(
    "level_id", ["MiniGrid-LockedRoom-v0", "MiniGrid-ObstructedMaze-Full-v1", "BabyAI-KeyInBox-v0"]
)
def test_the_oracle_solves_what_needs_hidden_keys_and_far_rooms(level_id):
    env = make_minigrid(level_id)
    for seed in range(3):
        env.reset(seed=seed)
        oracle, action, reward, ended = Oracle(env), None, 0.0, False
        while not ended:
            action = oracle.plan(action)
            _, reward, terminated, truncated, _ = env.step(action)
            ended = terminated or truncated
        assert reward > 0.5


def test_the_oracle_does_not_empty_its_hands_for_ever_where_every_free_cell_is_behind_something():
    env = make_minigrid("BabyAI-SynthS5R2-v0")
    env.reset(seed=561601)
    oracle, last = Oracle(env), None
    for action in (2, 1, 2, 2, 1, 3, 1, 4, 0, 2, 3):
        oracle.plan(last)
        env.step(action)
        last = action
    assert oracle.plan(last) in (None, *range(7))  # it used to run out of stack here


@pytest.mark.parametrize("level_id", ["BabyAI-GoToLocal-v0", "BabyAI-UnlockPickup-v0", "MiniGrid-DoorKey-5x5-v0"])
def test_the_bot_solves_our_worlds(level_id):
    bank = LevelBank.generate(level_id, range(5), cache=False)
    for level in range(5):
        worlds = GridWorlds(bank, 1, autoreset=False)
        worlds.reset(torch.tensor([level]))
        bot, action, success, ended = Bot(worlds, 0), None, False, False
        while not ended:
            action = bot.act(action)
            step = worlds.step(torch.tensor([action]))
            success, ended = bool(step.success), bool(step.terminated | step.truncated)
        assert success


def test_a_bot_goes_on_from_the_middle_of_an_episode():
    bank = LevelBank.generate("BabyAI-GoToLocal-v0", range(1), cache=False)
    worlds = GridWorlds(bank, 1, autoreset=False)
    worlds.reset()
    for action in (1, 1, 2):
        worlds.step(torch.tensor([action]))
    bot, action, success = Bot(worlds, 0), None, False
    while not success:
        action = bot.act(action)
        success = bool(worlds.step(torch.tensor([action])).success)
