"""The VectorEnv adapter keeps gymnasium's contract."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import DictInfoToList

from metarim_lite.envs import GridWorlds, LevelBank
from metarim_lite.envs.gymnasium import VectorWorlds
from metarim_lite.errors import UserError


@pytest.fixture(scope="module")
def bank():
    return LevelBank.generate("MiniGrid-LavaGapS5-v0", range(20), cache=False)


def actions(steps, num_envs=6):
    return np.random.default_rng(0).integers(0, 7, (steps, num_envs))


def same(a, b, where=slice(None)):
    return all(np.array_equal(a[name][where], b[name][where]) for name in ("image", "direction", "mission"))


def test_observations_and_actions_belong_to_the_declared_spaces(bank):
    envs = VectorWorlds(bank, 6)
    observation, info = envs.reset(seed=1)
    assert observation in envs.observation_space and info == {}
    assert envs.single_action_space.n == 7 and envs.num_envs == 6
    observation, reward, terminated, truncated, _ = envs.step(envs.action_space.sample())
    assert observation in envs.observation_space
    assert (reward.dtype, terminated.dtype, truncated.dtype) == (np.float64, bool, bool)
    assert {name: space.shape for name, space in envs.single_observation_space.items()} == {
        "image": (7, 7, 3),
        "direction": (),
        "mission": (72,),
    }
    assert envs.render()[0].shape == (5 * 32, 5 * 32, 3)
    envs.close()


def test_same_step_returns_the_next_episode_and_keeps_the_last_observation(bank):
    envs, worlds = VectorWorlds(bank, 6, seed=2), GridWorlds(bank, 6, seed=2)
    assert envs.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    observation, _ = envs.reset()
    worlds.reset()
    ends = 0
    for a in actions(60):
        final = worlds.fork()
        final.autoreset = False
        last = final.step(torch.from_numpy(a)).observation
        expected = worlds.step(torch.from_numpy(a))
        observation, reward, terminated, truncated, info = envs.step(a)
        assert same(observation, {k: v.numpy() for k, v in expected.observation._asdict().items()})
        assert np.array_equal(reward, expected.reward.numpy())
        assert np.array_equal(terminated, expected.terminated.numpy())
        over = terminated | truncated
        assert np.array_equal(info.get("_final_obs", np.zeros(6, bool)), over)
        assert np.array_equal(info["success"], expected.success.numpy()) and info["_success"].all()
        for b in over.nonzero()[0]:
            ends += 1
            assert np.array_equal(info["final_obs"][b]["image"], last.image[b].numpy())
    assert ends > 5


def test_next_step_returns_the_last_observation_and_then_ignores_one_action(bank):
    envs = VectorWorlds(bank, 6, seed=2, autoreset_mode="NextStep")
    envs.reset()
    over, ends = np.zeros(6, bool), 0
    for a in actions(80):
        before = envs.worlds.fork()
        observation, reward, terminated, truncated, _ = envs.step(a)
        if over.any():
            ends += int(over.sum())
            fresh = GridWorlds(bank, 6).reset(envs.worlds.levels)
            assert same(observation, {k: v.numpy() for k, v in fresh._asdict().items()}, over)
            assert not reward[over].any() and not terminated[over].any() and not truncated[over].any()
        if not over.all():
            before._memory.finished.fill_(False)
            expected = before.step(torch.from_numpy(a))
            assert same(observation, {k: v.numpy() for k, v in expected.observation._asdict().items()}, ~over)
            assert np.array_equal(terminated[~over], expected.terminated.numpy()[~over])
        over = terminated | truncated
    assert ends > 5


def test_without_autoreset_the_caller_resets_under_a_mask(bank):
    envs = VectorWorlds(bank, 6, autoreset_mode="Disabled")
    envs.reset()
    with pytest.raises(UserError, match="finished"):
        for a in actions(200):
            _, _, terminated, truncated, _ = envs.step(a)
    steps = envs.worlds.state.steps.clone()
    envs.reset(options={"reset_mask": envs.worlds.finished.numpy()})
    renewed = envs.worlds.state.steps == 0
    assert renewed.any() and torch.equal(envs.worlds.state.steps[~renewed], steps[~renewed])
    envs.step(np.zeros(6, dtype=int))


def test_levels_may_be_chosen_and_modes_must_exist(bank):
    envs = VectorWorlds(bank, 2)
    envs.reset(options={"levels": np.array([3, 5])})
    assert envs.worlds.levels.tolist() == [3, 5]
    with pytest.raises(UserError, match="unknown autoreset mode 'Later'"):
        VectorWorlds(bank, 2, autoreset_mode="Later")


class OneWorld(gymnasium.Env):
    """World b of many as an environment of its own, for gymnasium's own vectors."""

    def __init__(self, bank, b, seed):
        self.worlds = GridWorlds(bank, 1, seed=seed, first=b, autoreset=False)
        one = VectorWorlds(bank, 1)
        self.observation_space, self.action_space = one.single_observation_space, one.single_action_space

    def seen(self, observation):
        return {name: value[0].numpy() for name, value in observation._asdict().items()}

    def reset(self, *, seed=None, options=None):
        return self.seen(self.worlds.reset()), {}

    def step(self, action):
        step = self.worlds.step(torch.tensor([int(action)]))
        told = {"success": bool(step.success)}
        return self.seen(step.observation), float(step.reward), bool(step.terminated), bool(step.truncated), told


