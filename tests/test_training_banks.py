"""Held-out levels: none is a training level under another seed, or the share that is goes with the figure."""

import dataclasses
import json

import pytest
import torch

import metarim_lite as ml
from metarim_lite.envs.storage import fingerprints
from metarim_lite.experiments import ContinualConfig, train_continually
from metarim_lite.experiments.shipped import trained_on
from metarim_lite.experiments.transfer import transfer, transfer_table
from metarim_lite.training import HELD_OUT_SEEDS, banks, held_out_bank

TINY, ROOM, ALIKE = "BabyAI-GoToObjS4-v0", "BabyAI-GoToLocal-v0", "MiniGrid-Empty-5x5-v0"
AGENT = ml.AgentConfig(controller="lstm", lstm_size=8, channels=4, input_size=8)
CONFIG = ml.TrainConfig(
    method="lstm", level=ALIKE, frames=320, num_envs=16, steps=20, train_levels=20, agent=AGENT, device="cpu",
    evaluate_every=320, evaluate_episodes=10, report_every=1, ppo=ml.PPOConfig(minibatches=2),
)  # fmt: skip


def as_shown(bank, i):
    """What minigrid would show and ask in a level, read off one entry at a time."""
    width, height = bank.tables["size"][i].tolist()
    cells = bank.tables["cells"][i, :height, :width] & 0xFFFFFF
    return (tuple(cells.flatten().tolist()), tuple(bank.tables["agent"][i].tolist()), bank.mission_text(i))


def test_levels_have_the_same_fingerprint_exactly_where_they_show_and_ask_the_same():
    bank = ml.LevelBank.generate(TINY, seeds=range(400))
    numbers, shown = bank.fingerprints().tolist(), [as_shown(bank, i) for i in range(400)]
    assert 100 < len(set(shown)) < 300
    assert len(set(zip(numbers, shown, strict=True))) == len(set(numbers)) == len(set(shown))


def test_a_fingerprint_knows_neither_seed_nor_the_other_levels_of_its_bank():
    small, large = ml.LevelBank.generate(TINY, seeds=range(20)), ml.LevelBank.generate("BabyAI-GoTo-v0", seeds=range(3))
    together = ml.LevelBank.concat([large, small])
    assert torch.equal(together.fingerprints(), torch.cat([large.fingerprints(), small.fingerprints()]))
    other = ml.LevelBank(small.tables, small.level_ids, small.task, small.seeds + 1)
    assert torch.equal(other.fingerprints(), small.fingerprints())


def test_every_entry_of_every_table_counts():
    bank = ml.LevelBank.generate("BabyAI-UnlockPickup-v0", seeds=range(1))
    usual = int(bank.fingerprints()[0])
    seen = {usual}
    for name, table in bank.tables.items():
        for place in range(table.numel()):
            changed = table.clone()
            flat = changed.view(-1)
            flat[place] = ~flat[place] if changed.dtype == torch.bool else flat[place] + 1
            seen.add(int(fingerprints(bank.tables | {name: changed})[0]))
    assert len(seen) == 1 + sum(table.numel() for table in bank.tables.values())


def test_held_out_levels_are_the_first_that_training_does_not_have():
    train = ml.LevelBank.generate(TINY, seeds=range(60))
    known = {as_shown(train, i) for i in range(60)}
    ahead = ml.LevelBank.generate(TINY, seeds=range(HELD_OUT_SEEDS, HELD_OUT_SEEDS + 160))
    expected = [int(ahead.seeds[i]) for i in range(160) if as_shown(ahead, i) not in known][:80]
    assert expected[-1] > HELD_OUT_SEEDS + 79
    for trained in (60, train):
        held_out = held_out_bank((TINY,), 80, trained)
        assert held_out.seeds.tolist() == expected and held_out.share_seen == 0


def test_where_no_training_level_comes_again_the_seeds_stay():
    held_out = held_out_bank((ROOM,), 50, 100)
    assert held_out.seeds.tolist() == list(range(HELD_OUT_SEEDS, HELD_OUT_SEEDS + 50)) and held_out.share_seen == 0
    assert held_out_bank((ROOM,), 50).seen is None


