"""Banks of levels: what minigrid made, packed, split, joined, saved and cached."""

import numpy as np
import pytest
import torch
from level_facts import LEVELS, level_table, level_table_markdown, quirks

from metarim_lite import cache as kept
from metarim_lite.bots import demonstrate
from metarim_lite.envs import GridWorlds, LevelBank, encode_mission, make_minigrid, storage, supported
from metarim_lite.envs.generation import registered
from metarim_lite.errors import UserError


def same_tables(a, b):
    return all(torch.equal(a.tables[name], b.tables[name]) for name in a.tables) and torch.equal(a.seeds, b.seeds)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("METARIM_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("level_id", ["BabyAI-GoToLocal-v0", "BabyAI-BossLevel-v0", "MiniGrid-MultiRoom-N4-S5-v0"])
def test_level_s_of_a_bank_is_what_minigrid_makes_with_seed_s(level_id):
    seeds = [3, 0, 11, 7]
    worlds = GridWorlds(LevelBank.generate(level_id, seeds, cache=False), len(seeds))
    worlds.reset(torch.arange(len(seeds)))
    env = make_minigrid(level_id)
    for b, seed in enumerate(seeds):
        env.reset(seed=seed)
        assert np.array_equal(worlds.cells(b).numpy(), env.grid.encode())
        assert worlds.agent_place(b) == (*env.agent_pos, env.agent_dir)
        assert worlds.mission_text(b) == env.mission
        assert int(worlds.state.max_steps[b]) == env.max_steps


def test_all_babyai_ids_are_supported():
    assert len(supported("BabyAI-")) == 96


def test_every_supported_level_can_be_packed():
    banks = [LevelBank.generate(level_id, [0], cache=False) for level_id in supported()]
    bank = LevelBank.concat(banks)
    assert bank.level_ids == supported()
    assert bank.task.tolist() == list(range(len(supported())))


def test_every_unsupported_id_is_refused_by_name_with_a_reason():
    refused = set(registered()) - set(supported())
    assert any("Dynamic-Obstacles" in i for i in refused)
    for level_id in refused:
        with pytest.raises(UserError, match=f"'{level_id}' is not supported: .+"):
            LevelBank.generate(level_id, range(1))


def test_bad_input_gets_a_sentence(monkeypatch):
    with pytest.raises(UserError, match="unknown level 'BabyAI-GoToLocl-v0'; did you mean 'BabyAI-GoToLocal"):
        LevelBank.generate("BabyAI-GoToLocl-v0", range(1))
    for seeds, found in (([1.5], "1.5"), ([True], "True"), ([-1], "-1"), ([2**63], "9223"), (5, "5"), ("ab", "'ab'")):
        with pytest.raises(UserError, match=f"whole numbers?.*{found}"):
            LevelBank.generate("BabyAI-GoToLocal-v0", seeds)
    with pytest.raises(UserError, match="at least one seed"):
        LevelBank.generate("BabyAI-GoToLocal-v0", [])
    with pytest.raises(UserError, match="workers must be at least 1"):
        LevelBank.generate("BabyAI-GoToLocal-v0", range(1), workers=0, cache=False)
    with pytest.raises(UserError, match="got no banks"):
        LevelBank.concat([])
    with pytest.raises(UserError, match="a mission is a text"):
        encode_mission(None)
    assert len(LevelBank.generate("BabyAI-GoToLocal-v0", torch.arange(2), cache=False)) == 2
    monkeypatch.setenv("BABYAI_DONE_ACTIONS", "1")
    with pytest.raises(UserError, match="BABYAI_DONE_ACTIONS is set"):
        LevelBank.generate("BabyAI-GoToLocal-v0", range(1))


def test_seeds_with_which_minigrid_never_ends_are_left_out_with_a_warning():
    """With this seed a room of SynthS5R2 has no cell left that the agent could stand on and look from."""
    with pytest.warns(UserWarning, match="never finishes 'BabyAI-SynthS5R2-v0' with seed 249489: left out"):
        bank = LevelBank.generate("BabyAI-SynthS5R2-v0", [249488, 249489, 249490], cache=False)
    assert bank.seeds.tolist() == [249488, 249490]
    alone = LevelBank.generate("BabyAI-SynthS5R2-v0", [249490], cache=False)
    assert all(torch.equal(bank.tables[name][1:], table) for name, table in alone.tables.items())
    with pytest.warns(UserWarning), pytest.raises(UserError, match="with seeds .249489.; choose others"):
        LevelBank.generate("BabyAI-SynthS5R2-v0", [249489], cache=False)


def test_generating_prints_nothing(capsys):
    LevelBank.generate("BabyAI-UnblockPickup-v0", range(5), cache=False)  # rejects most of what it samples
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == ""


def test_several_processes_make_the_same_bank_as_one():
    one = LevelBank.generate("BabyAI-GoToLocal-v0", range(70), workers=1, cache=False)
    two = LevelBank.generate("BabyAI-GoToLocal-v0", range(70), workers=2, cache=False)
    assert same_tables(one, two)


def test_a_split_is_disjoint_by_seed_and_complete():
    bank = LevelBank.generate("BabyAI-GoToObj-v0", range(10), cache=False)
    other = LevelBank.generate("BabyAI-GoToLocal-v0", range(10), cache=False)
    both = LevelBank.concat([bank, other])
    train, held_out = both.split(0.8)
    assert set(train.seeds.tolist()) == set(range(8)) and set(held_out.seeds.tolist()) == {8, 9}
    assert len(train) == 16 and len(held_out) == 4 and held_out.task.tolist() == [0, 0, 1, 1]
    for fraction in (0.0, 1.0, 0.01, 2):
        with pytest.raises(UserError, match="cannot split 10 seeds"):
            both.split(fraction)


def test_levels_of_different_sizes_play_the_same_alone_and_in_a_mixed_bank():
    ids = ["BabyAI-GoToObjS4-v0", "BabyAI-KeyInBox-v0", "MiniGrid-RedBlueDoors-6x6-v0"]
    banks = [LevelBank.generate(level_id, range(3), cache=False) for level_id in ids]
    mixed = GridWorlds(LevelBank.concat(banks), 9)
    alone = [GridWorlds(bank, 3) for bank in banks]
    observation = mixed.reset(torch.arange(9))
    assert mixed.task.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    parts = [worlds.reset(torch.arange(3)) for worlds in alone]
    generator = torch.Generator().manual_seed(1)
    for _ in range(15):  # shorter than any step limit
        for field in ("image", "direction", "mission"):
            assert torch.equal(getattr(observation, field), torch.cat([getattr(part, field) for part in parts]))
        actions = torch.randint(0, 6, (9,), generator=generator)
        step = mixed.step(actions)
        steps = [worlds.step(actions[3 * k : 3 * k + 3]) for k, worlds in enumerate(alone)]
        for field in ("reward", "terminated", "truncated"):
            assert torch.equal(getattr(step, field), torch.cat([getattr(part, field) for part in steps]))
        if (step.terminated | step.truncated).any():
            return
        observation, parts = step.observation, [part.observation for part in steps]


def test_a_saved_bank_comes_back_equal_and_is_small(tmp_path):
    bank = LevelBank.generate("BabyAI-GoToLocal-v0", range(500), cache=False)
    bank.save(tmp_path / "bank")
    again = LevelBank.load(tmp_path / "bank")
    assert same_tables(bank, again) and again.level_ids == bank.level_ids
    assert (tmp_path / "bank").stat().st_size < 100 * len(bank)


def test_a_damaged_bank_is_refused_with_the_field_that_is_wrong(tmp_path):
    bank = LevelBank.generate("BabyAI-GoToLocal-v0", range(3), cache=False)
    path = tmp_path / "bank"
    bank.save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="not a usable bank"):
        LevelBank.load(path)
    with pytest.raises(UserError, match="cannot read a bank"):
        LevelBank.load(tmp_path / "nothing")
    tables = bank._all_tables()
    tables["mission"] = tables["mission"].long()
    path.write_bytes(storage.to_bytes(tables, bank.level_ids))
    with pytest.raises(UserError, match="table 'mission'"):
        LevelBank.load(path)
    with pytest.raises(UserError, match="cannot write"):
        bank.save(tmp_path / "bank" / "below-a-file")


