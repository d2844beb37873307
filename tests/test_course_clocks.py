"""Exercises 6.4 to 6.6 beside the package's own clocks and adaptation, which compute the same along other ways."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from metarim_lite.course.checks import EXERCISES
from metarim_lite.training import TimeScales, adaptation, make_clocks
from metarim_lite.training.timescales import Clock

ON_TWO_CLOCKS = TimeScales(fast=("encoder", "modules", "heads"), slow=("attention",))
PER_TASK = replace(ON_TWO_CLOCKS, adaptation="per-task", learn_start=False)
UNCLIPPED = SimpleNamespace(max_grad_norm=1e9, minibatches=1)  # a norm that no gradient has


class TwoParts(nn.Module):
    """A fast vector w and a slow one a, as groups of an agent."""

    def __init__(self, w, a):
        super().__init__()
        self.w, self.a = nn.Parameter(w.clone()), nn.Parameter(a.clone())

    def parameter_groups(self):
        return {"encoder": [], "modules": [self.w], "attention": [self.a], "heads": []}


class Descent(Clock):
    """A clock of the package, but for Adam: plain descent, as line 4 of the algorithm is printed."""

    make_optimizer = staticmethod(torch.optim.SGD)


class WithTorchsEpsilon(Clock):
    """A clock of the package with the ε of exercise 6.6, which is torch's own."""

    make_optimizer = staticmethod(torch.optim.Adam)


def cases(name):
    for seed in range(3):
        yield from (case.inputs for case in EXERCISES[name].draw(torch.Generator().manual_seed(seed)))


def learner(agent, scales, tasks, loss, monkeypatch):
    """The package's per-task adaptation of this agent, whose loss on a batch is `loss(w [tasks, D], a, batch)`."""
    monkeypatch.setattr(adaptation, "ppo_loss", lambda agents, batch, ppo: (
        loss(agents.copies["w"], agents.agent.a, batch).mean(), {}))  # fmt: skip
    clock = make_clocks(agent, scales, Descent)["slow"]
    worlds = SimpleNamespace(num_envs=2 * tasks)
    return adaptation.Adaptation(agent, clock, scales, UNCLIPPED, worlds, tasks, steps=scales.fast_span)


def test_the_right_line_of_whose_rate_is_where_the_package_s_slow_clock_goes(monkeypatch):
    for given in cases("whose_rate"):
        theta, gradients, alpha, beta = given.values()
        right, printed, too_far = EXERCISES["whose_rate"](*given.values())
        ends = {}
        for rate in (beta, alpha):
            agent = TwoParts(torch.zeros(2), theta)
            scales = replace(PER_TASK, fast_lr=alpha, slow_lr=rate)
            slopes = lambda w, a, batch: batch @ a  # noqa: E731  the loss of task i has the gradient `gradients[i]`
            learns = learner(agent, scales, len(gradients), slopes, monkeypatch)
            still = {"w": torch.zeros(len(gradients), 2)}
            learns.clock.descend(learns.slow_loss(None, still, gradients)[0], math.inf)
            ends[rate] = agent.a.detach()
        torch.testing.assert_close((right, printed), (ends[beta], ends[alpha]))
        assert too_far == pytest.approx(float((ends[alpha] - theta).norm() / (ends[beta] - theta).norm()), rel=1e-3)


@pytest.mark.parametrize("way", ["through-adaptation", "first-order"])
def test_both_gradients_of_through_adaptation_are_those_of_the_package_s_slow_loss(way, monkeypatch):
    def loss(w, a, batch):
        x, y = batch
        return (torch.einsum("kd,td->tk", x, a * w) - y).square().mean(1)  # (tasks, D) -> (tasks,)

    for given in cases("through_adaptation"):
        w, a, x, y, x_query, y_query, alpha = given.values()
        agent = TwoParts(w, a)
        learns = learner(agent, replace(PER_TASK, fast_lr=alpha, meta_gradient=way), 1, loss, monkeypatch)
        movement = {"w": (learns.adapt((x, y))["w"] - w).detach()}
        (gradient,) = torch.autograd.grad(learns.slow_loss((x, y), movement, (x_query, y_query))[0], agent.a)
        through, first_order = EXERCISES["through_adaptation"](*given.values())
        torch.testing.assert_close(gradient, through if way == "through-adaptation" else first_order)
        assert not torch.allclose(through, first_order, rtol=1e-3), "or this test could not tell them apart"


def test_slow_clock_and_low_rate_go_as_far_as_on_the_package_s_clocks():
    for given in cases("slow_or_low"):
        gradients, lr, every = given.values()
        ways = {
            "slow clock": replace(ON_TWO_CLOCKS, slow_lr=lr, slow_every=every - 1),
            "low rate": TimeScales(fast_lr=lr, slower=(("attention", 1 / every),)),
        }
        ends = []
        for scales in ways.values():
            agent = TwoParts(torch.zeros_like(gradients[0]), torch.zeros_like(gradients[0]))
            clocks = make_clocks(agent, scales, WithTorchsEpsilon)
            for t, gradient in enumerate(gradients):
                clocks[scales.clock_of_tick(t)].descend(((agent.w + agent.a) * gradient).sum(), math.inf)
            ends.append(agent.a.detach().abs())
        torch.testing.assert_close(EXERCISES["slow_or_low"](*given.values()), tuple(ends))
