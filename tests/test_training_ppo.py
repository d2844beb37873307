"""Advantages and the PPO loss against slow loops written from the equations."""

import math

import pytest
import torch

import metarim_lite as ml
from metarim_lite.envs import Observation
from metarim_lite.models import AgentOutput, ControllerState
from metarim_lite.training.ppo import PPOConfig, Spans, cut_into_spans, gae, minibatch_rows, ppo_loss
from metarim_lite.training.rollouts import Player


def slow_gae(rewards, values, dones, last_value, gamma, lam):
    """A_t = Σ_l (γλ)^l δ_{t+l}, stopped at the end of the episode: the definition, not the recursion."""
    T, B = rewards.shape
    advantages = torch.zeros(T, B, dtype=rewards.dtype)
    for b in range(B):
        for t in range(T):
            for u in range(t, T):
                next_value = last_value[b] if u == T - 1 else values[u + 1, b]
                delta = rewards[u, b] + (0 if dones[u, b] else gamma * next_value) - values[u, b]
                advantages[t, b] += (gamma * lam) ** (u - t) * delta
                if dones[u, b]:
                    break
    return advantages


@pytest.mark.parametrize("gamma, lam", [(0.99, 0.95), (1.0, 1.0), (0.9, 0.0)])
def test_gae_equals_its_definition(gamma, lam):
    g = torch.Generator().manual_seed(1)
    rewards, values = torch.rand(2, 13, 5, generator=g, dtype=torch.float64)
    dones = torch.rand(13, 5, generator=g) < 0.2
    last_value = torch.rand(5, generator=g, dtype=torch.float64)
    got = gae(rewards, values, dones, last_value, gamma, lam)
    assert torch.allclose(got, slow_gae(rewards, values, dones, last_value, gamma, lam), atol=1e-12)


def test_with_lambda_1_advantage_plus_value_is_the_discounted_return():
    rewards = torch.tensor([[0.0], [0.0], [1.0], [0.5]], dtype=torch.float64)
    dones = torch.tensor([[False], [False], [True], [True]])
    values = torch.tensor([[0.3], [0.1], [0.9], [0.2]], dtype=torch.float64)
    returns = gae(rewards, values, dones, torch.tensor([9.0], dtype=torch.float64), 0.9, 1.0) + values
    assert torch.allclose(returns[:, 0], torch.tensor([0.81, 0.9, 1.0, 0.5], dtype=torch.float64))


def play(bank, controller, T=40, span=20, num_envs=16):
    torch.manual_seed(3)
    agent = ml.Agent(ml.AgentConfig(controller=controller, num_modules=4, active=2, hidden_size=8, lstm_size=16))
    with torch.no_grad():
        agent.actor[2].weight.mul_(100)  # a policy with opinions, so that a wrong state would show
    player = Player(ml.GridWorlds(bank, num_envs, seed=5), agent, torch.Generator().manual_seed(7))
    player.collect(agent, T, span)  # so that the recorded rollout starts in the middle of episodes
    return agent, player.collect(agent, T, span)


@pytest.mark.parametrize("controller", ["rim", "lstm"])
@pytest.mark.parametrize("span", [10, 20, 40])
def test_the_ratio_is_1_before_the_first_update(small_bank, controller, span):
    agent, rollout = play(small_bank, controller, span=span)
    assert rollout.dones.any(), "no episode ended inside the rollout: the test would not see the resets"
    spans = cut_into_spans(rollout, span, PPOConfig())
    for rows in torch.arange(spans.resets.shape[1]).chunk(2):
        _, watched = ppo_loss(agent, spans.pick(rows), PPOConfig())
        assert watched["ratio_error"] < 1e-4


def test_the_ratio_test_would_see_a_forgotten_state(small_bank):
    agent, rollout = play(small_bank, "lstm")
    spans = cut_into_spans(rollout, 20, PPOConfig())
    cleared = spans._replace(state=ControllerState(*(torch.zeros_like(x) for x in spans.state)))
    _, watched = ppo_loss(agent, cleared, PPOConfig())
    assert watched["ratio_error"] > 0.05