def test_cached_levels_are_not_generated_again(cache, monkeypatch):
    bank = LevelBank.generate("BabyAI-GoToLocal-v0", range(20))
    monkeypatch.setattr("metarim_lite.envs.levels.generate_many", lambda *_: pytest.fail("generated again"))
    assert same_tables(LevelBank.generate("BabyAI-GoToLocal-v0", range(20)), bank)
    assert same_tables(LevelBank.generate("BabyAI-GoToLocal-v0", [5, 3]), bank.select([5, 3]))


def test_the_cache_grows_by_the_seeds_that_are_missing(cache, monkeypatch):
    LevelBank.generate("BabyAI-GoToLocal-v0", range(5))
    asked = []
    original = LevelBank.generate.__globals__["generate_many"]
    monkeypatch.setattr(
        "metarim_lite.envs.levels.generate_many",
        lambda i, seeds, *rest: asked.extend(seeds) or original(i, seeds, *rest),
    )
    bank = LevelBank.generate("BabyAI-GoToLocal-v0", [1002, 6, 3])
    assert asked == [6, 1002]
    assert same_tables(bank, LevelBank.generate("BabyAI-GoToLocal-v0", [1002, 6, 3], cache=False))


@pytest.mark.parametrize("damage", ["truncated", "text", "foreign level", "old minigrid"])
def test_a_corrupt_or_stale_cache_entry_is_rebuilt(cache, damage, monkeypatch):
    bank = LevelBank.generate("BabyAI-GoToLocal-v0", range(4))
    path = storage.cache_path("BabyAI-GoToLocal-v0", 0)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "text":
        path.write_text("not levels")
    elif damage == "foreign level":
        path.write_bytes(storage.to_bytes(bank._all_tables(), ("BabyAI-GoTo-v0",)))
    else:
        with monkeypatch.context() as patch:
            patch.setattr(storage, "version", lambda _: "3.0.0")
            stale = storage.to_bytes(bank._all_tables(), bank.level_ids)
        path.write_bytes(stale)
    assert same_tables(LevelBank.generate("BabyAI-GoToLocal-v0", range(4)), bank)
    assert storage.read_cache("BabyAI-GoToLocal-v0", 0) is not None


