"""A per-task tick in numbers: what it counts, what it clips, what it says of reward before and after."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from per_task import LEVEL, PER_TASK, TINY

import metarim_lite as ml
from metarim_lite.envs import Observation
from metarim_lite.models import ControllerState
from metarim_lite.training import PPOConfig, Trainer, ppo_loss
from metarim_lite.training.adaptation import TaskAgents, adapt
from metarim_lite.training.ppo import cut_into_spans
from metarim_lite.training.rollouts import Rollout

SCALES = replace(PER_TASK, fast_lr=0.1, slow_lr=3e-4)


def make_trainer(bank, ppo=None, **scales):
    config = ml.TrainConfig(
        method="meta-rim-per-task", level=LEVEL, num_envs=12, steps=10, agent=TINY,
        ppo=ppo or PPOConfig(epochs=1, minibatches=2), timescales=replace(SCALES, **scales), device="cpu",
    )  # fmt: skip
    return Trainer(config, bank)


@pytest.fixture(scope="module")
def bank():
    return ml.LevelBank.generate(LEVEL, seeds=range(60))


def made_up_rewards(trainer):
    """Real rewards are rare: from now on the support earns 1 at every step, the query 3, in episodes of 2 and 5."""
    rollouts, collect = [], trainer.player.collect

    def collected(*args):
        r = collect(*args)
        number = len(rollouts) % 2
        episodes = {k: torch.full_like(v, (2.0, 5.0)[number]) for k, v in r.episodes.items()}
        r = r._replace(rewards=torch.full_like(r.rewards, (1.0, 3.0)[number]), episodes=episodes)
        rollouts.append(r)
        return r

    trainer.player.collect = collected
    return rollouts


def test_reward_before_is_that_of_the_support_and_after_that_of_the_query(bank):
    trainer = make_trainer(bank)
    rollouts = made_up_rewards(trainer)
    watched, episodes = trainer.tick()
    assert [r.rewards.shape[0] for r in rollouts] == [10, 8]
    assert (watched["slow/reward_before"], watched["slow/reward_after"]) == (1.0, 3.0)
    assert {k: float(v) for k, v in episodes.items()} == dict.fromkeys(rollouts[0].episodes, 7.0), "of both"
    assert trainer.counters["frames"] == (10 + 8) * 12


def test_movement_is_the_mean_over_tasks_of_how_far_a_copy_went(bank):
    trainer = make_trainer(bank)
    rollouts = made_up_rewards(trainer)
    learner = trainer.adaptation
    shared = copy.deepcopy(trainer.agent)
    watched, _ = trainer.tick()
    support = cut_into_spans(rollouts[0], 5, trainer.config.ppo, 3)
    start = {n: p for n, p in shared.named_parameters() if n in learner.start}
    copies = adapt(shared, start, support, 3, 2, 0.1, trainer.config.ppo, False)
    far = [math.sqrt(sum(((copies[n][i] - p) ** 2).sum().item() for n, p in start.items())) for i in range(3)]
    assert watched["slow/movement"].item() == pytest.approx(sum(far) / 3, rel=1e-3) and min(far) > 0.01


@pytest.mark.parametrize("max_grad_norm", [1e-3, 1e3])
def test_line_4_is_adam_at_beta_on_the_clipped_sum_over_tasks(bank, max_grad_norm):
    """Every task alone with its own copy, .backward(), the sum of gradients clipped; norms reported unclipped."""
    trainer = make_trainer(bank, PPOConfig(epochs=1, minibatches=1, max_grad_norm=max_grad_norm), learn_start=False)
    rollouts = made_up_rewards(trainer)
    shared, ppo = copy.deepcopy(trainer.agent), trainer.config.ppo
    watched, _ = trainer.tick()
    support, query = (cut_into_spans(r, s, ppo, 3) for r, s in zip(rollouts, (5, 8), strict=True))
    start = {n: p for n, p in shared.named_parameters() if n in trainer.adaptation.start}
    copies = adapt(shared, start, support, 3, 2, 0.1, ppo, False)
    total, loss = [0.0] * 100, 0.0
    for i in range(3):
        alone = copy.deepcopy(shared)
        alone.load_state_dict({n: c[i].detach() for n, c in copies.items()}, strict=False)
        one = ppo_loss(alone, query.pick(torch.arange(4 * i, 4 * i + 4)), ppo)[0]
        one.backward()
        loss += one.item() / 3
        total = [t + p.grad for t, p in zip(total, alone.parameter_groups()["attention"], strict=False)]
    norm = math.sqrt(sum((g**2).sum().item() for g in total))
    assert watched["slow/grad_norm/attention"].item() == pytest.approx(norm, rel=1e-3)
    assert watched["slow/loss"].item() == pytest.approx(loss, rel=1e-3)
    scale = min(1.0, max_grad_norm / norm)
    assert (scale < 1) == (max_grad_norm < 1)
    for now, old, g in zip(
        trainer.agent.parameter_groups()["attention"], shared.parameter_groups()["attention"], total, strict=True
    ):
        g = scale * g
        torch.testing.assert_close(now - old, -3e-4 * g / (g.abs() + 1e-5), rtol=2e-2, atol=2e-6)


def test_a_step_of_adaptation_is_descent_on_the_tasks_own_clipped_gradient(bank):
    """θ − α g · min(1, c / |g|), task by task, of agents whose worlds, spans and memory are their own."""
    trainer = make_trainer(bank, inner_steps=1)
    made_up_rewards(trainer)
    support = cut_into_spans(trainer.player.collect(trainer.agent, 10, 5), 5, PPOConfig(), 3)
    start = trainer.adaptation.start
    for max_norm in (0.01, 100.0):
        ppo = PPOConfig(max_grad_norm=max_norm)
        copies = adapt(trainer.agent, start, support, 3, 1, 0.3, ppo, False)
        for i in range(3):
            alone = copy.deepcopy(trainer.agent)
            ppo_loss(alone, support.pick(torch.arange(8 * i, 8 * i + 8)), ppo)[0].backward()
            grads = {n: p.grad for n, p in alone.named_parameters() if n in start}
            norm = math.sqrt(sum((g**2).sum().item() for g in grads.values()))
            for n, g in grads.items():
                expected = start[n] - 0.3 * min(1.0, max_norm / norm) * g
                torch.testing.assert_close(copies[n][i], expected, rtol=1e-4, atol=1e-6)


def test_the_spans_of_a_task_are_those_of_its_worlds_alone():
    """A made-up rollout whose every number says which step and world it is of."""
    T, B, tasks = 6, 6, 3
    number = torch.arange(T * B, dtype=torch.float32).view(T, B)
    dice = torch.Generator().manual_seed(0)
    rollout = Rollout(
        observation=Observation(number, number + 0.1, number + 0.2), resets=torch.rand(T, B, generator=dice) < 0.3,
        actions=torch.arange(T * B).view(T, B), log_probs=-number, values=torch.rand(T, B, generator=dice),
        rewards=torch.rand(T, B, generator=dice), dones=torch.rand(T, B, generator=dice) < 0.2,
        last_value=10 * torch.rand(B, generator=dice),
        states=tuple(ControllerState(h := 100.0 * s + torch.arange(B).view(B, 1), -h) for s in range(2)), episodes={},
    )  # fmt: skip
    ppo = PPOConfig(gamma=0.9, lam=0.7)
    together = cut_into_spans(rollout, 3, ppo, tasks)
    for i in range(tasks):
        worlds = [2 * i, 2 * i + 1]
        fields = {f: getattr(rollout, f)[:, worlds] for f in ("resets", "actions", "log_probs", "values", "rewards",
                                                              "dones")}  # fmt: skip
        alone = cut_into_spans(
            Rollout(
                observation=Observation(*(x[:, worlds] for x in rollout.observation)),
                last_value=rollout.last_value[worlds],
                states=tuple(ControllerState(*(x[worlds] for x in s)) for s in rollout.states), episodes={}, **fields,
            ), 3, ppo,
        )  # fmt: skip
        mine = together.pick(torch.arange(4 * i, 4 * i + 4))
        for name in ("resets", "actions", "log_probs", "advantages", "returns"):
            torch.testing.assert_close(getattr(mine, name), getattr(alone, name))
        for a, b in ((mine.observation, alone.observation), (mine.state, alone.state)):
            assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_agents_of_several_tasks_say_what_each_says_alone(bank):
    trainer = make_trainer(bank)
    agent = trainer.agent
    seen = trainer.player.collect(agent, 5, 5).observation
    dice = torch.Generator().manual_seed(0)
    copies = {n: p.detach() + torch.randn(3, *p.shape, generator=dice) for n, p in trainer.adaptation.start.items()}
    state = ControllerState(*(torch.randn(x.shape, generator=dice) for x in agent.initial_state(12)))
    resets = torch.rand(5, 12, generator=dice) < 0.3
    out, after = TaskAgents(agent, copies, 3)(seen, state, resets)
    assert out.logits.shape == (5, 12, 7) and out.value.shape == (5, 12)
    for i in range(3):
        alone, b = copy.deepcopy(agent), slice(4 * i, 4 * i + 4)
        alone.load_state_dict({n: c[i] for n, c in copies.items()}, strict=False)
        one, last = alone(Observation(*(x[:, b] for x in seen)), ControllerState(*(x[b] for x in state)), resets[:, b])
        torch.testing.assert_close(out.logits[:, b], one.logits, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(out.value[:, b], one.value, rtol=1e-4, atol=1e-5)
        for x, y in zip(after, last, strict=True):
            torch.testing.assert_close(x[b], y, rtol=1e-4, atol=1e-5)
