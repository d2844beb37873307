"""One update of a clock in numbers: rates, clipping, what is reported; against Adam and clipping written out."""

import copy
import math
from dataclasses import replace

import pytest
import torch

import metarim_lite as ml
from metarim_lite.training import METHODS, PPOConfig, TimeScales, Trainer, make_clocks, ppo_loss
from metarim_lite.training.ppo import cut_into_spans, minibatch_rows

LEVEL = "BabyAI-GoToObjS6-v1"
SMALL = ml.AgentConfig(
    num_modules=3, active=2, hidden_size=4, lstm_size=8, input_size=8, channels=2, mission_size=4, head_size=4,
    key_size=3, value_size=4, comm_heads=1, comm_key_size=3, comm_value_size=3,
)  # fmt: skip
ALPHA, BETA = 1e-2, 3e-4


def make_trainer(bank, method="meta-rim", ppo=None, **scales):
    usual = METHODS[method].timescales
    scales = {"fast_span": 5, "slow_span": 10, "slow_every": 1, "slow_lr": BETA, **scales}
    if usual.adaptation == "online":
        scales = {"fast_lr": ALPHA, **scales}
    config = ml.TrainConfig(
        method=method, level=LEVEL, num_envs=8, steps=10, agent=SMALL, ppo=ppo or PPOConfig(epochs=2, minibatches=2),
        timescales=replace(usual, **scales), device="cpu",
    )  # fmt: skip
    return Trainer(config, bank)


def rates(clock):
    """Adam's rate of every parameter."""
    return {id(p): group["lr"] for group in clock.optimizer.param_groups for p in group["params"]}


def rates_by_group(clock, agent):
    found = rates(clock)
    return {name: {found[id(p)] for p in parameters if id(p) in found} for name, parameters in
            agent.parameter_groups().items()}  # fmt: skip


# Which rate


@pytest.mark.parametrize("method", ["meta-rim", "meta-rim-reversed", "rim", "rim-slow-lr", "meta-lstm"])
def test_groups_of_the_fast_clock_learn_at_alpha_and_those_of_the_slow_clock_at_beta(method):
    usual = METHODS[method].timescales
    scales = replace(usual, fast_lr=ALPHA, slow_lr=BETA)
    agent = ml.Agent(METHODS[method].agent_config(SMALL))
    clocks = make_clocks(agent, scales)
    slower = dict(scales.slower)
    assert clocks["fast"].span == scales.fast_span
    for name, expected in (("fast", ALPHA), ("slow", BETA)):
        if name not in clocks:
            assert not scales.slow
            continue
        found = rates(clocks[name])
        assert sorted(found) == sorted(id(p) for p in clocks[name].parameters)
        for group, parameters in clocks[name].by_group.items():
            for p in parameters:
                assert found[id(p)] == pytest.approx(expected * (slower.get(group, 1) if name == "fast" else 1))


@pytest.mark.parametrize("learn_start", [True, False])
def test_per_task_the_slow_update_has_the_rate_beta_not_the_papers_misprint(learn_start):
    scales = replace(
        METHODS["meta-rim-per-task"].timescales, fast_lr=ALPHA, slow_lr=BETA, learn_start=learn_start, slow_span=70
    )
    agent = ml.Agent(SMALL)
    clocks = make_clocks(agent, scales)
    assert set(clocks) == {"slow"} and clocks["slow"].span == 70
    assert set(rates(clocks["slow"]).values()) == {BETA}
    found = rates_by_group(clocks["slow"], agent)
    assert found["attention"] == {BETA} and found["modules"] == ({BETA} if learn_start else set())


