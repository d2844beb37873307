"""What worlds promise, whatever they hold: independence, determinism, no aliasing, one sentence for bad input."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metarim_lite.envs import GridWorlds, LevelBank
from metarim_lite.errors import UserError

MIXED = ("BabyAI-GoToLocal-v0", "BabyAI-MiniBossLevel-v0", "BabyAI-PutNextS5N2Carrying-v0", "MiniGrid-LavaGapS5-v0")


@pytest.fixture(scope="module")
def bank():
    return LevelBank.concat([LevelBank.generate(level_id, range(12), cache=False) for level_id in MIXED])


def play(worlds, actions):
    """Every tensor that a run of actions [T, B] gives."""
    steps = [worlds.step(a) for a in actions]
    return [torch.stack([getattr(s, f) for s in steps]) for f in ("reward", "terminated", "truncated", "success")] + [
        torch.stack([getattr(s.observation, f) for s in steps]) for f in ("image", "direction", "mission")
    ]


def random_actions(steps, num_envs, seed=0):
    return torch.randint(0, 7, (steps, num_envs), generator=torch.Generator().manual_seed(seed))


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_shapes_and_dtypes_are_the_documented_ones(bank):
    worlds = GridWorlds(bank, 5)
    observation = worlds.reset()
    step = worlds.step(torch.zeros(5, dtype=torch.int64))
    for o in (observation, step.observation):
        assert o.image.shape == (5, 7, 7, 3) and o.image.dtype == torch.uint8 and o.image.is_contiguous()
        assert o.direction.shape == (5,) and o.direction.dtype == torch.int64
        assert o.mission.shape == (5, 72) and o.mission.dtype == torch.int64
    assert step.reward.dtype == torch.float32
    assert {step.terminated.dtype, step.truncated.dtype, step.success.dtype} == {torch.bool}


def test_the_same_seed_gives_the_same_run_and_another_seed_another(bank):
    actions = random_actions(60, 16)
    runs = []
    for seed in (3, 3, 4):
        worlds = GridWorlds(bank, 16, seed=seed)
        worlds.reset()
        runs.append(play(worlds, actions))
    assert equal(runs[0], runs[1]) and not equal(runs[0], runs[2])


@settings(max_examples=10)
@given(st.integers(1, 9), st.integers(0, 2**62))
def test_a_world_does_not_depend_on_how_many_others_there_are(bank, num_envs, seed):
    few, many = GridWorlds(bank, num_envs, seed=seed), GridWorlds(bank, 12, seed=seed)
    assert torch.equal(few.reset().image, many.reset().image[:num_envs])
    actions = random_actions(40, 12)
    ours, theirs = play(few, actions[:, :num_envs]), play(many, actions)
    assert equal(ours, [t[:, :num_envs] for t in theirs])


def test_an_observation_is_never_changed_by_a_later_step(bank):
    worlds = GridWorlds(bank, 16)
    kept = [worlds.reset()]
    copies = [tuple(t.clone() for t in kept[0])]
    for a in random_actions(80, 16):
        step = worlds.step(a)
        kept.append(step.observation)
        copies.append(tuple(t.clone() for t in step.observation))
    assert all(equal(o, c) for o, c in zip(kept, copies, strict=True))


def test_a_fork_gives_the_same_answers_and_leaves_the_original_alone(bank):
    worlds = GridWorlds(bank, 8)
    worlds.reset()
    play(worlds, random_actions(20, 8))
    fork = worlds.fork()
    before = worlds.state_dict()
    ahead = play(fork, random_actions(50, 8, seed=1))
    assert equal(before.values(), worlds.state_dict().values())
    assert equal(play(worlds, random_actions(50, 8, seed=1)), ahead)


def test_a_saved_state_continues_bit_for_bit(bank):
    worlds = GridWorlds(bank, 8)
    worlds.reset()
    play(worlds, random_actions(20, 8))
    saved = worlds.state_dict()
    expected = play(worlds, random_actions(50, 8, seed=1))
    again = GridWorlds(bank, 8)
    again.load_state_dict(saved)
    assert equal(play(again, random_actions(50, 8, seed=1)), expected)
    with pytest.raises(UserError, match="another bank or num_envs"):
        GridWorlds(bank, 9).load_state_dict(saved)
    del saved["episode"]
    with pytest.raises(UserError, match="lacks the field 'episode'"):
        worlds.load_state_dict(saved)


def test_given_levels_are_played_first_and_drawn_ones_after(bank):
    worlds = GridWorlds(bank, 4)
    wanted = torch.tensor([7, 0, 7, 40])
    worlds.reset(wanted)
    assert torch.equal(worlds.levels, wanted)
    assert torch.equal(worlds.task, bank.task[wanted])
    worlds.reset()
    first = worlds.levels
    worlds.reset()
    assert not torch.equal(first, worlds.levels)


def test_levels_are_drawn_evenly(bank):
    worlds = GridWorlds(bank, 2000)
    counts = torch.zeros(len(bank))
    for _ in range(5):
        worlds.reset()
        counts += torch.bincount(worlds.levels, minlength=len(bank))
    expected = counts.sum() / len(bank)
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert 20 < chi_square < 90  # 47 degrees of freedom: 99.98 % lie below 90, and a too even draw is suspect as well


def test_episodes_of_one_world_do_not_repeat_a_cycle(bank):
    worlds = GridWorlds(bank, 1)
    drawn = [int(worlds.reset().mission.sum()) * 1000 + int(worlds.levels[0]) for _ in range(400)]
    assert len(set(drawn)) > 40


def test_autoreset_hands_out_the_first_observation_of_the_next_episode(bank):
    worlds = GridWorlds(bank, 32)
    worlds.reset()
    ends = 0
    for a in random_actions(60, 32):
        step = worlds.step(a)
        over = step.terminated | step.truncated
        if over.any():
            ends += int(over.sum())
            fresh = GridWorlds(bank, 32)
            expected = fresh.reset(worlds.levels)
            assert torch.equal(step.observation.image[over], expected.image[over])
            assert torch.equal(step.observation.mission[over], expected.mission[over])
            assert (worlds.state.steps[over] == 0).all()
    assert ends > 10


def test_success_is_where_the_reward_is_positive(bank):
    worlds = GridWorlds(bank, 64)
    worlds.reset()
    rewards, terminated, _, success, *_ = play(worlds, random_actions(200, 64))
    assert success.any() and torch.equal(success, rewards > 0) and terminated[success].all()
    assert (terminated & ~success).any()  # lava


def test_a_finished_world_is_not_stepped_without_autoreset():
    bank = LevelBank.generate("MiniGrid-LavaGapS5-v0", range(1), cache=False)
    worlds = GridWorlds(bank, 2, autoreset=False)
    worlds.reset()
    with pytest.raises(UserError, match="world . is finished and autoreset is off"):
        for a in random_actions(400, 2):
            before = worlds.state_dict()
            worlds.step(a)
    assert all(torch.equal(value, before[name]) for name, value in worlds.state_dict().items())
    worlds.reset()
    worlds.step(torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize(
    "actions, sentence",
    [
        (torch.zeros(3, dtype=torch.int32), r"int64 tensor of shape \(3,\), got torch.int32"),
        (torch.zeros(4, dtype=torch.int64), r"got torch.int64 \(4,\)"),
        (torch.tensor([0, 7, 0]), "action 7 is out of range"),
        (torch.tensor([0, -1, 0]), "action -1 is out of range"),
        ([0, 0, 0], r"got \[0, 0, 0\]"),
        (torch.zeros(3, dtype=torch.int64, device="meta"), "actions are on meta, the worlds on cpu"),
    ],
)
def test_wrong_actions_get_a_sentence_and_change_nothing(bank, actions, sentence):
    worlds = GridWorlds(bank, 3)
    worlds.reset()
    before = worlds.state_dict()
    with pytest.raises(UserError, match=sentence):
        worlds.step(actions)
    assert equal(before.values(), worlds.state_dict().values())


def test_other_bad_input_gets_a_sentence(bank):
    worlds = GridWorlds(bank, 3)
    with pytest.raises(UserError, match="never reset"):
        worlds.step(torch.zeros(3, dtype=torch.int64))
    with pytest.raises(UserError, match=r"levels must be an int64 tensor of shape \(3,\)"):
        worlds.reset(torch.zeros(2, dtype=torch.int64))
    with pytest.raises(UserError, match="levels must be in 0..47, got 0..48"):
        worlds.reset(torch.tensor([0, 1, 48]))
    with pytest.raises(UserError, match="num_envs must be a whole number"):
        GridWorlds(bank, 0)
    for num_envs in (True, 4.0, "4", 2**40):
        with pytest.raises(UserError, match="num_envs must be a whole number"):
            GridWorlds(bank, num_envs)
    for seed in ("a", 0.5, 2**63):
        with pytest.raises(UserError, match="seed must be a whole number"):
            GridWorlds(bank, 1, seed=seed)
    with pytest.raises(UserError, match="worlds need a LevelBank, got 'BabyAI-GoToLocal-v0'"):
        GridWorlds("BabyAI-GoToLocal-v0", 1)
    with pytest.raises(UserError, match="world 3 does not exist; worlds are 0..2"):
        worlds.mission_text(3)
    with pytest.raises(UserError, match="device 'nonsense' is not available"):
        GridWorlds(bank, 1, device="nonsense")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="device 'cuda' is not available"):
            GridWorlds(bank, 1, device="cuda")


@pytest.mark.parametrize("kind", [np.int8, np.int32, np.uint16, np.int64, np.uint64])
def test_whole_numbers_of_every_kind_are_taken_where_one_is_asked_for(bank, kind):
    worlds = GridWorlds(bank, kind(3), seed=kind(5), first=kind(2), visits=kind(2))
    expected = GridWorlds(bank, 3, seed=5, first=2, visits=2)
    assert torch.equal(worlds.reset().image, expected.reset().image)
    chosen = np.array([7, 0, 7], dtype=kind)
    assert torch.equal(worlds.reset(chosen).image, expected.reset(torch.tensor([7, 0, 7])).image)
    assert torch.equal(worlds.reset(list(chosen)).image, expected.reset(torch.tensor([7, 0, 7])).image)
    assert bank.select(chosen).seeds.tolist() == bank.select([7, 0, 7]).seeds.tolist()
    seeds = LevelBank.generate(MIXED[0], np.array([3, 0], dtype=kind), cache=False).seeds
    assert seeds.tolist() == LevelBank.generate(MIXED[0], [kind(3), kind(0)], cache=False).seeds.tolist() == [3, 0]


@pytest.mark.parametrize("wrong", [[0.5, 1, 2], np.zeros(3), torch.zeros(3), [True, False, True]], ids=str)
def test_fractions_and_truths_are_no_levels(bank, wrong):
    worlds = GridWorlds(bank, 3)
    with pytest.raises(UserError, match="levels must be whole numbers, got (torch.)?(float|bool)"):
        worlds.reset(wrong)
    with pytest.raises(UserError, match="positions of levels must be whole numbers"):
        bank.select(wrong)


def test_finished_worlds_stay_as_they_are_where_only_the_others_are_stepped(bank):
    worlds, others = GridWorlds(bank, 8, autoreset=False), GridWorlds(bank, 8, autoreset=False)
    worlds.reset(), others.reset()
    held, steps = torch.zeros(8, dtype=torch.bool), 0
    for a in random_actions(150, 8):
        before, step = worlds.state_dict(), worlds.step_unfinished(a)
        assert torch.equal(worlds.state.grid[held], before["grid"][held])
        assert torch.equal(worlds._memory.registers[:, held], before["registers"][:, held])
        assert step.terminated[held].all() and not (step.reward[held].any() or step.success[held].any())
        others.renew(others.finished)
        other = others.step(a)
        assert torch.equal(step.observation.image[~held], other.observation.image[~held])
        steps += int(held.sum())
        held = held | other.terminated | other.truncated
        assert torch.equal(worlds.finished, held)
    assert steps > 50


def test_masked_renewal_gives_the_same_numbers_as_copying_rows(bank, monkeypatch):
    """Devices other than the CPU replace finished worlds under a mask; run that branch here as well."""
    actions = random_actions(120, 32)
    runs = []
    for masked in (False, True):
        worlds = GridWorlds(bank, 32)
        worlds._may_look = not masked
        worlds.reset()
        runs.append(play(worlds, actions))
    assert equal(*runs)


@pytest.mark.parametrize("autoreset", [True, False])
def test_steps_and_observations_never_wait_for_a_value(bank, autoreset):
    """Tensors on the meta device have no values: whatever would read one raises. Shapes and types are a CPU's."""
    worlds, real = GridWorlds(bank, 6, device="meta", autoreset=autoreset), GridWorlds(bank, 6)
    worlds.reset(), real.reset()
    for _ in range(3):
        step = worlds.step(torch.zeros(6, dtype=torch.int64, device="meta"))
    expected = real.step(torch.zeros(6, dtype=torch.int64))
    for mine, other in zip((*step[1:], *step.observation), (*expected[1:], *expected.observation), strict=True):
        assert (mine.shape, mine.dtype, mine.device.type) == (other.shape, other.dtype, "meta")


