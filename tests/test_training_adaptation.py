"""Per-task adaptation: its gradients against finite differences, its batched form against a loop over tasks."""

import copy

import pytest
import torch
from per_task import PPO, make_trainer, played

import metarim_lite as ml
from metarim_lite.models import GROUPS
from metarim_lite.training import PPOConfig, ppo_loss
from metarim_lite.training.adaptation import adapt, cut_into_tasks, task_worlds
from metarim_lite.training.ppo import cut_into_spans

METAS = ("first-order", "through-adaptation")


def slow_gradient(trainer, support, query):
    learner = trainer.adaptation
    movement = {n: (p - learner.start[n]).detach() for n, p in learner.adapt(support).items()}
    loss, _ = learner.slow_loss(support, movement, query)
    return torch.autograd.grad(loss, learner.clock.parameters)


def snapshot(agent):
    return {g: [p.detach().clone() for p in ps] for g, ps in agent.parameter_groups().items()}


def moved(agent, before):
    now = agent.parameter_groups()
    return {g for g in GROUPS if any(not torch.equal(a, b) for a, b in zip(now[g], before[g], strict=True))}


# What is computed


@pytest.mark.parametrize("controller", ["rim", "lstm"])
@pytest.mark.parametrize("part", ["slow groups", "shared start"])
def test_gradients_through_adaptation_equal_finite_differences(bank, controller, part):
    """In the direction of the gradient and in two random ones, in float64, two inner steps deep."""
    slow = {"rim": ("attention",), "lstm": ("modules.weight_ih", "attention")}[controller]
    trainer = make_trainer(bank, controller, dtype=torch.float64, meta_gradient="through-adaptation", slow=slow)
    learner = trainer.adaptation
    support, query = played(trainer)
    start = {id(p) for p in learner.start.values()}
    gradient = slow_gradient(trainer, support, query)
    chosen = [(p, g) for p, g in zip(learner.clock.parameters, gradient, strict=True)
              if (id(p) in start) == (part == "shared start")]  # fmt: skip
    assert chosen

    def loss_at(shift, directions):
        with torch.no_grad():
            for (p, _), d in zip(chosen, directions, strict=True):
                p.add_(shift * d)
        value = learner.slow_loss(support, {}, query)[0].detach()
        with torch.no_grad():
            for (p, _), d in zip(chosen, directions, strict=True):
                p.sub_(shift * d)
        return value

    norm = sum(g.square().sum() for _, g in chosen).sqrt()
    assert norm > 1e-3, "nothing is tested"
    dice = torch.Generator().manual_seed(1)
    random = [[torch.randn(p.shape, generator=dice, dtype=p.dtype) for p, _ in chosen] for _ in range(2)]
    for directions in [[g / norm for _, g in chosen], *random]:
        expected = (loss_at(1e-6, directions) - loss_at(-1e-6, directions)) / 2e-6
        found = sum((g * d).sum() for (_, g), d in zip(chosen, directions, strict=True))
        assert found.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-7)


def test_first_order_leaves_something_out(bank):
    """So that the test above and the next one say something: with inner steps the two gradients differ."""
    gradients = [
        slow_gradient(trainer, *played(trainer))
        for trainer in (make_trainer(bank, dtype=torch.float64, meta_gradient=m) for m in METAS)
    ]
    difference = sum((a - b).square().sum() for a, b in zip(*gradients, strict=True)).sqrt()
    assert difference > 1e-3 * sum(a.square().sum() for a in gradients[0]).sqrt()


def test_first_order_equals_through_adaptation_at_zero_inner_steps(bank):
    trainers = [make_trainer(bank, inner_steps=0, meta_gradient=m) for m in METAS]
    first, through = (slow_gradient(trainer, *played(trainer)) for trainer in trainers)
    assert all(torch.equal(a, b) for a, b in zip(first, through, strict=True))
    for trainer in trainers:
        trainer.tick()
    assert all(torch.equal(a, b) for a, b in zip(*(t.agent.parameters() for t in trainers), strict=True))


def rows_of(spans, task, tasks=3):
    M = spans.resets.shape[1] // tasks
    return spans.pick(torch.arange(task * M, (task + 1) * M))