def test_spans_keep_every_step_in_order(small_bank):
    agent, rollout = play(small_bank, "lstm")
    spans = cut_into_spans(rollout, 20, PPOConfig())
    assert spans.actions.shape == (20, 32)
    assert torch.equal(spans.actions[:, :16], rollout.actions[:20])
    assert torch.equal(spans.actions[:, 16:], rollout.actions[20:])
    assert torch.equal(spans.observation.image[:, 16:], rollout.observation.image[20:])
    assert torch.equal(spans.state.h[16:], rollout.states[1].h)


def test_an_epoch_visits_every_sequence_once(small_bank):
    _, rollout = play(small_bank, "lstm")
    spans = cut_into_spans(rollout, 20, PPOConfig())
    numbered = spans._replace(log_probs=torch.arange(32.0).expand(20, 32))
    rows = minibatch_rows(32, PPOConfig(epochs=1, minibatches=4), torch.Generator().manual_seed(0))
    parts = [numbered.pick(r) for r in rows]
    assert [p.log_probs.shape[1] for p in parts] == [8] * 4
    assert sorted(torch.cat([p.log_probs[0] for p in parts]).tolist()) == list(range(32))


def test_the_loss_equals_the_equation_written_out(small_bank):
    agent, rollout = play(small_bank, "lstm")
    config = PPOConfig(clip=0.1, entropy=0.03, value=0.7)
    spans = cut_into_spans(rollout, 20, config)
    spans = spans._replace(log_probs=spans.log_probs + 0.3 * torch.randn_like(spans.log_probs))  # far from ratio 1
    loss, _ = ppo_loss(agent, spans, config)
    with torch.no_grad():
        out, _ = agent(spans.observation, spans.state, spans.resets)
    total = 0.0
    for t in range(20):
        for m in range(32):
            pi = torch.softmax(out.logits[t, m].double(), -1)
            ratio = float(pi[spans.actions[t, m]]) / float(spans.log_probs[t, m].exp())
            A = float(spans.advantages[t, m])
            total -= min(ratio * A, max(0.9, min(1.1, ratio)) * A)
            total += 0.7 * 0.5 * (float(out.value[t, m]) - float(spans.returns[t, m])) ** 2
            total -= 0.03 * float(-(pi * pi.log()).sum())
    assert loss.item() == pytest.approx(total / 640, rel=1e-4)