def test_where_looking_would_mean_waiting_finished_worlds_stay_as_they_are():
    bank = LevelBank.generate("MiniGrid-LavaGapS5-v0", range(4), cache=False)
    worlds, moving = GridWorlds(bank, 8, autoreset=False), GridWorlds(bank, 8, autoreset=False)
    worlds.reset(), moving.reset()
    worlds._may_look = False
    over, held = torch.zeros(8, dtype=torch.bool), 0
    for a in random_actions(150, 8):
        before, step = worlds.state_dict(), worlds.step(a)
        held += int(over.sum())
        assert torch.equal(worlds.state.grid[over], before["grid"][over])
        assert torch.equal(worlds._memory.registers[:, over], before["registers"][:, over])
        assert not step.reward[over].any() and not step.success[over].any() and step.terminated[over].all()
        moving.renew(moving.finished)  # the same actions where nothing is held: worlds not over agree with these
        other = moving.step(a)
        assert equal([step.reward[~over], step.truncated[~over]], [other.reward[~over], other.truncated[~over]])
        over = over | step.terminated | step.truncated
        assert torch.equal(worlds.finished, over)
    assert held > 50 and over.any()


def visited(bank, visits, num_envs=64, episodes=12, seed=3):
    """The levels that worlds play one after the other, [episodes, B], and where a visit begins."""
    worlds = GridWorlds(bank, num_envs, seed=seed, visits=visits)
    worlds.reset()
    levels, begins = [worlds.levels], [worlds.visit_begins]
    for _ in range(episodes - 1):
        worlds.renew(torch.ones(num_envs, dtype=torch.bool))
        levels.append(worlds.levels)
        begins.append(worlds.visit_begins)
    return torch.stack(levels), torch.stack(begins)