@pytest.mark.parametrize("controller", ["rim", "lstm"])
@pytest.mark.parametrize("max_grad_norm", [0.5, 100.0])
def test_the_batched_form_equals_a_loop_over_tasks(bank, controller, max_grad_norm):
    """Each task alone, with an agent of its own, .backward() and plain descent: the same copies, the same gradient."""
    slow = {"rim": ("attention",), "lstm": ("modules.weight_ih", "attention")}[controller]
    ppo, alpha = PPOConfig(minibatches=2, max_grad_norm=max_grad_norm), 0.1
    trainer = make_trainer(bank, controller, dtype=torch.float64, slow=slow, ppo=ppo, fast_lr=alpha)
    learner, agent, scales = trainer.adaptation, trainer.agent, trainer.config.scales
    support, query = played(trainer)
    batched = learner.adapt(support)
    names = {id(p): n for n, p in agent.named_parameters()}
    clock_names = [names[id(p)] for p in learner.clock.parameters]
    total = {n: 0 for n in clock_names}
    for task in range(3):
        alone = copy.deepcopy(agent)
        fast = {n: p for n, p in alone.named_parameters() if n in learner.start}
        for _ in range(scales.inner_steps):
            alone.zero_grad()
            ppo_loss(alone, rows_of(support, task), ppo)[0].backward()
            norm = sum(p.grad.square().sum() for p in fast.values()).sqrt()
            with torch.no_grad():
                for p in fast.values():
                    p -= alpha * p.grad * min(1, max_grad_norm / norm)
        for n, p in fast.items():
            torch.testing.assert_close(batched[n][task], p, rtol=1e-6, atol=1e-9)
        alone.zero_grad()
        ppo_loss(alone, rows_of(query, task), ppo)[0].backward()
        for n, p in alone.named_parameters():
            if n in total:
                total[n] = total[n] + p.grad
    copies = {n: p.detach() for n, p in batched.items()}
    assert any(not torch.allclose(c[0], c[1]) for c in copies.values()), "all tasks moved alike: nothing is tested"
    for n, g in zip(clock_names, slow_gradient(trainer, support, query), strict=True):
        torch.testing.assert_close(g, total[n], rtol=1e-5, atol=1e-8)


def test_one_task_s_experience_does_not_move_another_s_copy(bank):
    trainer = make_trainer(bank)
    support, _ = played(trainer)
    before = trainer.adaptation.adapt(support)
    M = support.resets.shape[1] // 3
    other = support._replace(advantages=support.advantages.clone())
    other.advantages[:, :M] *= -1  # the first task's
    after = trainer.adaptation.adapt(other)
    assert any(not torch.equal(before[n][0], after[n][0]) for n in before)
    assert all(torch.equal(before[n][1:], after[n][1:]) for n in before)


def test_advantages_are_scaled_within_each_task(bank):
    trainer = make_trainer(bank)
    for task in range(3):
        advantages = rows_of(played(trainer)[0], task).advantages
        assert advantages.mean().abs() < 1e-5 and advantages.std().item() == pytest.approx(1, abs=1e-3)


# Who plays what


def test_a_single_level_is_cut_into_blocks_of_like_missions(bank):
    blocks = cut_into_tasks(bank, 4)
    assert [len(b) for b in blocks] == [30] * 4
    assert sorted(s for b in blocks for s in b.seeds.tolist()) == list(range(120))
    missions = [{b.mission_text(i) for i in range(len(b))} for b in blocks]
    assert all(len(a & b) <= 1 for i, a in enumerate(missions) for b in missions[:i])  # at most the one at the cut


def test_of_several_levels_each_is_a_task(bank):
    both = ml.LevelBank.concat([bank, ml.LevelBank.generate("BabyAI-GoToLocal-v0", seeds=range(9))])
    blocks = cut_into_tasks(both, 4)
    assert [len(b) for b in blocks] == [120, 9]
    assert [b.task.unique().tolist() for b in blocks] == [[0], [1]]