def alike(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(alike(a[key], b[key]) for key in a)
    if a.dtype == object:
        return all(x is y is None or alike(x, y) for x, y in zip(a, b, strict=True))
    return np.array_equal(a, b)


@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_every_answer_is_that_of_gymnasiums_own_vector(mode):
    """SyncVectorEnv over the same worlds, each an environment: observations, rewards, ends, and what is told of
    episodes that ended. The one difference: of a world that has just begun, gymnasium tells no success, we tell it."""
    bank, B = LevelBank.generate("BabyAI-GoToObjS4-v0", range(20), cache=False), 6
    theirs = SyncVectorEnv([lambda b=b: OneWorld(bank, b, seed=4) for b in range(B)], autoreset_mode=mode)
    ours = VectorWorlds(bank, B, seed=4, autoreset_mode=mode)
    assert alike(ours.reset()[0], theirs.reset()[0])
    successes, finals = 0, 0
    for a in actions(150):
        *mine, told = ours.step(a)
        *other, info = theirs.step(a)
        assert all(alike(x, y) for x, y in zip(mine, other, strict=True))
        for name in ("final_obs", "_final_obs", "final_info", "_final_info"):
            assert (name in told) == (name in info)
            assert name not in info or alike(told[name], info[name]), name
        known = info.get("_success", np.zeros(B, bool))
        assert np.array_equal(told["success"][known], info.get("success", known)[known])
        finals += name in info
        successes += int(told["success"].sum())
    assert successes > 20 and (finals > 20) == (mode == "SameStep")


def test_infos_are_those_that_gymnasiums_wrappers_read(bank):
    envs = DictInfoToList(VectorWorlds(bank, 6))
    envs.reset()
    told = [info for a in actions(60) for info in envs.step(a)[-1]]
    assert all("success" in info for info in told) and sum("final_info" in info for info in told) > 5


@pytest.mark.parametrize("wrong", [np.full(6, 0.5), np.ones(6), [True] * 6, torch.full((6,), 1.0)], ids=str)
def test_actions_that_are_no_whole_numbers_are_refused_in_a_sentence(bank, wrong):
    envs = VectorWorlds(bank, 6)
    envs.reset()
    before = envs.worlds.state_dict()
    with pytest.raises(UserError, match="actions must be whole numbers, got (torch.)?(float|bool)"):
        envs.step(wrong)
    assert all(torch.equal(before[name], value) for name, value in envs.worlds.state_dict().items())


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.int64, list])
def test_whole_numbers_of_every_kind_are_actions(bank, kind):
    envs, other = VectorWorlds(bank, 6), VectorWorlds(bank, 6)
    envs.reset(), other.reset()
    for a in actions(5):
        assert same(envs.step(kind(a) if kind is list else a.astype(kind))[0], other.step(a)[0])


@pytest.mark.parametrize("seed", [np.int64(5), np.uint8(5), [5, 1], [np.int32(5)], np.array([5, 6])], ids=str)
def test_seeds_of_every_kind_draw_the_same_levels(bank, seed):
    envs, other = VectorWorlds(bank, 6), VectorWorlds(bank, 6)
    envs.reset(seed=seed), other.reset(seed=5)
    assert torch.equal(envs.worlds.levels, other.worlds.levels)


@pytest.mark.parametrize("seed", [0.5, "a", True, [None], [], np.float32(1)], ids=str)
def test_other_seeds_are_refused_in_a_sentence(bank, seed):
    with pytest.raises(UserError, match="seed must be a whole number"):
        VectorWorlds(bank, 6).reset(seed=seed)
