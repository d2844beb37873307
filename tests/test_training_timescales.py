"""Fast and slow: which parameters move at which tick, and which must not, bit for bit."""

import contextlib
import dataclasses

import pytest
import torch

import metarim_lite as ml
from metarim_lite.errors import Diverged
from metarim_lite.models import GROUPS
from metarim_lite.training import METHODS, Clock, PPOConfig, TimeScales, Trainer, make_clocks, spending
from metarim_lite.training.timescales import history

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
        ({"slower": (("attention", 1e30),)}, "a rate of at most 1000"),
        ({"fast_lr": 1e38}, "fast_lr is 1e\\+38; it must be greater than 0 and at most 1000"),
        ({"slow_lr": float("inf")}, "slow_lr is inf"),
        ({"seldom": (("attention", 0),)}, "a whole number"),
        ({"seldom": ("attention", 2)}, "seldom is"),
        ({"slower": (("attention", 0.1, 2),)}, "a tuple of pairs"),
        ({"slower": (("attention", True),)}, "a number"),
        ({"seldom": (("attention", 2.5),)}, "a whole number"),
        ({"fast_minibatches": -1}, "fast_minibatches is -1"),
        ({"memory": "life"}, "unknown memory 'life'; known: episode, task"),
        ({"task_episodes": 0}, "task_episodes is 0"),
        ({"adaptation": "per-task", "fast_minibatches": 2}, "no fast updates in minibatches"),
    ],
)
def test_impossible_time_scales_get_one_sentence(scales, sentence):
    with pytest.raises(ml.UserError, match=sentence):
        TimeScales(**scales)


def test_the_largest_rates_there_are_end_in_a_sentence(small_bank):
    scales = {"fast_lr": 1000.0, "slow_lr": 1000.0, "fast_span": 5, "slow_span": 20}
    config = ml.TrainConfig(num_envs=8, steps=10, frames=8 * 10 * 9, agent=SMALL, timescales=scales, device="cpu")
    with contextlib.suppress(Diverged):
        ml.train(config, bank=small_bank, progress=False)


@pytest.mark.parametrize("adaptation", ["online", "per-task"])
def test_a_clock_without_parameters_is_refused_when_the_trainer_is_made(small_bank, adaptation):
    scales = {"adaptation": adaptation, "fast": ("encoder", "modules", "heads"), "slow": ("attention",)}
    config = ml.TrainConfig(method="lstm", num_envs=32, agent=SMALL, timescales=scales | {"learn_start": False})
    with pytest.raises(
        ml.UserError, match=r"no parameter of this agent is in \('attention',\).*an LSTM has no attention"
    ):
        Trainer(config, small_bank)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"imitate": True, "timescales": {"memory": "task"}}, "memory 'task' has no meaning"),
        ({"num_envs": 1, "timescales": {"slow_span": 1}, "ppo": PPOConfig(minibatches=1)}, "one world and one step"),
        ({"num_envs": 8, "timescales": {"fast_minibatches": 17}}, "16 sequences cannot fill 17 minibatches"),
        ({"timescales": {"fast_steps": 50}}, "spans of 20 steps do not divide a rollout of 50"),
    ],
)
def test_time_scales_that_do_not_fit_a_run_get_one_sentence(change, said):
    with pytest.raises(ml.UserError, match=said):
        ml.TrainConfig(**change)


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


# What a method spends

# In 240 steps of a world: (updates of modules, updates of attention, steps played for the slow clock)
SPENT = {
    "lstm": (96, 0, 0), "lstm-matched": (96, 0, 0), "rim": (96, 96, 0), "rim-long-span": (48, 48, 0),
    "rim-long-span-matched": (96, 96, 0), "rim-slow-lr": (96, 96, 0), "rim-slow-lr-matched": (96, 96, 0),
    "rim-meta-updates": (64, 16, 0), "rim-long-memory": (96, 96, 0), "rim-frozen-attention": (96, 0, 0),
    "meta-rim": (64, 16, 80), "meta-rim-long-memory": (64, 16, 80), "meta-rim-reversed": (16, 64, 80),
    "meta-rim-per-task": (32, 32, 160), "meta-lstm": (64, 0, 80),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(METHODS))
def test_what_each_method_spends_in_240_steps_a_world(name):
    scales, played, ticks = METHODS[name].timescales, 0, 0
    while played < 240:
        ticks += 1
        spent = spending(scales, PPOConfig(), 40, ticks)
        played = sum(spent.frames.values())
    assert played == 240
    lstm = METHODS[name].controller == "lstm"
    attention = 0 if lstm else spent.updates.get("attention", 0)
    assert (spent.updates["modules"], attention, spent.frames.get("slow", 0)) == SPENT[name]


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_plan_of_what_is_spent_is_what_is_counted(small_bank, name):
    """Counted apart: a group is updated where Adam steps and its parameters have a gradient."""
    short = {"fast_span": 5, "slow_span": 20, "slow_every": 2, "inner_steps": 3}
    short |= {"fast_steps": 15} if METHODS[name].timescales.fast_steps else {}
    config = ml.TrainConfig(
        method=name, level="BabyAI-GoToObjS6-v1", num_envs=16, steps=10, agent=SMALL, timescales=short,
        ppo=PPOConfig(epochs=3, minibatches=3), device="cpu",
    )  # fmt: skip
    trainer, counted = Trainer(config, small_bank), {}
    for clock in trainer.clocks.values():
        original = clock.optimizer.step

        def step(clock=clock, original=original):
            for group, parameters in clock.by_group.items():
                counted[group] = counted.get(group, 0) + all(p.grad is not None for p in parameters)
            original()

        clock.optimizer.step = step
    played = {"fast": 0, "slow": 0}
    collect = trainer.player.collect
    spans = {5: "fast", 20: "slow"}
    trainer.player.collect = lambda agent, T, span: (
        played.update({spans[span]: played[spans[span]] + 16 * T}), collect(agent, T, span)
    )[1]  # fmt: skip
    for _ in range(5):
        trainer.tick()
    assert {k.removeprefix("updates/"): v for k, v in trainer.counters.items() if k.startswith("updates/")} == counted
    assert {c: trainer.counters.get(f"frames/{c}", 0) for c in played} == played
    assert sum(played.values()) == trainer.counters["frames"]
    plan = spending(config.scales, config.ppo, 10, 5, 16, counted)
    assert plan.updates == counted and plan.frames == {c: n for c, n in played.items() if n}
    per_task = config.scales.adaptation == "per-task"
    assert plan.inner_steps == trainer.counters.get("inner_steps", 0) == 15 * per_task