def test_where_nearly_all_come_again_they_stay_and_are_counted():
    held_out = held_out_bank((ALIKE, TINY), 20, 30)
    assert len(held_out) == 40 and held_out.task.tolist() == [0] * 20 + [1] * 20
    assert held_out.seeds[:20].tolist() == list(range(HELD_OUT_SEEDS, HELD_OUT_SEEDS + 20))
    assert held_out.seen.tolist() == [True] * 20 + [False] * 20 and held_out.share_seen == 0.5
    assert held_out.select([19, 20]).seen.tolist() == [True, False]


def test_where_too_few_new_ones_are_found_all_stay_as_they_come(monkeypatch):
    """Of the first 15 levels 9 are new, of the first 30 only 13; there are 15 among the first 60."""
    known = ml.LevelBank.generate(TINY, seeds=range(160)).fingerprints()
    ahead = ml.LevelBank.generate(TINY, seeds=range(HELD_OUT_SEEDS, HELD_OUT_SEEDS + 60)).fingerprints()
    assert [int((~torch.isin(ahead[:looked], known)).sum()) >= 15 for looked in (15, 30, 60)] == [False, False, True]
    many = held_out_bank((TINY,), 15, 160)
    assert len(many) == 15 and many.share_seen == 0 and int(many.seeds.max()) >= HELD_OUT_SEEDS + 30
    for look in (1, 2):
        monkeypatch.setattr(banks, "LOOK", look)
        few = held_out_bank((TINY,), 15, 160)
        assert few.seeds.tolist() == list(range(HELD_OUT_SEEDS, HELD_OUT_SEEDS + 15))
        assert few.seen.tolist() == torch.isin(ahead[:15], known).tolist() and few.share_seen == 0.4


def test_training_seeds_that_reach_into_the_held_out_ones_are_refused():
    with pytest.raises(ml.UserError, match="train_levels is 1000001; seeds from 1,000,000 on are held out"):
        dataclasses.replace(CONFIG, train_levels=1_000_001)
    dataclasses.replace(CONFIG, train_levels=1_000_000)


def test_an_evaluation_says_which_share_of_its_levels_was_seen():
    held_out = held_out_bank((ALIKE, TINY), 20, 30)
    agent = ml.UniformAgent()
    result = ml.evaluate(agent, held_out, 25)
    assert result.seen == 0.8 and str(result).endswith(
        "25 episodes, 80.0% of them in levels identical to training levels"
    )
    new = ml.evaluate(agent, held_out_bank((TINY,), 10, 30), 10)
    assert new.seen == 0 and str(new).endswith("10 episodes")
    assert ml.evaluate(agent, held_out_bank((TINY,), 10), 10).seen is None


def test_runs_print_and_keep_the_share(tmp_path):
    run = ml.train(CONFIG, folder=tmp_path / "run", progress=False)
    assert run.metrics[-1]["held_out_seen"] == 1
    assert repr(run).endswith(", 100.0% of the held-out levels identical to training levels)")
    assert trained_on(tmp_path / "run") == {ALIKE: 20}

    base = dataclasses.replace(CONFIG, evaluate_every=0)
    config = ContinualConfig(base=base, tasks=(TINY, ALIKE), frames=320)
    tasks = train_continually(config, tmp_path / "tasks", progress=False)
    assert json.loads((tmp_path / "tasks" / "matrix.json").read_text())["seen"] == [0, 1]
    assert tasks.seen == (0, 1)
    assert tasks.table().endswith(f"\n\n{ALIKE}: 100.0% of the held-out levels are identical to training levels")

    rows = transfer(run.agent, (ALIKE, TINY), 10, train_levels=trained_on(tmp_path / "run"))
    first, second = transfer_table(rows).splitlines()[2:]
    assert (
        first.startswith(f"| {ALIKE} (100.0% of them in levels identical to training levels) |")
        and "identical" not in second
    )


def test_shipped_agents_say_what_they_were_trained_on():
    assert trained_on("lstm-gotolocal") == {ROOM: 10_000}


def test_levels_with_held_out_seeds_that_were_trained_on_are_not_held_out(monkeypatch):
    from metarim_lite.training import trainer

    played, real = [], trainer.evaluate
    monkeypatch.setattr(trainer, "evaluate", lambda agent, bank, n: played.append(bank) or real(agent, bank, n))
    own = ml.LevelBank.generate(TINY, seeds=range(HELD_OUT_SEEDS, HELD_OUT_SEEDS + 5))
    run = ml.train(dataclasses.replace(CONFIG, level=TINY), bank=own, progress=False)
    assert not set(own.seeds.tolist()) & set(played[0].seeds.tolist()) and "held_out_seen" not in run.metrics[-1]
