"""Fast and slow: which parameters move at which tick, and which must not, bit for bit."""

import pytest
import torch

import metarim_lite as ml
from metarim_lite.models import GROUPS
from metarim_lite.training import METHODS, Clock, TimeScales, Trainer, make_clocks

SMALL = ml.AgentConfig(num_modules=4, active=2, hidden_size=8, lstm_size=16, input_size=16, channels=4)


def small_trainer(bank, method, **scales):
    scales = {**vars(METHODS[method].timescales), "fast_span": 5, "slow_span": 20, "slow_every": 2, **scales}
    config = ml.TrainConfig(
        method=method, level="BabyAI-GoToObjS6-v1", num_envs=8, steps=10, agent=SMALL, timescales=TimeScales(**scales)
    )
    return Trainer(config, bank)


def snapshot(agent):
    return {g: [p.detach().clone() for p in ps] for g, ps in agent.parameter_groups().items()}


def moved(agent, before):
    now = agent.parameter_groups()
    return {g for g in GROUPS if any(not torch.equal(a, b) for a, b in zip(now[g], before[g], strict=True))}


@pytest.mark.parametrize("controller", ["rim", "lstm"])
def test_groups_are_disjoint_and_exhaustive(controller):
    agent = ml.Agent(ml.AgentConfig(controller=controller))
    grouped = [id(p) for group in agent.parameter_groups().values() for p in group]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in agent.parameters()}
    assert set(agent.parameter_groups()) == set(GROUPS)


def test_fast_ticks_move_fast_groups_and_slow_ticks_slow_groups(small_bank):
    trainer = small_trainer(small_bank, "meta-rim")
    seen = []
    for _ in range(6):
        before = snapshot(trainer.agent)
        trainer.tick()
        seen.append(moved(trainer.agent, before))
    fast, slow = {"encoder", "modules", "heads"}, {"attention"}
    assert seen == [fast, fast, slow, fast, fast, slow]


def test_an_update_leaves_the_other_clock_s_optimizer_bit_identical(small_bank):
    trainer = small_trainer(small_bank, "meta-rim")
    for _ in range(3):
        trainer.tick()
    for _ in range(3):
        name = trainer.config.scales.clock_of_tick(trainer.counters["tick"])
        other = trainer.clocks["slow" if name == "fast" else "fast"].optimizer.state_dict()["state"]
        before = {(i, k): v.clone() for i, slots in other.items() for k, v in slots.items()}
        trainer.tick()
        assert before
        for (i, k), v in before.items():
            assert torch.equal(other[i][k], v), f"{name} tick changed the other optimizer's {k}"


def test_no_gradient_is_left_behind_for_the_other_clock(small_bank):
    trainer = small_trainer(small_bank, "meta-rim")
    trainer.agent.actor[0].weight.grad = torch.full_like(trainer.agent.actor[0].weight, 7.0)
    trainer.tick()
    assert all(p.grad is None for p in trainer.agent.parameters())
    assert all(p.requires_grad for p in trainer.agent.parameters())


def test_clipping_looks_at_the_updated_groups_only(small_bank, monkeypatch):
    trainer = small_trainer(small_bank, "meta-rim")
    clipped = []
    original = torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(
        torch.nn.utils, "clip_grad_norm_", lambda ps, n: (clipped.append({id(p) for p in ps}), original(ps, n))
    )
    for _ in range(3):
        trainer.tick()
    groups = trainer.agent.parameter_groups()
    fast = {id(p) for g in ("encoder", "modules", "heads") for p in groups[g]}
    assert clipped[0] == fast
    assert clipped[-1] == {id(p) for p in groups["attention"]}


def test_the_gradient_of_a_clock_equals_the_plain_gradient_of_its_groups(small_bank):
    """Switching off the other groups' gradients must not change this group's."""
    from metarim_lite.training.ppo import cut_into_spans, ppo_loss

    trainer = small_trainer(small_bank, "meta-rim")
    rollout = trainer.player.collect(trainer.agent, 10, 5)
    spans = cut_into_spans(rollout, 5, trainer.config.ppo)
    ppo_loss(trainer.agent, spans, trainer.config.ppo)[0].backward()
    plain = [p.grad.clone() for p in trainer.clocks["slow"].parameters]
    trainer.agent.zero_grad()
    for p in trainer.clocks["slow"].others:
        p.requires_grad_(False)
    ppo_loss(trainer.agent, spans, trainer.config.ppo)[0].backward()
    for p, g in zip(trainer.clocks["slow"].parameters, plain, strict=True):
        assert torch.allclose(p.grad, g, atol=1e-6)


