"""Per-task adaptation as it is asked for: parts of groups, settings that do not fit, runs that go on."""

import re
from dataclasses import replace

import pytest
import torch
from per_task import LEVEL, PER_TASK, PPO, TINY, make_trainer

import metarim_lite as ml
from metarim_lite.models import GROUPS
from metarim_lite.training import METHODS, PPOConfig, TimeScales, Trainer, train
from metarim_lite.training.timescales import find_groups, make_clocks

# Parts of groups


def test_meta_lstm_puts_the_input_to_hidden_weights_on_the_slow_clock(bank):
    scales = replace(METHODS["meta-lstm"].timescales, fast_span=5, slow_span=8, slow_every=1)
    assert METHODS["meta-lstm"].timescales.slow == ("modules.weight_ih",)
    config = ml.TrainConfig(method="meta-lstm", level=LEVEL, num_envs=12, steps=10, agent=TINY, timescales=scales)
    trainer = Trainer(config, bank)
    for slow in (False, True, False, True):
        before = {n: p.detach().clone() for n, p in trainer.agent.named_parameters()}
        trainer.tick()
        changed = {n for n, p in trainer.agent.named_parameters() if not torch.equal(p, before[n])}
        assert changed == ({"controller.lstm.weight_ih_l0"} if slow else set(before) - {"controller.lstm.weight_ih_l0"})


def test_a_part_of_a_group_leaves_the_whole_and_together_they_are_exhaustive():
    agent = ml.Agent(TINY)
    scales = TimeScales(fast=GROUPS, slow=("attention.C_", "heads.critic"))
    groups = find_groups(agent, scales)
    names = {id(p): n for n, p in agent.named_parameters()}
    assert {names[id(p)] for p in groups["attention.C_"]} == {"controller.C_qkv", "controller.C_out"}
    assert all(names[id(p)].startswith("critic") for p in groups["heads.critic"])
    assert all(names[id(p)].startswith("actor") for p in groups["heads"])
    everything = [id(p) for group in groups.values() for p in group]
    assert sorted(everything) == sorted(id(p) for p in agent.parameters())
    assert set(agent.parameter_groups()) == set(GROUPS)


# Bad input


@pytest.mark.parametrize(
    "scales, sentence",
    [
        ({"adaptation": "per-tsk"}, "unknown adaptation 'per-tsk'; did you mean 'per-task'"),
        ({"meta_gradient": "second-order"}, "unknown meta gradient 'second-order'"),
        ({"adaptation": "online", "meta_gradient": "through-adaptation"}, "needs adaptation='per-task'"),
        ({"inner_steps": -1}, "inner_steps is -1"),
        ({"tasks": 0}, "tasks is 0"),
        ({"slower": (("modules", 0.5),)}, "slower"),
        ({"slow": ("attention", "module.W_in")}, "unknown parameter group 'module.W_in'"),
        ({"slow": ("attention", "modules.W_in", "modules.W_in")}, "'modules.W_in' is named 2 times"),
    ],
)
def test_impossible_time_scales_get_one_sentence(scales, sentence):
    with pytest.raises(ml.UserError, match=re.escape(sentence)):
        replace(PER_TASK, **scales)


@pytest.mark.parametrize("parts", [("modules.weight_ih",), ("modules.W_", "modules.W_in")])
def test_a_part_that_no_parameter_belongs_to_is_refused_with_the_names_there_are(parts):
    with pytest.raises(ml.UserError, match=f"'{parts[-1]}' names no parameter of 'modules'.*controller.b"):
        make_clocks(ml.Agent(TINY), TimeScales(slow=parts))


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"tasks": 5}, "12 worlds cannot be shared by 5 tasks"),
        ({"tasks": 121}, "leaves one of 121 tasks without levels"),
        ({"ppo": PPOConfig(minibatches=5)}, "4 worlds of a task cannot fill 5 minibatches"),
        ({"controller": "lstm", "learn_start": False}, "no parameter of this agent is in ('attention',)"),
        ({"num_envs": 3, "slow_span": 1, "ppo": PPOConfig(minibatches=1)}, "one world of a task and one step"),
        ({"num_envs": 3, "steps": 1, "fast_span": 1, "ppo": PPOConfig(minibatches=1)}, "one world of a task and one"),
        ({"controller": "lstm", "fast": ("attention",), "slow": ("encoder", "modules", "heads")},
         "needs parameters on both clocks"),
    ],
)  # fmt: skip
def test_tasks_that_do_not_fit_are_refused_before_the_first_tick(bank, options, sentence):
    with pytest.raises(ml.UserError, match=re.escape(sentence)):
        make_trainer(bank, **options)


def test_two_worlds_of_a_task_and_two_steps_are_enough(bank):
    trainer = make_trainer(bank, num_envs=3, steps=2, fast_span=2, slow_span=2, ppo=PPOConfig(minibatches=1))
    watched, _ = trainer.tick()
    assert all(number.isfinite() for number in watched.values())


def test_memory_may_live_across_the_episodes_of_a_task(bank):
    """A world has one task, so only the clearing changes: at every second end of an episode."""
    seen = {}
    for memory in ("episode", "task"):
        trainer = make_trainer(bank, memory=memory, task_episodes=2)
        seen[memory] = trainer.player.collect(trainer.agent, 200, 200)
    ended = seen["task"].dones.cumsum(0)
    assert torch.equal(seen["task"].resets[1:], (seen["task"].dones & (ended % 2 == 0))[:-1])
    assert torch.equal(seen["episode"].resets[1:], seen["episode"].dones[:-1])
    assert all(number.isfinite() for number in trainer.tick()[0].values())


# Runs that survive


def test_a_per_task_run_stopped_at_every_report_equals_one_never_stopped(tmp_path, bank):
    class Stop(Exception):
        pass

    def stop(_):
        raise Stop

    config = ml.TrainConfig(
        method="meta-rim-per-task", level=LEVEL, num_envs=12, steps=10, frames=12 * 18 * 3, agent=TINY, ppo=PPO,
        timescales=PER_TASK, report_every=1, device="cpu",
    )  # fmt: skip
    whole = train(config, folder=tmp_path / "whole", progress=False, bank=bank)
    parts, stops = None, 0
    while parts is None:
        try:
            parts = train(config, folder=tmp_path / "parts", progress=False, bank=bank, on_report=stop)
        except Stop:
            stops += 1
    assert stops == 3
    a, b = whole.agent.state_dict(), parts.agent.state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)
    times = ("seconds", "frames_per_second")
    assert [{k: v for k, v in m.items() if k not in times} for m in whole.metrics] == [
        {k: v for k, v in m.items() if k not in times} for m in parts.metrics
    ]
    assert {"slow/movement", "slow/reward_before", "slow/reward_after"} <= set(whole.metrics[0])


def test_the_same_seed_gives_the_same_run_and_another_seed_another(bank):
    def final(seed):
        trainer = make_trainer(bank, seed=seed)
        trainer.tick()
        return torch.cat([p.detach().flatten() for p in trainer.agent.parameters()])

    assert torch.equal(final(0), final(0))
    assert not torch.equal(final(0), final(1))
