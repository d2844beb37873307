"""A policy written by hand is an agent like any other."""

import torch

import metarim_lite as ml
from metarim_lite.analysis.aliasing import aliased, kinds
from metarim_lite.course.declaring import Dice
from metarim_lite.course.exercises.lesson1 import LEVELS, draw_levels, explore
from metarim_lite.course.hand_written import HandWritten

BANK = ml.LevelBank.generate("BabyAI-GoToLocal-v0", seeds=range(1_000_000, 1_000_020))


def test_a_policy_is_evaluated_as_it_plays_alone_and_its_memory_lasts_an_episode():
    lengths = []

    def counting(image, direction, mission, memory):
        memory["steps"] = memory.get("steps", 0) + 1
        lengths.append(memory["steps"])
        assert mission.startswith("go to ") and image.shape == (7, 7, 3) and direction in range(4)
        return explore(image, direction, mission, memory)

    together = ml.evaluate(HandWritten(counting), BANK, episodes=20)
    assert together.success.value > 0.9 and max(lengths) <= 64
    alone = [ml.Trace.record(HandWritten(explore), BANK, level=n) for n in range(20)]
    assert [trace.success for trace in alone] == together.successes.tolist()
    assert sum(trace.num_steps for trace in alone) / 20 == together.length.value


def test_a_batch_of_another_size_begins_with_empty_memories():
    agent = HandWritten(lambda image, direction, mission, memory: memory.setdefault("first", 2))
    for episodes in (3, 5):
        assert ml.evaluate(agent, BANK, episodes=episodes, batch=2).episodes == episodes


def test_kinds_number_rows_and_aliased_pairs_agree_with_a_slow_loop():
    g = torch.Generator().manual_seed(0)
    views, missions = (
        torch.randint(2, (30, 7, 7, 3), generator=g)[torch.randint(3, (30,), generator=g)],
        torch.zeros(30, 2),
    )
    missions = torch.randint(2, (30, 1), generator=g).expand(30, 2)
    actions = torch.randint(3, (30,), generator=g)
    pairs = aliased(views, missions, actions)
    for a in range(30):
        for b in range(30):
            same = bool((views[a] == views[b]).all() and (missions[a] == missions[b]).all())
            assert bool(pairs[a, b]) == (same and bool(actions[a] != actions[b]))
    numbers = kinds(missions)
    assert ((numbers[:, None] == numbers[None]) == (missions[:, None] == missions[None]).all(-1)).all()


def test_a_policy_is_tried_in_levels_that_are_drawn_anew():
    """A table of answers to a fixed pool of levels would pass otherwise."""
    drawn = [draw_levels(Dice(torch.Generator().manual_seed(seed))) for seed in (0, 1, 1)]
    seeds = [set(bank.seeds.tolist()) for bank in drawn]
    assert [len(s) for s in seeds] == [LEVELS] * 3
    assert not seeds[0] & seeds[1] and seeds[1] == seeds[2] and min(map(min, seeds)) >= 10**7
