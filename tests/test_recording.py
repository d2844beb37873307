"""Steps of worlds as one graph: the same results, the same state. A tape stands for the graph on a CPU."""

import pytest
import torch
from tape import capture

from metarim_lite import recording
from metarim_lite.envs import GridWorlds, LevelBank, cells
from metarim_lite.errors import UserError

MIXED = ("BabyAI-GoToLocal-v0", "BabyAI-MiniBossLevel-v0", "BabyAI-PutNextS5N2Carrying-v0", "MiniGrid-LavaGapS5-v0")
B = 16


@pytest.fixture(scope="module")
def bank():
    return LevelBank.concat([LevelBank.generate(level_id, range(12), cache=False) for level_id in MIXED])


@pytest.fixture
def taped(monkeypatch):
    monkeypatch.setattr(recording, "capture", capture)


def worlds_of(bank, **settings):
    """Worlds that work as on a GPU: nobody looks at values."""
    worlds = GridWorlds(bank, B, seed=1, **settings)
    worlds._may_look = False
    return worlds


def random_actions(steps, seed=0):
    return torch.randint(0, 7, (steps, B), generator=torch.Generator().manual_seed(seed))


def flat(step):
    return [*step[1:], *step.observation]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(flat(a), flat(b), strict=True))


def same_state(a, b):
    mine, other = a.state_dict(), b.state_dict()
    return all(torch.equal(mine[name], other[name]) for name in mine)


@pytest.mark.parametrize("settings", [{}, {"visits": 3}, {"autoreset": False}], ids=str)
def test_recorded_steps_equal_plain_ones_and_both_may_be_mixed(bank, taped, settings):
    worlds, plain = worlds_of(bank, **settings), worlds_of(bank, **settings)
    worlds.reset(), plain.reset()
    recorded = worlds.record()
    assert same_state(worlds, plain), "recording leaves the worlds as they were"
    ends, saved = 0, plain.state_dict()
    for t, actions in enumerate(random_actions(150)):
        step = worlds.step(actions) if t % 5 == 3 else recorded.step(actions)
        expected = plain.step(actions)
        assert same(step, expected) and same_state(worlds, plain), t
        ends += int((expected.terminated | expected.truncated).sum())
        if t % 60 == 50:
            assert torch.equal(worlds.reset().image, plain.reset().image)
        if t == 90:
            worlds.edit(2, 1, 1, "ball", "red"), plain.edit(2, 1, 1, "ball", "red")
        if t == 110:
            worlds.load_state_dict(saved), plain.load_state_dict(saved)
    assert ends > 15


def test_worlds_may_be_recorded_before_their_first_reset(bank, taped):
    worlds, plain = worlds_of(bank), worlds_of(bank)
    recorded = worlds.record()
    with pytest.raises(UserError, match="never reset"):
        recorded.step(random_actions(1)[0])
    assert torch.equal(worlds.reset().image, plain.reset().image)
    assert same(recorded.step(random_actions(1)[0]), plain.step(random_actions(1)[0]))


def test_what_a_recorded_step_gives_holds_until_the_next(bank, taped):
    """As documented: the same tensors each time. Two recordings, and a fork, have their own."""
    worlds = worlds_of(bank)
    worlds.reset()
    recorded, other, fork = worlds.record(), worlds.record(), worlds.fork()
    first, second = (recorded.step(a) for a in random_actions(2))
    assert all(x is y for x, y in zip(flat(first), flat(second), strict=True))
    kept = [x.clone() for x in flat(second)]
    before = fork.state_dict()
    other.step(random_actions(1)[0])
    assert all(torch.equal(x, y) for x, y in zip(kept, flat(second), strict=True))
    assert all(torch.equal(before[name], value) for name, value in fork.state_dict().items())


def test_wrong_actions_are_refused_as_plain_steps_refuse_them(bank, taped):
    worlds = worlds_of(bank)
    worlds.reset()
    recorded = worlds.record()
    for wrong in (torch.zeros(1, dtype=torch.int64), torch.zeros(B), [0] * B):
        with pytest.raises(UserError, match="actions must be an int64 tensor"):
            recorded.step(wrong)


def test_where_nothing_can_be_recorded_steps_are_plain_and_one_line_says_so(bank, caplog):
    worlds, plain = GridWorlds(bank, B), GridWorlds(bank, B)
    worlds.reset(), plain.reset()
    recorded = worlds.record()
    assert [r.message for r in caplog.records] == [
        "steps of worlds: not recorded: graphs are CUDA's, and this device is 'cpu'"
    ]
    kept = []
    for actions in random_actions(60):
        kept.append((recorded.step(actions), plain.step(actions)))
    assert all(same(*pair) for pair in kept)
    with pytest.raises(UserError, match="action 7 is out of range"):
        recorded.step(torch.full((B,), 7))


def test_a_thing_that_no_level_had_acts_in_recorded_worlds_too(bank, taped):
    """In worlds without doors: the recorded step knows nothing of them."""
    plain_bank = bank.select((bank.task == 0).nonzero()[:, 0])
    worlds, plain = worlds_of(plain_bank), worlds_of(plain_bank)
    worlds.reset(), plain.reset()
    recorded = worlds.record()
    for b in range(B):
        x, y, direction = worlds.agent_place(b)
        dx, dy = cells.DIRECTIONS[direction]
        worlds.edit(b, x + dx, y + dy, "door", state=1), plain.edit(b, x + dx, y + dy, "door", state=1)
    for action in (5, 2):
        assert same(recorded.step(torch.full((B,), action)), plain.step(torch.full((B,), action)))
        assert same_state(worlds, plain)
    assert (plain.cells(0)[plain.agent_place(0)[:2]] == torch.tensor([4, 0, 0])).all(), "through the open door"


def test_work_that_waits_cannot_be_recorded(taped, caplog):
    """Worlds that look (as they do on a CPU) are refused by the tape as by a graph; and the work goes on plainly."""
    x = torch.ones(2)
    assert recording.record("waiting", lambda: x * float(x.sum()), x.device)().tolist() == [2, 2]
    assert caplog.records[0].message.startswith("waiting: not recorded: aten._local_scalar_dense.default makes")


def test_dice_go_on_from_replay_to_replay(taped):
    mine, other = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    thrown = recording.record("dice", lambda: torch.rand(3, generator=mine), torch.device("cpu"), [mine])
    mine.manual_seed(0)
    for _ in range(3):
        assert torch.equal(thrown(), torch.rand(3, generator=other))
