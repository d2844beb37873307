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
    with pytest.warns(UserWarning, match="failed in 3 of 6 episodes of BabyAI-GoToLocal-v0, "):
        some = demonstrate(bank, cache=False)
    assert len(some.lengths) and not (bank.seeds[some.level] % 2).any()
    with pytest.raises(ml.UserError, match="solves none of"):
        demonstrate(bank.select((bank.seeds % 2).nonzero()[:, 0]), cache=False)


@pytest.mark.parametrize(("failures", "warned"), [(0, None), (1, False), (2, False), (3, True)])
def test_what_the_bot_failed_in_is_said_with_counts(monkeypatch, caplog, recwarn, failures, warned):
    """One line up to a fifth of a level's episodes, a warning beyond; nothing where it solves all."""

    class FailsSometimes(Bot):
        def act(self, last_action=None):
            return None if int(self.worlds.levels[self.b]) < failures else super().act(last_action)

    monkeypatch.setattr(demonstrations, "Bot", FailsSometimes)
    shown = demonstrate(ml.LevelBank.generate(LEVELS[0], range(10), cache=False), cache=False)
    said = [r.message for r in caplog.records], [str(w.message) for w in recwarn]
    counts = f"minigrid's bot failed in {failures} of 10 episodes of {LEVELS[0]}; the other {10 - failures} are the "
    assert len(shown.lengths) == 10 - failures
    if warned is None:
        assert said == ([], [])
    else:
        (line,) = said[warned]
        assert line.startswith(counts + "demonstrations") and not said[not warned]


def test_it_is_said_level_by_level_and_also_of_what_the_cache_knows(monkeypatch, tmp_path):
    """A level whose missions can never succeed, beside one that is easy."""
    monkeypatch.setenv("METARIM_CACHE", str(tmp_path))
    ids = (LEVELS[0], "BabyAI-OpenDoorsOrderN4Debug-v0")
    both = ml.LevelBank.concat([ml.LevelBank.generate(level_id, range(10)) for level_id in ids])
    for _ in range(2):
        with pytest.warns(UserWarning) as said:
            shown = demonstrate(both)
        failed = 10 - int((both.task[shown.level] == 1).sum())
        assert failed > 2 and int((both.task[shown.level] == 0).sum()) == 10
        (warning,) = said
        assert f"failed in {failed} of 10 episodes of {ids[1]}; the other {20 - failed} are" in str(warning.message)


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


def test_the_checksum_tells_other_actions_and_other_lengths(shown):
    again = shown._replace(actions=shown.actions.clone(), lengths=shown.lengths.clone())
    assert again.checksum() == shown.checksum()
    again.actions[-1] = (again.actions[-1] + 1) % 7
    longer = shown._replace(lengths=shown.lengths.roll(1))
    assert len({shown.checksum(), again.checksum(), longer.checksum()}) == 3