@pytest.mark.parametrize(("M", "n"), [(10, 8), (33, 8), (8, 8), (9, 2)])
def test_there_are_as_many_minibatches_as_asked_for_and_of_nearly_one_size(M, n):
    parts = list(minibatch_rows(M, PPOConfig(epochs=2, minibatches=n), torch.Generator().manual_seed(0)))
    assert len(parts) == 2 * n and {len(part) for part in parts} <= {M // n, M // n + 1}
    for epoch in (parts[:n], parts[n:]):
        assert sorted(torch.cat(epoch).tolist()) == list(range(M))


@pytest.mark.parametrize(
    "bad",
    [
        {"gamma": "0.9"},
        {"entropy": float("inf")},
        {"gamma": 1.5},
        {"clip": 0.0},
        {"epochs": 0},
        {"entropy": -1.0},
        {"minibatches": 1.5},
    ],
)
def test_impossible_ppo_numbers_are_refused_by_name(bad):
    with pytest.raises(ml.UserError, match=next(iter(bad))):
        PPOConfig(**bad)


def test_returns_are_raw_and_advantages_are_scaled_over_the_whole_rollout(small_bank):
    _, rollout = play(small_bank, "lstm")
    dice = torch.Generator().manual_seed(2)
    rollout = rollout._replace(rewards=torch.rand(rollout.rewards.shape, generator=dice))
    spans = cut_into_spans(rollout, 20, PPOConfig(gamma=0.9, lam=0.8))
    r = rollout
    raw = slow_gae(r.rewards.double(), r.values.double(), r.dones, r.last_value.double(), 0.9, 0.8)
    flat = raw.flatten().tolist()
    mean = sum(flat) / len(flat)
    deviation = (sum((a - mean) ** 2 for a in flat) / (len(flat) - 1)) ** 0.5
    assert abs(mean) > 0.1 and abs(deviation - 1) > 0.1, "scaling would change nothing: nothing is tested"
    side_by_side = [torch.cat([x[:20], x[20:]], 1) for x in (raw + r.values, (raw - mean) / deviation)]
    torch.testing.assert_close(spans.returns.double(), side_by_side[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(spans.advantages.double(), side_by_side[1], rtol=1e-4, atol=1e-4)


class Table(torch.nn.Module):
    """An agent that says the same at every call: logits [span, M, 7] and values [span, M]."""

    def __init__(self, logits, values):
        super().__init__()
        self.logits, self.values = torch.nn.Parameter(logits), torch.nn.Parameter(values)

    def forward(self, seen, state, resets):
        return AgentOutput(self.logits, self.values, None), state


def by_hand(ratios, advantages, values=None, returns=None):
    """A Table and one span of as many steps: action 0 of two possible ones, with these ratios to the old policy."""
    T = len(ratios)
    logits = torch.full((T, 1, 7), -1e9)
    logits[..., :2] = 0  # π = (½, ½, 0, …)
    numbers = [torch.tensor(x).view(T, 1) for x in (advantages, values or [0.0] * T, returns or [0.0] * T)]
    none = torch.zeros(T, 1)
    spans = Spans(
        Observation(none, none, none), none.bool(), torch.zeros(T, 1, dtype=torch.int64),
        (0.5 / torch.tensor(ratios)).log().view(T, 1), numbers[0], numbers[2], ControllerState(none[:1], none[:1]),
    )  # fmt: skip
    return Table(logits, numbers[1]), spans


def test_every_watched_number_of_ppo_by_hand():
    """Ratios 2, ½, 1.1, 1 and 1.3 with ε = 0.2; π_old = ½ / ρ. Of five, three are clipped."""
    ratios, advantages = [2.0, 0.5, 1.1, 1.0, 1.3], [1.0, 1.0, -2.0, 3.0, -1.0]
    agent, spans = by_hand(ratios, advantages, values=[1.0, 2.0, 3.0, 4.0, 0.0], returns=[0.0, 4.0, 3.0, 5.0, 2.0])
    loss, watched = ppo_loss(agent, spans, PPOConfig(clip=0.2, entropy=0.1, value=0.5))
    policy = -(1.2 * 1 + 0.5 * 1 + 1.1 * -2 + 1 * 3 + 1.3 * -1) / 5
    value = 0.5 * (1 + 4 + 0 + 1 + 4) / 5
    expected = {
        "policy_loss": policy,
        "value_loss": value,
        "entropy": math.log(2),
        "loss": policy + 0.5 * value - 0.1 * math.log(2),
        "kl": sum(r - 1 - math.log(r) for r in ratios) / 5,
        "clip_fraction": 3 / 5,
        "ratio_error": 1.0,
    }
    assert {k: v.item() for k, v in watched.items()} == pytest.approx(expected, rel=1e-5)
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-5)
    assert not any(v.requires_grad for v in watched.values())


def test_the_ratio_is_free_where_moving_back_would_help_and_has_no_gradient_beyond():
    """PPO's four cases: outside of 1 ± ε the gradient is cut where the step would lead farther out, and only there."""
    for ratio, advantage, is_cut in ((2.0, 1.0, True), (2.0, -1.0, False), (0.5, 1.0, False), (0.5, -1.0, True)):
        agent, spans = by_hand([ratio], [advantage])
        ppo_loss(agent, spans, PPOConfig(entropy=0.0, value=0.0))[0].backward()
        # ∂(−ρ A)/∂logit of the action = −ρ A (1 − π) = −ρ A / 2
        expected = 0.0 if is_cut else -ratio * advantage / 2
        assert agent.logits.grad[0, 0, 0].item() == pytest.approx(expected, abs=1e-6)


def test_the_value_loss_pulls_the_value_to_the_return():
    agent, spans = by_hand([1.0, 1.0], [0.0, 0.0], values=[1.0, 2.0], returns=[3.0, 1.0])
    ppo_loss(agent, spans, PPOConfig(entropy=0.0, value=0.5))[0].backward()
    assert agent.values.grad[:, 0].tolist() == pytest.approx([0.5 * -2 / 2, 0.5 * 1 / 2])


def test_minibatches_of_every_epoch_are_drawn_anew_and_by_the_dice():
    def parts(seed):
        rows = minibatch_rows(12, PPOConfig(epochs=3, minibatches=2), torch.Generator().manual_seed(seed))
        return [tuple(r.tolist()) for r in rows]

    assert parts(0) == parts(0) != parts(1)
    assert len(set(parts(0))) == 6
