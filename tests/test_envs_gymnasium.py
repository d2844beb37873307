"""The VectorEnv adapter keeps gymnasium's contract."""

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

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
            before._finished.fill_(False)
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
