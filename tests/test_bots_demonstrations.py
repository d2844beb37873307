"""Demonstrations: what minigrid's bot did, proved in minigrid itself."""

import numpy as np
import pytest
import torch

import metarim_lite as ml
from metarim_lite.bots import demonstrate, demonstrations
from metarim_lite.bots.bot import Bot
from metarim_lite.envs import decode_mission, make_minigrid

LEVELS = ("BabyAI-GoToLocal-v0", "BabyAI-OpenDoor-v0", "BabyAI-GoToSeqS5R2-v0")


@pytest.fixture(scope="module")
def bank():
    return ml.LevelBank.concat([ml.LevelBank.generate(level, range(6)) for level in LEVELS])


@pytest.fixture(scope="module")
def shown(bank):
    return demonstrate(bank)


def test_replayed_in_minigrid_itself_every_demonstration_ends_in_success(bank, shown):
    for begin, length, level, promised in zip(shown.begins, shown.lengths, shown.level, shown.reward, strict=True):
        env = make_minigrid(bank.level_ids[int(bank.task[level])])
        seen, _ = env.reset(seed=int(bank.seeds[level]))
        for t in range(int(begin), int(begin + length)):
            assert np.array_equal(seen["image"], shown.image[t].numpy())
            assert seen["direction"] == int(shown.direction[t])
            seen, reward, terminated, truncated, _ = env.step(int(shown.actions[t]))
            assert (terminated or truncated) == (t == begin + length - 1)
        assert terminated and reward > 0
        assert float(promised) == pytest.approx(reward, abs=1e-6)


def test_demonstrations_lie_one_after_the_other_with_their_missions(bank, shown):
    assert int(shown.lengths.sum()) == len(shown.actions) == len(shown.image) == len(shown.direction)
    assert shown.image.dtype == shown.actions.dtype == shown.mission.dtype == torch.uint8
    assert torch.equal(shown.resets.nonzero()[:, 0], shown.begins)
    for episode, level in enumerate(shown.level.tolist()):
        assert decode_mission(shown.mission[episode]) == bank.mission_text(level)


def test_only_successes_are_kept(monkeypatch, bank):
    class GivesUp(Bot):
        def act(self, last_action=None):
            seed = int(self.worlds.bank.seeds[int(self.worlds.state.level[self.b])])
            return None if seed % 2 else super().act(last_action)

    monkeypatch.setattr(demonstrations, "Bot", GivesUp)
    some = demonstrate(bank, cache=False)
    assert len(some.lengths) and not (bank.seeds[some.level] % 2).any()
    with pytest.raises(ml.UserError, match="solves none of"):
        demonstrate(bank.select((bank.seeds % 2).nonzero()[:, 0]), cache=False)


def test_an_episode_cut_off_by_its_step_limit_is_no_demonstration(monkeypatch, bank):
    class Turns(Bot):
        def act(self, last_action=None):
            return 0

    monkeypatch.setattr(demonstrations, "Bot", Turns)
    with pytest.raises(ml.UserError, match="solves none of"):
        demonstrate(bank.select([0, 1]), cache=False)


def test_the_bot_plays_a_level_once_and_is_cached(monkeypatch, tmp_path, bank):
    monkeypatch.setenv("METARIM_CACHE", str(tmp_path))
    asked, original = [], demonstrations.play_bots
    monkeypatch.setattr(demonstrations, "play_bots", lambda i, seeds: (asked.append((i, seeds)), original(i, seeds))[1])
    first = demonstrate(bank.select([0, 1]))
    more = demonstrate(bank.select([2, 1, 0]))
    assert asked == [(LEVELS[0], [0, 1]), (LEVELS[0], [2])]
    assert torch.equal(more.actions[-len(first.actions) :].sort()[0], first.actions.sort()[0])
    (cached,) = (tmp_path / "demonstrations").rglob("*.v*")
    cached.write_bytes(cached.read_bytes()[:-9])
    again = demonstrate(bank.select([2, 1, 0]))
    assert asked[-1] == (LEVELS[0], [0, 1, 2])
    assert all(torch.equal(a, b) for a, b in zip(more, again, strict=True))


def test_actions_that_do_not_succeed_are_refused(bank, shown):
    taken = shown.actions[: int(shown.lengths[0])].numpy()
    spoilt = [np.append(taken, taken[-1]), np.zeros(3, dtype=np.uint8), taken[:-1]]
    for actions in spoilt:
        with pytest.raises(ml.UserError, match="seed 0 .* does not end in success"):
            demonstrations.play_again(bank, [0], [actions])


def test_a_demonstration_does_not_depend_on_its_neighbours():
    """So levels may be shared out to processes in any way."""
    together = demonstrations.play_bots(LEVELS[0], [0, 1, 2, 3])
    apart = [*demonstrations.play_bots(LEVELS[0], [0]), *demonstrations.play_bots(LEVELS[0], [1, 2, 3])]
    assert all(np.array_equal(a, b) for a, b in zip(together, apart, strict=True))