def test_worlds_stay_in_their_task_over_many_episodes(bank):
    worlds, _ = task_worlds(bank, 3, num_envs=12, device="cpu", seed=0)
    allowed = [{tuple(m.tolist()) for m in b.tables["mission"]} for b in cut_into_tasks(bank, 3)]
    seen = worlds.reset()
    dice = torch.Generator().manual_seed(0)
    ended = 0
    for _ in range(150):
        step = worlds.step(torch.randint(0, 3, (12,), generator=dice))
        ended += int((step.terminated | step.truncated).sum())
        seen = step.observation
        for b in range(12):
            assert tuple(seen.mission[b].tolist()) in allowed[b // 4]
    assert ended > 12


def test_tasks_draw_their_levels_independently_of_each_other(bank):
    """Of the same number of levels: worlds with one seed would play the same places of all tasks at once."""
    worlds, _ = task_worlds(bank, 3, num_envs=12, device="cpu", seed=5)
    places = []
    for _ in range(30):
        worlds.renew(torch.ones(12, dtype=torch.bool))
        places.append((worlds.levels % 40).view(3, 4))  # blocks of 40 levels, world by world
    places = torch.stack(places)  # (30, 3, 4)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert (places[:, i] == places[:, j]).float().mean() < 0.2  # by chance one in 40


def test_the_query_is_played_by_each_task_s_adapted_copy(bank):
    """PPO's ratio is 1 before the first update, and would not be if the shared agent had played."""
    trainer = make_trainer(bank, fast_lr=20.0)
    rollouts, collect = [], trainer.player.collect
    trainer.player.collect = lambda *a: rollouts.append(collect(*a)) or rollouts[-1]
    shared = copy.deepcopy(trainer.agent)
    watched, _ = trainer.tick()
    assert watched["slow/ratio_error"] < 1e-5
    query = cut_into_spans(rollouts[1], 8, PPO, 3)
    assert ppo_loss(shared, query, PPO)[1]["ratio_error"] > 1e-2
    assert [r.resets.shape for r in rollouts] == [(10, 12), (8, 12)]
    assert trainer.counters["frames"] == 18 * 12


def test_every_minibatch_holds_the_same_share_of_each_task(bank):
    trainer = make_trainer(bank)
    learner = trainer.adaptation
    support, query = played(trainer)
    task = torch.arange(12).div(4, rounding_mode="floor").float()
    query = query._replace(returns=task.expand(8, 12).clone(), advantages=torch.arange(12.0).expand(8, 12).clone())
    seen, original = [], learner.slow_loss
    learner.slow_loss = lambda s, m, q: seen.append(q) or original(s, m, q)
    movement = {n: (p - learner.start[n]).detach() for n, p in learner.adapt(support).items()}
    learner.learn(support, movement, query, trainer.dice)
    assert len(seen) == PPO.epochs * PPO.minibatches
    assert all(q.returns[0].tolist() == [0, 0, 1, 1, 2, 2] for q in seen)
    assert sorted(x for q in seen[:2] for x in q.advantages[0].tolist()) == list(range(12))


# Who moves when


def test_adapting_changes_neither_the_agent_nor_an_optimizer(bank):
    trainer = make_trainer(bank)
    trainer.tick()
    before, saved = snapshot(trainer.agent), {k: v.clone() for k, v in trainer.tensors().items() if "optimizer" in k}
    support = cut_into_spans(trainer.player.collect(trainer.agent, 10, 5), 5, PPO, 3)
    trainer.adaptation.adapt(support)
    assert moved(trainer.agent, before) == set()
    now = trainer.tensors()
    assert saved and all(torch.equal(v, now[k]) for k, v in saved.items())


@pytest.mark.parametrize("meta_gradient", METAS)
@pytest.mark.parametrize(
    "scales, movers",
    [
        ({}, set(GROUPS)),
        ({"learn_start": False}, {"attention"}),
        ({"fast": ("modules", "heads"), "frozen": ("encoder",)}, {"modules", "heads", "attention"}),
        ({"fast": ("attention",), "slow": ("modules", "encoder", "heads"), "learn_start": False},
         {"modules", "encoder", "heads"}),
    ],
)  # fmt: skip
def test_a_tick_moves_the_slow_groups_and_the_start_if_it_is_learnt(bank, meta_gradient, scales, movers):
    trainer = make_trainer(bank, meta_gradient=meta_gradient, ppo=PPOConfig(minibatches=1, epochs=1), **scales)
    for _ in range(2):
        before = snapshot(trainer.agent)
        watched, _ = trainer.tick()
        assert moved(trainer.agent, before) == movers
        assert watched["slow/movement"] > 0
    on_clock = sum(len(g["params"]) for g in trainer.clocks["slow"].optimizer.param_groups)
    assert on_clock == sum(len(trainer.agent.parameter_groups()[g]) for g in movers)
    assert all(p.grad is None and p.requires_grad for p in trainer.agent.parameters())


def test_only_fast_groups_are_copied(bank):
    trainer = make_trainer(bank)
    by_group, names = trainer.agent.parameter_groups(), {id(p): n for n, p in trainer.agent.named_parameters()}
    assert set(trainer.adaptation.start) == {names[id(p)] for g in ("encoder", "modules", "heads") for p in by_group[g]}


def test_a_step_of_adaptation_is_no_longer_than_alpha_times_the_clipping_norm(bank):
    trainer = make_trainer(bank, inner_steps=1, fast_lr=3.0, ppo=PPOConfig(minibatches=2, max_grad_norm=1e-3))
    watched, _ = trainer.tick()
    assert watched["slow/movement"].item() == pytest.approx(3e-3, rel=1e-2)


def test_adaptation_lowers_each_task_s_own_loss(bank):
    trainer = make_trainer(bank, fast_lr=0.1)
    support, _ = played(trainer)
    before = [ppo_loss(trainer.agent, rows_of(support, i), PPO)[0].item() for i in range(3)]
    copies = adapt(trainer.agent, trainer.adaptation.start, support, 3, 5, 0.1, PPO, False)
    for i in range(3):
        alone = copy.deepcopy(trainer.agent)
        alone.load_state_dict({n: c[i].detach() for n, c in copies.items()}, strict=False)
        assert ppo_loss(alone, rows_of(support, i), PPO)[0].item() < before[i]