@pytest.mark.parametrize("method", ["meta-rim", "meta-rim-reversed", "meta-rim-per-task"])
def test_in_its_first_step_adam_moves_a_weight_by_the_rate_of_its_clock(small_bank, method):
    """m̂ / √v̂ = ±1 after one step, so that the largest movement of a tick of one update is its rate."""
    trainer = make_trainer(small_bank, method, ppo=PPOConfig(epochs=1, minibatches=1, max_grad_norm=1e9))
    for name in ("slow",) if method == "meta-rim-per-task" else ("fast", "slow"):
        before = [p.detach().clone() for p in trainer.agent.parameters()]
        trainer.tick()
        farthest = max((p - old).abs().max().item() for p, old in zip(trainer.agent.parameters(), before, strict=True))
        # ε = 1e-5 beside small gradients makes steps a little shorter
        assert 0.5 * {"fast": ALPHA, "slow": BETA}[name] < farthest <= {"fast": ALPHA, "slow": BETA}[name] * 1.001


# What an update does


def adam_by_hand(parameters, gradients_of_steps, lr, betas=(0.9, 0.999), eps=1e-5):
    """Kingma and Ba 2015, algorithm 1, on copies of the parameters."""
    moved = [p.detach().clone() for p in parameters]
    m, v = ([torch.zeros_like(p) for p in moved] for _ in range(2))
    for step, gradients in enumerate(gradients_of_steps, 1):
        for i, g in enumerate(gradients):
            m[i] = betas[0] * m[i] + (1 - betas[0]) * g
            v[i] = betas[1] * v[i] + (1 - betas[1]) * g * g
            m_hat, v_hat = m[i] / (1 - betas[0] ** step), v[i] / (1 - betas[1] ** step)
            moved[i] = moved[i] - lr * m_hat / (v_hat.sqrt() + eps)
    return moved


def steps_of_history(resets):
    """Mean over steps and sequences of how many steps there are since the span's or the episode's beginning."""
    total = 0
    for m in range(len(resets[0])):
        known = 0
        for begins in resets:
            known = 1 if begins[m] else known + 1
            total += known
    return total / (len(resets) * len(resets[0]))


def norm(gradients):
    return math.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients))


@pytest.mark.parametrize("max_grad_norm", [1e-3, 1e3])
def test_an_update_is_adam_on_clipped_gradients_and_reports_norms_before_clipping(small_bank, max_grad_norm):
    """The whole of an update again: minibatches by the same dice, gradients of the whole agent, clipping, Adam."""
    ppo = PPOConfig(epochs=2, minibatches=2, max_grad_norm=max_grad_norm)
    trainer = make_trainer(small_bank, ppo=ppo)
    with torch.no_grad():
        trainer.agent.actor[2].weight.mul_(100)
    rollout = trainer.player.collect(trainer.agent, 10, 5)
    rollout = rollout._replace(rewards=torch.rand(10, 8, generator=torch.Generator().manual_seed(1)))
    clock, alone = trainer.clocks["fast"], copy.deepcopy(trainer.agent)
    spans = cut_into_spans(rollout, 5, ppo)
    watched = clock.update(trainer.agent, rollout, ppo, torch.Generator().manual_seed(4))

    groups = {g: ps for g, ps in alone.parameter_groups().items() if g in clock.by_group}
    parameters = [p for ps in groups.values() for p in ps]
    start, history, sums = [p.detach().clone() for p in parameters], [], {}
    for n, rows in enumerate(minibatch_rows(16, ppo, torch.Generator().manual_seed(4))):
        alone.zero_grad()
        loss, seen = ppo_loss(alone, spans.pick(rows), ppo)
        loss.backward()
        gradients = [p.grad.clone() for p in parameters]
        seen |= {f"grad_norm/{g}": torch.tensor(norm([p.grad for p in ps])) for g, ps in groups.items()}
        if n == 0:
            first = seen.pop("ratio_error")
        seen.pop("ratio_error", None)
        sums = {k: sums.get(k, 0) + v.item() / 4 for k, v in seen.items()}
        scale = min(1.0, max_grad_norm / (norm(gradients) + 1e-6))
        assert (scale < 1) == (max_grad_norm < 1)
        history.append([scale * g for g in gradients])
        with torch.no_grad():
            for p, moved in zip(parameters, adam_by_hand(start, history, ALPHA), strict=True):
                p.copy_(moved)
    for ours, expected in zip((p for g in groups for p in clock.by_group[g]), parameters, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=2e-5)
    assert watched.pop("ratio_error") == first
    assert watched.pop("history").item() == pytest.approx(steps_of_history(spans.resets.tolist()), rel=1e-5)
    assert {k: v.item() for k, v in watched.items()} == pytest.approx(sums, rel=1e-2, abs=1e-5)
    assert min(sums[f"grad_norm/{g}"] for g in groups) > 1e-3