def test_a_seldom_group_stands_still_bit_for_bit_between_its_updates(small_bank):
    trainer = small_trainer(small_bank, "rim", seldom=(("attention", 4),))
    clock, moves = trainer.clocks["fast"], []
    original = clock.optimizer.step

    def step():
        before = snapshot(trainer.agent)
        original()
        moves.append(moved(trainer.agent, before))

    clock.optimizer.step = step
    trainer.tick()
    others = {"encoder", "modules", "heads"}
    assert moves == [{*others, "attention"} if i % 4 == 0 else others for i in range(16)]


def test_the_matched_controls_match_what_they_are_controls_of():
    rim, meta, matched = (
        spending(METHODS[name].timescales, PPOConfig(), 40, ticks)
        for name, ticks in (("rim", 6), ("meta-rim", 5), ("rim-long-span-matched", 3))
    )
    assert rim.updates == matched.updates and rim.frames == matched.frames
    assert METHODS["rim-slow-lr-matched"].timescales.slower == (
        ("attention", meta.updates["attention"] / rim.updates["attention"]),
    )


# Memory


def test_history_of_a_span_with_hand_worked_clearings():
    resets = torch.tensor([[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]).bool().T  # (4 steps, 4 sequences)
    # history: 1 2 3 4 | 1 2 1 2 | 1 1 1 2 | 1 2 3 4
    assert history(resets).item() == pytest.approx((10 + 6 + 5 + 10) / 16)
    assert history(torch.zeros(20, 3, dtype=torch.bool)).item() == 10.5
    assert history(torch.ones(20, 3, dtype=torch.bool)).item() == 1.0


def test_memory_of_a_task_goes_on_across_episodes_and_is_cleared_with_the_visit(small_bank):
    trainer = small_trainer(small_bank, "meta-rim-long-memory", task_episodes=3)
    rollout = trainer.player.collect(trainer.agent, 400, 400)
    ended = rollout.dones.cumsum(0)
    assert torch.equal(rollout.resets[1:], (rollout.dones & (ended % 3 == 0))[:-1])
    assert int(ended.max()) > 6 and rollout.resets[0].all()


def test_gradients_run_across_the_end_of_an_episode_that_clears_nothing(small_bank):
    """What is seen before an episode's end moves what is said after it, unless the memory was cleared."""
    agent = ml.Agent(SMALL)
    trainer = small_trainer(small_bank, "rim")
    seen = trainer.player.collect(agent, 10, 10).observation
    told = {}
    for cleared in (False, True):
        state = agent.initial_state(8)
        state = type(state)(*(x.clone().requires_grad_() for x in state))
        resets = torch.zeros(10, 8, dtype=torch.bool)
        resets[5] = cleared
        out, _ = agent(seen, state, resets)
        told[cleared] = torch.autograd.grad(out.value[5:].sum(), state.h, allow_unused=True)[0]
    assert told[False].abs().sum() > 0 and not told[True].any()


def test_watched_history_grows_with_the_memory(small_bank):
    told = {}
    for name in ("meta-rim", "meta-rim-long-memory"):
        trainer = small_trainer(small_bank, name, slow_span=160)
        watched = [trainer.tick()[0] for _ in range(3)]
        told[name] = float(watched[2]["slow/history"])
        assert watched[0]["fast/history"] <= 3.0
    assert told["meta-rim"] < told["meta-rim-long-memory"] <= 80.5


def test_a_control_differs_from_the_method_it_controls_in_one_thing():
    """Else its row in a table says nothing: rim-slow-lr from rim in attention's rate alone, and so on."""
    rim = dataclasses.asdict(METHODS["rim"].timescales)
    for name, alone in (
        ("rim-slow-lr", {"slower"}), ("rim-slow-lr-matched", {"slower"}), ("rim-long-span", {"fast_span"}),
        ("rim-long-span-matched", {"fast_span", "fast_minibatches"}), ("rim-long-memory", {"memory"}),
    ):  # fmt: skip
        other = dataclasses.asdict(METHODS[name].timescales)
        assert {key for key in rim if rim[key] != other[key]} == alone, name
    meta, long = (dataclasses.asdict(METHODS[n].timescales) for n in ("meta-rim", "meta-rim-long-memory"))
    assert {key for key in meta if meta[key] != long[key]} == {"memory"}


def test_minibatches_of_its_own_are_the_fast_clock_s_alone():
    scales = TimeScales(
        fast=("encoder", "modules", "heads"), slow=("attention",), slow_every=1, fast_minibatches=4, slow_span=40
    )
    assert [scales.minibatches(clock, 8) for clock in ("fast", "slow")] == [4, 8]
    assert spending(scales, PPOConfig(epochs=1, minibatches=8), 40, 2).updates == {
        "encoder": 4, "modules": 4, "heads": 4, "attention": 8
    }  # fmt: skip