def test_a_world_visits_a_task_for_some_episodes_then_another_is_drawn(bank):
    levels, begins = visited(bank, 4)
    task = bank.task[levels]  # (12, 64)
    assert torch.equal(begins, (torch.arange(12) % 4 == 0).unsqueeze(1).expand(12, 64))
    for first in (0, 4, 8):
        assert (task[first : first + 4] == task[first]).all()
        assert (levels[first : first + 4].sort(0).values.diff(dim=0) > 0).any(0).float().mean() > 0.9
    share = (task[::4].flatten().bincount(minlength=4) / 192).tolist()
    assert all(0.12 < s < 0.4 for s in share), share
    assert len(levels.unique()) > 40, "and levels of a task are drawn from all of it"


def test_visits_of_one_episode_draw_the_levels_that_worlds_always_drew(bank):
    """Recorded from the version without visits."""
    levels, begins = visited(bank, 1, num_envs=4, episodes=3)
    assert begins.all() and levels.tolist() == [[23, 12, 28, 2], [44, 41, 35, 38], [6, 41, 15, 7]]
    alone = LevelBank.generate(MIXED[0], range(12), cache=False)
    assert torch.equal(visited(alone, 1)[0], visited(alone, 5)[0]), "of one task there is but one to visit"


def test_visits_go_on_where_they_were_saved_and_are_the_same_under_a_mask(bank):
    worlds, other, masked = (GridWorlds(bank, 16, seed=2, visits=3) for _ in range(3))
    masked._may_look = False
    worlds.reset(), other.reset(), masked.reset()
    play(worlds, random_actions(90, 16))
    other.load_state_dict(worlds.state_dict())
    play(masked, random_actions(90, 16))
    actions = random_actions(120, 16, seed=1)
    assert equal(first := play(worlds, actions), play(other, actions)) and equal(first, play(masked, actions))
    assert torch.equal(worlds.visit_begins, other.visit_begins)


@pytest.mark.parametrize("visits", [0, -1, 1.5])
def test_visits_of_no_episode_are_refused(bank, visits):
    with pytest.raises(UserError, match="visits must be a whole number"):
        GridWorlds(bank, 2, visits=visits)


def test_compiled_steps_give_the_same_numbers(bank):
    eager, compiled = GridWorlds(bank, 16), GridWorlds(bank, 16)
    eager.reset(), compiled.reset()
    if not compiled.compile():
        pytest.skip("torch finds no compiler here")
    actions = random_actions(80, 16)
    assert equal(play(eager, actions), play(compiled, actions))


def test_worlds_step_as_before_where_nothing_can_be_compiled(bank, monkeypatch, caplog):
    worlds = GridWorlds(bank, 2)
    worlds.reset()

    def no_compiler(*args, **kwargs):
        raise RuntimeError("no compiler\nand a long story")

    monkeypatch.setattr(torch, "compile", no_compiler)
    assert not worlds.compile()
    assert [record.message for record in caplog.records] == ["worlds are not compiled: no compiler"]
    worlds.step(torch.zeros(2, dtype=torch.int64))
