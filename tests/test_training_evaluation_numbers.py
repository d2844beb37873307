"""Evaluation in numbers: what counts of each level's first episode, greedy or drawn, batch by batch."""

import pytest
import torch

import metarim_lite as ml
from metarim_lite.analysis import mean_interval, wilson
from metarim_lite.models import AgentOutput


def step_limit(seed):
    return 5 + 5 * seed % 12


@pytest.fixture(scope="module")
def bank():
    """Empty rooms that end after 5 to 16 steps, or sooner on the goal: some that fail end before others."""
    bank = ml.LevelBank.generate("MiniGrid-Empty-Random-5x5-v0", seeds=range(30))
    limit = step_limit(bank.seeds).to(bank.tables["max_steps"].dtype)
    return ml.LevelBank(bank.tables | {"max_steps": limit}, bank.level_ids, bank.task, bank.seeds)


class Scripted(torch.nn.Module):
    """At step t of an episode does what the script says, likeliest or always; its memory is t. Counts its calls."""

    def __init__(self, script=(2, 1, 2, 2, 1, 2, 0), sure=True):
        super().__init__()
        self.script, self.sure, self.batches = script, sure, []

    def initial_state(self, B):
        self.batches.append(B)
        return torch.zeros(B, dtype=torch.int64)

    def forward(self, observation, state=None, resets=None, **_):
        t = torch.where(resets[0], 0, state)
        logits = torch.zeros(*observation.direction.shape, 7)
        chosen = torch.tensor(self.script)[t % len(self.script)]
        logits[0].scatter_(1, chosen[:, None], 1e9 if self.sure else 0.3)
        return AgentOutput(logits, logits[..., 0], None), t + 1


def play_in_minigrid(level, seed, script):
    """(success, reward, length) of one episode in minigrid itself."""
    from metarim_lite.envs import make_minigrid

    env = make_minigrid(level)
    env.reset(seed=seed)
    env.max_steps = step_limit(seed)
    for t in range(env.max_steps):
        _, reward, terminated, truncated, _ = env.step(script[t % len(script)])
        if terminated or truncated:
            return reward > 0, float(reward), t + 1


@pytest.mark.parametrize(("greedy", "sure"), [(True, False), (False, True)])
@pytest.mark.parametrize("batch", [7, 1000])
def test_success_reward_and_length_are_those_of_first_episodes_in_minigrid(bank, greedy, sure, batch):
    """Short episodes in one batch with long ones, so that the former's worlds go on to others: these do not count."""
    agent = Scripted(sure=sure)
    played = [play_in_minigrid(bank.level_ids[0], s, agent.script) for s in bank.seeds[:25].tolist()]
    success, reward, length = zip(*played, strict=True)
    assert 3 < sum(success) < 22 and len(set(length)) > 3, "nothing is tested"
    assert sum(reward) < 0.99 * sum(success)
    result = ml.evaluate(agent, bank, 25, greedy=greedy, batch=batch)
    assert result.successes.tolist() == list(success) and result.episodes == 25
    assert result.success == wilson(sum(success), 25)
    assert result.reward == pytest.approx(tuple(mean_interval(torch.tensor(reward).numpy())), abs=1e-6)
    assert result.length == pytest.approx(tuple(mean_interval(torch.tensor(length).numpy())), abs=1e-6)
    assert agent.batches == ([7, 7, 7, 4] if batch == 7 else [25])
    assert str(result).endswith(f"{sum(length) / 25:.1f} steps, 25 episodes")


def test_greedy_takes_the_likeliest_action_and_drawing_does_not(bank):
    agent = Scripted(sure=False)
    greedy = [ml.evaluate(agent, bank, 30, greedy=True, seed=s).successes.tolist() for s in range(2)]
    drawn = [ml.evaluate(agent, bank, 30, greedy=False, seed=s).successes.tolist() for s in range(2)]
    assert greedy[0] == greedy[1] == ml.evaluate(Scripted(), bank, 30).successes.tolist()
    assert drawn[0] != drawn[1] and greedy[0] not in drawn


def test_a_level_is_played_the_same_in_whatever_batch_it_comes(bank):
    a, b = (ml.evaluate(Scripted(), bank, 30, batch=batch).successes.tolist() for batch in (1, 30))
    assert a == b and 0 < sum(a) < 30
    few = ml.evaluate(Scripted(), bank, 11, batch=4)
    assert few.successes.tolist() == a[:11] and few.success.value == sum(a[:11]) / 11