def test_the_ratio_error_is_that_before_the_first_step(small_bank):
    trainer = make_trainer(small_bank, ppo=PPOConfig(epochs=4, minibatches=2))
    watched, _ = trainer.tick()
    assert watched["fast/ratio_error"] < 1e-4 < watched["fast/kl"].abs()


def test_kl_and_entropy_that_are_watched_are_those_of_the_policies(small_bank):
    """After a small step from the old policy the estimate nears the exact KL(old, new); it is never negative."""
    trainer = make_trainer(small_bank)
    rollout = trainer.player.collect(trainer.agent, 10, 5)
    spans = cut_into_spans(rollout, 5, PPOConfig())
    with torch.no_grad():
        old = trainer.agent(spans.observation, spans.state, spans.resets)[0].logits.log_softmax(-1)
        for p in trainer.agent.actor.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0)))
        new = trainer.agent(spans.observation, spans.state, spans.resets)[0].logits.log_softmax(-1)
    _, watched = ppo_loss(trainer.agent, spans, PPOConfig())
    exact = (old.exp() * (old - new)).sum(-1).mean().item()
    assert watched["kl"].item() == pytest.approx(exact, rel=0.5) and exact > 0.01
    entropy = torch.distributions.Categorical(logits=new).entropy().mean().item()
    assert watched["entropy"].item() == pytest.approx(entropy, rel=1e-4)


# What a tick counts


@pytest.mark.parametrize("method", ["meta-rim", "rim", "meta-rim-per-task"])
def test_what_a_run_spends_is_what_it_played_and_how_often_its_optimizers_stepped(small_bank, method):
    """Steps asked of the player times worlds, by clock; and Adam's own count of steps of every group's parameters."""
    trainer = make_trainer(small_bank, method)
    played, collect = [], trainer.player.collect
    trainer.player.collect = lambda agent, T, span: (played.append(T * 8), collect(agent, T, span))[1]
    for tick in range(1, 4):
        watched, _ = trainer.tick()
        assert trainer.counters["frames"] == sum(played) and trainer.counters["tick"] == tick
        (largest,) = (v.item() for k, v in watched.items() if k.endswith("/largest_h"))
        assert largest == max(abs(x) for x in trainer.player.state.h.flatten().tolist())
    by_clock = {k.split("/")[1]: v for k, v in trainer.counters.items() if k.startswith("frames/")}
    expected = {
        "rim": {"fast": sum(played)},
        "meta-rim": {"fast": played[0] + played[2], "slow": played[1]},
        "meta-rim-per-task": {"fast": sum(played[::2]), "slow": sum(played[1::2])},
    }
    assert by_clock == expected[method]
    for clock in trainer.clocks.values():
        for group, parameters in clock.by_group.items():
            steps = {int(clock.optimizer.state[p]["step"]) for p in parameters}
            assert steps == {trainer.counters[f"updates/{group}"]}, group


def test_the_slow_clock_ticks_after_as_many_fast_ticks_as_it_says():
    for every in (1, 2, 4):
        scales = TimeScales(fast=("encoder", "modules", "heads"), slow=("attention",), slow_every=every)
        names = [scales.clock_of_tick(t) for t in range(3 * (every + 1))]
        assert names == 3 * (["fast"] * every + ["slow"])