def test_slow_spans_are_long_and_gradients_reach_through_them(small_bank):
    trainer = small_trainer(small_bank, "meta-rim")
    lengths = []
    collect = trainer.player.collect
    trainer.player.collect = lambda agent, T, span: (lengths.append((T, span)), collect(agent, T, span))[1]
    for _ in range(3):
        trainer.tick()
    assert lengths == [(10, 5), (10, 5), (20, 20)]


def test_frozen_attention_never_moves(small_bank):
    trainer = small_trainer(small_bank, "rim-frozen-attention")
    before = snapshot(trainer.agent)
    for _ in range(4):
        trainer.tick()
    assert moved(trainer.agent, before) == {"encoder", "modules", "heads"}


def test_reversed_puts_the_modules_on_the_slow_clock(small_bank):
    trainer = small_trainer(small_bank, "meta-rim-reversed")
    before = snapshot(trainer.agent)
    trainer.tick()
    assert moved(trainer.agent, before) == {"encoder", "attention", "heads"}
    trainer.tick()
    before = snapshot(trainer.agent)
    trainer.tick()
    assert moved(trainer.agent, before) == {"modules"}


def test_slow_lr_moves_attention_at_every_tick_but_a_tenth_as_far(small_bank):
    """Adam's first step has length lr per weight, whatever the gradient: so lengths compare as rates."""
    trainer = small_trainer(small_bank, "rim-slow-lr")
    clock: Clock = trainer.clocks["fast"]
    for p in clock.parameters:
        p.grad = torch.ones_like(p)
    before = snapshot(trainer.agent)
    clock.optimizer.step()
    groups = trainer.agent.parameter_groups()
    far = {g: (groups[g][0] - before[g][0]).abs().max().item() for g in GROUPS}
    assert far["attention"] == pytest.approx(0.1 * far["modules"], rel=1e-3)
    assert trainer.config.scales.clock_of_tick(4) == "fast"


@pytest.mark.parametrize(
    "scales, sentence",
    [
        ({"fast": ("modules", "encoder", "heads")}, "'attention' is on no clock"),
        ({"slow": ("attention",)}, "'attention' is named 2 times"),
        ({"fast": ("module",)}, "did you mean 'modules'"),
        ({"fast_span": 0}, "fast_span is 0"),
        ({"fast_lr": -1.0}, "fast_lr is -1.0"),
        ({"slower": (("attention", 0.0),)}, "slower"),
    ],
)
def test_impossible_time_scales_get_one_sentence(scales, sentence):
    with pytest.raises(ml.UserError, match=sentence):
        TimeScales(**scales)


def test_spans_must_divide_the_rollout():
    with pytest.raises(ml.UserError, match="do not divide"):
        ml.TrainConfig(method="rim", steps=40, timescales=TimeScales(fast_span=30))


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_makes_clocks_that_cover_its_groups(name):
    method = METHODS[name]
    agent = ml.Agent(method.agent_config(ml.AgentConfig()))
    clocks = make_clocks(agent, method.timescales)
    on_clocks = [id(p) for clock in clocks.values() for p in clock.parameters]
    frozen = [id(p) for g in method.timescales.frozen for p in agent.parameter_groups()[g]]
    assert sorted(on_clocks + frozen) == sorted(id(p) for p in agent.parameters())


def test_the_matched_lstm_has_as_many_parameters_as_the_rim():
    count = {}
    for name in ("rim", "lstm-matched", "lstm"):
        controller = ml.Agent(METHODS[name].agent_config(ml.AgentConfig())).controller
        count[name] = sum(p.numel() for p in controller.parameters())
    assert count["lstm-matched"] == pytest.approx(count["rim"], rel=0.01)
    assert count["lstm"] != pytest.approx(count["rim"], rel=0.05), "the default LSTM would do: nothing is tested"