def test_processes_that_write_the_cache_at_once_leave_it_readable(cache):
    from joblib.externals.loky import ProcessPoolExecutor

    with ProcessPoolExecutor(2) as pool:
        list(pool.map(_generate_some, [range(0, 40), range(20, 60), range(0, 40), range(20, 60)]))
    assert storage.read_cache("BabyAI-GoToLocal-v0", 0) is not None
    assert not list(cache.rglob("*.part"))


def _generate_some(seeds):
    return len(LevelBank.generate("BabyAI-GoToLocal-v0", seeds))


def test_a_cache_that_cannot_be_written_costs_a_warning_only(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("METARIM_CACHE", str(tmp_path / "file"))
    kept.warn_once.cache_clear()
    with pytest.warns(UserWarning, match="levels are not cached"):
        assert len(LevelBank.generate("BabyAI-GoToLocal-v0", range(2))) == 2


def test_without_a_home_folder_nothing_is_kept_and_one_warning_says_so(monkeypatch, tmp_path):
    """A user without an entry, as containers have: the folder's name cannot even be asked for."""
    for name in ("METARIM_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda _: {}["no entry"])
    monkeypatch.chdir(tmp_path)
    kept.warn_once.cache_clear()
    with pytest.warns(UserWarning, match="not cached: no home folder is known; name a folder in METARIM_CACHE") as said:
        banks = [LevelBank.generate("BabyAI-GoToLocal-v0", range(n)) for n in (2, 3)]
        demonstrate(banks[0])
    assert [len(bank) for bank in banks] == [2, 3] and len(said) == 1 and not list(tmp_path.iterdir())
    monkeypatch.setenv("METARIM_CACHE", "~/levels")
    assert kept.cache_folder() is None
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kept.cache_folder() == tmp_path / "levels"


def test_the_table_of_levels_says_what_the_levels_are():
    facts = {row.level: row for row in level_table("BabyAI-PutNextS5N2") + level_table("BabyAI-UnlockPickup", seeds=3)}
    carrying = facts["BabyAI-PutNextS5N2Carrying-v0"]
    assert (carrying.size, carrying.rooms, carrying.steps, carrying.kinds) == ("9x5", "2x1", "200", "put next")
    assert "on the floor" in carrying.quirks[0]
    assert facts["BabyAI-UnlockPickup-v0"].steps == "72"
    boss = level_table("BabyAI-MiniBossLevel")[0]
    assert boss.kinds == "go to, open, pick up, put next, in order, and"


def test_the_documented_table_is_the_generated_one():
    assert LEVELS.read_text(encoding="utf-8").endswith(level_table_markdown())


def test_every_documented_quirk_is_of_levels_that_there_are():
    assert len(quirks()) > 12
    for beginnings, _, here in quirks():
        assert all(supported(beginning) for beginning in beginnings) and here


def test_a_split_of_seeds_in_any_order_and_more_than_once_shares_no_seed():
    bank = LevelBank.generate("BabyAI-GoToObj-v0", range(10), cache=False).select(
        [7, 3, 9, 3, 0, 8, 7, 1, 2, 6, 5, 4, 9]
    )
    train, held_out = bank.split(0.5)
    assert set(train.seeds.tolist()) == {0, 1, 2, 3, 4} and set(held_out.seeds.tolist()) == {5, 6, 7, 8, 9}
    assert train.seeds.tolist() == [3, 3, 0, 1, 2, 4] and held_out.seeds.tolist() == [7, 9, 8, 7, 6, 5, 9]
