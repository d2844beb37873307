"""Elastic weights beside closed forms: the Fisher information of a softmax policy, the minimum of loss + penalty."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import metarim_lite as ml
from metarim_lite.envs import Observation
from metarim_lite.experiments.ewc import ElasticWeights, fisher_diagonal
from metarim_lite.models import ControllerState
from metarim_lite.training.ppo import PPOConfig, Spans, cut_into_spans
from metarim_lite.training.rollouts import Player
from metarim_lite.training.trainer import make_bank

AGENT = ml.AgentConfig(
    num_modules=4, active=2, hidden_size=8, key_size=8, value_size=8, lstm_size=16, input_size=16, channels=4,
    mission_size=8, head_size=8,
)  # fmt: skip


# The Fisher information


class LinearPolicy(nn.Module):
    """log π = log softmax(W x): a policy whose Fisher information can be written down."""

    def __init__(self, features: int, actions: int) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(actions, features, generator=torch.Generator().manual_seed(0)))

    def forward(self, seen, state, resets):
        return SimpleNamespace(logits=seen.image @ self.W.T), None  # (T, M, features) -> (T, M, actions)


def spans_of(x, actions):
    """Spans in which nothing counts but what was seen and done."""
    T, M = actions.shape
    none = torch.zeros(T, M)
    return Spans(
        Observation(x, none, none), none.bool(), actions, none, none, none, ControllerState(*[torch.zeros(M, 1)] * 2)
    )


@pytest.mark.parametrize("T", [1, 6])
def test_fisher_of_a_linear_softmax_policy_is_the_mean_of_pi_times_one_minus_pi_times_x_squared(T):
    """F of W_ki is E[π_k (1 − π_k) x_i²] per step, however many steps a span has: no gradients, no sampling in it."""
    dice, M = torch.Generator().manual_seed(1), 3000
    policy = LinearPolicy(features=3, actions=4)
    x = torch.randn(T, M, 3, generator=dice)
    pi = (x @ policy.W.T).softmax(-1).detach()
    actions = torch.multinomial(pi.flatten(0, 1), 1, generator=dice).view(T, M)
    exact = torch.einsum("tmk,tmi->ki", pi * (1 - pi), x.square()) / (T * M)
    found = fisher_diagonal(policy, spans_of(x, actions))["W"]
    torch.testing.assert_close(found, exact, rtol=0.15, atol=0)
    mean_squared = torch.einsum("tmk,tmi->ki", nn.functional.one_hot(actions, 4) - pi, x).square() / (T * M) ** 2
    assert (mean_squared < found / 50).all(), "the square of the mean gradient is another, far smaller number"


@pytest.fixture
def played():
    """An agent and the spans it played: (agent, spans of 6 steps in 5 worlds)."""
    agent = ml.Agent(dataclasses.replace(AGENT, kernel="fused"))
    worlds = ml.GridWorlds(make_bank(("MiniGrid-Empty-5x5-v0",), range(20)), 5)
    player = Player(worlds, agent, torch.Generator().manual_seed(0))
    player.collect(agent, 9, 9)  # so that spans begin in the middle of episodes, with memory
    return agent, cut_into_spans(player.collect(agent, 6, 6), 6, PPOConfig())


def test_fisher_is_what_a_slow_loop_over_spans_and_steps_gives(played):
    agent, spans = played
    plain = ml.Agent(dataclasses.replace(AGENT, kernel="plain"))  # the reference differentiates the plain loop
    plain.load_state_dict(agent.state_dict())
    slow = {name: torch.zeros_like(p) for name, p in plain.named_parameters()}
    for m in range(5):
        total = {name: torch.zeros_like(p) for name, p in plain.named_parameters()}
        for t in range(6):  # one backward pass per step, through everything up to that step
            plain.zero_grad()
            seen = type(spans.observation)(*(x[: t + 1, m : m + 1] for x in spans.observation))
            state = type(spans.state)(*(x[m : m + 1] for x in spans.state))
            out, _ = plain(seen, state, spans.resets[: t + 1, m : m + 1])
            torch.distributions.Categorical(logits=out.logits[t, 0]).log_prob(spans.actions[t, m]).backward()
            for name, p in plain.named_parameters():
                total[name] += 0 if p.grad is None else p.grad
        for name in slow:
            slow[name] += total[name] ** 2 / (5 * 6)
    fast = fisher_diagonal(agent, spans)
    for name in slow:
        torch.testing.assert_close(fast[name], slow[name], rtol=1e-4, atol=1e-9)
    assert all((fast[name] == 0).all() for name in fast if name.startswith("critic"))
    assert all(fast[name].max() > 0 for name in fast if name.startswith("actor"))


# The springs


class Weights(nn.Module):
    def __init__(self, *start):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(start))


@pytest.mark.parametrize("strength", [1e-3, 1.0, 1e3, 1e6, 1e9])
def test_training_on_springs_comes_to_rest_at_the_minimum_of_loss_and_penalty(strength):
    """For loss ½ Σ a (w − c)² and penalty λ/2 Σ F (w − w*)² it is (a c + λ F w*) / (a + λ F), weight by weight."""
    a, c = torch.tensor([1.0, 2.0, 0.5, 1.0]), torch.tensor([2.0, -1.0, 1.0, 3.0])
    F, old = torch.tensor([1e-3, 1.0, 1e-6, 0.0]), torch.tensor([1.0, 1.0, -1.0, 0.0])
    model = Weights(*old.tolist())
    adam = torch.optim.Adam(model.parameters(), eps=1e-5)
    elastic = ElasticWeights(model, [adam], strength)
    elastic.hold({"w": F})
    with torch.no_grad():
        model.w += 0.5  # not at rest at the beginning
    for step in range(800):
        adam.param_groups[0]["lr"] = 0.05 * (1 - step / 800)
        adam.zero_grad()
        (0.5 * a * (model.w - c).square()).sum().backward()
        adam.step()
    minimum = (a * c + strength * F * old) / (a + strength * F)
    torch.testing.assert_close(model.w.detach(), minimum, rtol=0, atol=2e-2)


def test_a_stiff_spring_holds_its_weight_through_noise_where_a_penalty_in_the_loss_lets_it_jump():
    """Adam divides the gradient by its own size: in the loss, any stiffness moves weights by the learning rate."""
    farthest = {}
    for where in ("after the step", "in the loss"):
        dice, model = torch.Generator().manual_seed(0), Weights(0.0)
        adam = torch.optim.Adam(model.parameters(), lr=3e-3, eps=1e-5)
        if where == "after the step":
            ElasticWeights(model, [adam], 1e6).hold({"w": torch.ones(1)})
        farthest[where] = 0.0
        for _ in range(300):
            adam.zero_grad()
            loss = (torch.randn(1, generator=dice) * model.w).sum()
            (loss if where == "after the step" else loss + 1e6 / 2 * model.w.square().sum()).backward()
            adam.step()
            farthest[where] = max(farthest[where], model.w.abs().item())
    assert farthest["after the step"] < 1e-5 < 1e-3 < farthest["in the loss"], farthest


def test_only_weights_of_the_optimizer_that_stepped_are_pulled():
    model = nn.ModuleDict({"fast": Weights(1.0), "slow": Weights(1.0), "unused": Weights(1.0)})
    fast = torch.optim.Adam([*model["fast"].parameters(), *model["unused"].parameters()], lr=0.1)
    slow = torch.optim.Adam(model["slow"].parameters(), lr=0.1)
    ElasticWeights(model, [fast, slow], strength=1e6).hold(
        {name: torch.ones(1) for name, _ in model.named_parameters()}
    )
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.tensor([3.0]))
    model["fast"].w.sum().backward()
    fast.step()
    assert abs(model["fast"].w.item() - 1) < 1e-3, "pulled home"
    assert model["slow"].w.item() == 3.0 and model["unused"].w.item() == 3.0


def test_springs_add_up_over_tasks_and_fade_by_their_decay():
    model, F = Weights(1.0, 2.0), torch.tensor([1.0, 3.0])
    elastic = ElasticWeights(model, [], strength=2.0, decay=0.5)
    for factor in (1, 1.5, 1.75):
        elastic.hold({"w": F})
        assert torch.equal(elastic.fisher["w"], factor * F)
    with torch.no_grad():
        model.w += 1
    assert elastic.penalty().item() == 2.0 / 2 * 1.75 * 4
