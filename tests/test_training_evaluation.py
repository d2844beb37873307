"""Evaluation against minigrid itself and against policies whose success is known."""

import numpy as np
import pytest
import torch

import metarim_lite as ml
from metarim_lite.models import AgentOutput


class Fixed(torch.nn.Module):
    """Always the same action."""

    def __init__(self, action):
        super().__init__()
        self.action = action

    def initial_state(self, B):
        return None

    def forward(self, observation, state=None, resets=None, **_):
        logits = torch.full((*observation.direction.shape, 7), -1e9)
        logits[..., self.action] = 0.0
        return AgentOutput(logits, logits[..., 0], None), None


@pytest.mark.parametrize("action", [1, 2, 6])
def test_a_fixed_policy_scores_what_minigrid_gives_it(small_bank, action):
    from metarim_lite.envs import make_minigrid

    env = make_minigrid("BabyAI-GoToObjS6-v1")
    successes, rewards, lengths = [], [], []
    for seed in range(60):
        env.reset(seed=seed)
        done, steps = False, 0
        while not done:
            _, reward, terminated, truncated, _ = env.step(action)
            done, steps = terminated or truncated, steps + 1
        successes.append(reward > 0)
        rewards.append(float(reward))
        lengths.append(steps)
    result = ml.evaluate(Fixed(action), small_bank, episodes=60, batch=25)
    assert result.successes.tolist() == successes
    assert result.reward.value == pytest.approx(np.mean(rewards), abs=1e-6)
    assert result.length.value == pytest.approx(np.mean(lengths))


def test_the_same_seed_gives_the_same_evaluation_and_another_seed_another(small_bank):
    agent = ml.UniformAgent()
    a, b, c = (ml.evaluate(agent, small_bank, episodes=200, seed=s) for s in (1, 1, 2))
    assert (a.successes == b.successes).all() and a.reward == b.reward
    assert (a.successes != c.successes).any()


def test_the_interval_holds_the_value(small_bank):
    result = ml.evaluate(ml.UniformAgent(), small_bank, episodes=200)
    for estimate in (result.success, result.reward, result.length):
        assert estimate.low <= estimate.value <= estimate.high


def test_more_episodes_than_levels_are_refused(small_bank):
    with pytest.raises(ml.UserError, match="201 episodes asked of 200 levels"):
        ml.evaluate(ml.UniformAgent(), small_bank, episodes=201)


def test_short_training_beats_no_training(tmp_path):
    """A room with one object, 60,000 frames: the agent must learn something, or learning is broken."""
    config = ml.TrainConfig(
        method="lstm", level="BabyAI-GoToObjS4-v0", frames=60_000, num_envs=64, steps=20, train_levels=500,
        agent=ml.AgentConfig(lstm_size=32, channels=8, input_size=32),
    )  # fmt: skip
    held_out = ml.LevelBank.generate("BabyAI-GoToObjS4-v0", seeds=range(10_000, 10_300))
    run = ml.train(config, progress=False)
    before = ml.evaluate(ml.UniformAgent(), held_out, episodes=300)
    after = ml.evaluate(run.agent, held_out, episodes=300)
    assert after.reward.low > before.reward.high
