"""Evaluation after adaptation: before is the agent as given, after is its adapted copy, the agent stays as it is."""

import copy
import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch

import metarim_lite as ml
from metarim_lite.training import Trainer, held_out_bank
from metarim_lite.training.methods import method
from metarim_lite.training.ppo import cut_into_spans, ppo_loss
from metarim_lite.training.rollouts import Player
from metarim_lite.training.timescales import find_groups

TASK = "BabyAI-GoToObjS6-v1"
AGENT = ml.AgentConfig(num_modules=4, active=2, hidden_size=8, input_size=16, channels=4, head_size=8)
CONFIG = ml.TrainConfig(
    num_envs=16, steps=20, train_levels=60, seed=3, device="cpu", ppo=ml.PPOConfig(minibatches=2),
    timescales=dict(slow_every=2, slow_span=20),
)  # fmt: skip
ONLINE, PER_TASK = "meta-rim", "meta-rim-per-task"


def new_agent(controller="rim"):
    torch.manual_seed(7)
    return ml.Agent(dataclasses.replace(AGENT, controller=controller, lstm_size=16))


def adapted_by(name, agent, **how):
    return ml.evaluate_adaptation(agent, TASK, name, **({"config": CONFIG, "episodes": 40} | how))


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("name", [ONLINE, PER_TASK])
def test_no_update_changes_nothing(name):
    agent = new_agent()
    for nothing in ({"updates": 0}, {"frames": 0}):
        found = adapted_by(name, agent, **nothing)
        assert same(found.agent, agent) and found.agent is not agent
        assert np.array_equal(found.before.successes, found.after.successes)
        assert (found.frames, found.updates, found.gain.value, len(found.curve)) == (0, 0, 0, 1)


@pytest.mark.parametrize("name", [ONLINE, PER_TASK])
def test_the_agent_is_left_as_it_was_bit_for_bit(name):
    agent = new_agent()
    kept = copy.deepcopy(agent)
    found = adapted_by(name, agent, updates=3)
    assert same(agent, kept) and not same(found.agent, agent)
    assert all(p.requires_grad and p.grad is None for p in agent.parameters())


@pytest.mark.parametrize("name", [ONLINE, PER_TASK])
def test_before_is_the_given_agent_and_after_the_adapted_one(name):
    agent = new_agent()
    wild = dataclasses.replace(
        CONFIG, timescales=dict(slow_every=2, slow_span=20, fast_lr=0.1 if name == ONLINE else 30.0)
    )
    found = adapted_by(name, agent, updates=4, every=2, config=wild)
    held_out = held_out_bank((TASK,), 40, 60)
    for evaluation, judged in ((found.before, agent), (found.after, found.agent)):
        by_hand = ml.evaluate(judged, held_out, 40)
        assert np.array_equal(evaluation.successes, by_hand.successes) and evaluation.seen == by_hand.seen == 0
    assert not np.array_equal(found.before.successes, found.after.successes)
    assert [point.updates for point in found.curve] == [0, 2, 4]
    assert (found.curve[0].success, found.curve[-1].success) == (found.before.success, found.after.success)
    paired = [int(b) - int(a) for a, b in zip(found.before.successes, found.after.successes, strict=True)]
    assert found.gain.value == pytest.approx(sum(paired) / 40) and found.gain.low <= found.gain.value <= found.gain.high


def test_per_task_is_gradient_descent_on_the_support_by_the_fast_groups():
    """Two rounds, of two steps and of one: the same as a plain loop over parameters, without copies or vmap."""
    agent = new_agent()
    changed = dict(inner_steps=2, fast_lr=2.0, tasks=2)
    config = dataclasses.replace(CONFIG, timescales=changed)
    found = adapted_by(PER_TASK, agent, updates=3, config=config)
    assert (found.updates, found.frames) == (3, 2 * 20 * 8) and found.spent == {"frames/fast": 320, "inner_steps": 3}

    hand = copy.deepcopy(agent)
    scales = dataclasses.replace(method(PER_TASK).timescales, **changed)
    groups = find_groups(hand, scales)
    fast = [p for group in scales.fast for p in groups[group]]
    worlds = ml.GridWorlds(ml.LevelBank.generate(TASK, seeds=range(60)), 8, seed=3)
    player = Player(worlds, hand, torch.Generator().manual_seed(7))
    for steps in (2, 1):
        support = cut_into_spans(player.collect(hand, 20, 20), 20, config.ppo)
        for _ in range(steps):
            grads = torch.autograd.grad(ppo_loss(hand, support, config.ppo)[0], fast)
            norm = sum(float(g.square().sum()) for g in grads) ** 0.5
            with torch.no_grad():
                for p, g in zip(fast, grads, strict=True):
                    p -= 2.0 * min(1.0, config.ppo.max_grad_norm / norm) * g
    for (key, ours), by_hand in zip(found.agent.named_parameters(), hand.parameters(), strict=True):
        assert torch.allclose(ours, by_hand, atol=1e-4), key
    ours, theirs = found.agent.parameter_groups(), agent.parameter_groups()
    assert {g for g in ours if all(map(torch.equal, ours[g], theirs[g]))} == {"attention"}


def test_online_is_training_that_begins_with_the_agent():
    agent = new_agent()
    found = adapted_by(ONLINE, agent, updates=4)
    trainer = Trainer(dataclasses.replace(CONFIG, method=ONLINE, level=TASK, agent=AGENT))
    trainer.agent.load_state_dict(agent.state_dict())
    for _ in range(4):
        trainer.tick()
    assert same(found.agent, trainer.agent) and found.frames == trainer.counters["frames"] == 4 * 20 * 16
    assert found.spent["frames/slow"] == 320 and found.spent["updates/attention"] > 0


def test_with_fast_only_what_is_on_the_slow_clock_rests():
    agent = new_agent()
    for fast_only in (True, False):
        found = adapted_by(ONLINE, agent, updates=3, fast_only=fast_only)
        ours, theirs = found.agent.parameter_groups(), agent.parameter_groups()
        still = {g for g in ours if all(map(torch.equal, ours[g], theirs[g]))}
        assert still == ({"attention"} if fast_only else set())
        assert found.fast_only == fast_only and ("fast groups only" in str(found)) == fast_only


@pytest.mark.parametrize("name", [ONLINE, PER_TASK])
def test_frames_are_rounded_up_to_whole_rollouts(name):
    worlds = 16 if name == ONLINE else 4
    found = adapted_by(name, new_agent(), frames=20 * worlds + 1)
    assert found.frames == 2 * 20 * worlds


def test_an_untrained_agent_gains():
    agent = new_agent("lstm")
    config = dataclasses.replace(CONFIG, num_envs=64, train_levels=100, timescales={})
    found = ml.evaluate_adaptation(
        agent, "BabyAI-GoToObjS4-v0", "lstm", frames=20_000, episodes=300, config=config
    )  # fmt: skip
    assert found.after.reward.low > found.before.reward.high and found.gain.low > 0


def test_levels_of_ones_own_are_a_task(small_bank):
    found = ml.evaluate_adaptation(new_agent(), small_bank, updates=1, episodes=30, config=CONFIG)
    assert found.task == "BabyAI-GoToObjS6-v1" and found.before.episodes == 30 and found.before.seen is not None
    given = ml.evaluate_adaptation(
        new_agent(), small_bank, updates=1, config=CONFIG, held_out=small_bank.select(range(9))
    )
    assert given.after.episodes == 9


@pytest.mark.parametrize(
    "how, sentence",
    [
        ({"frames": 10, "updates": 1}, "frames=10 and updates=1 say twice"),
        ({"updates": -1}, "updates must be a whole number of at least 0, got -1"),
        ({"method": "lstm"}, "AgentConfig.controller is 'lstm', this one's is 'rim'"),
        ({"method": "meta-rin"}, "did you mean 'meta-rim'"),
        ({"agent": ml.UniformAgent()}, "UniformAgent has nothing that adapts"),
        ({"method": PER_TASK, "config": dataclasses.replace(CONFIG, timescales=dict(inner_steps=0))}, "does not adapt"),
    ],
)
def test_mistakes_get_a_sentence(how, sentence):
    with pytest.raises(ml.UserError, match=sentence):
        ml.evaluate_adaptation(**({"agent": new_agent(), "task": TASK, "config": CONFIG} | how))


def test_numbers_that_are_not_finite_stop_it():
    agent = new_agent()
    with torch.no_grad():
        agent.parameter_groups()["modules"][0].fill_(1e38)
    for name in (ONLINE, PER_TASK):
        with pytest.raises(ml.errors.Diverged, match="not finite after"):
            adapted_by(name, agent, updates=2)


def test_metarim_adapt_prints_before_and_after(tmp_path):
    ml.save_agent(tmp_path / "agent", new_agent())
    words = ("adapt", "agent.safetensors", TASK, "--method", PER_TASK, "--updates", "2", "--every", "1")
    small = ("--episodes", "20", "--num-envs", "32", "--train-levels", "30")
    command = [sys.executable, "-m", "metarim_lite.cli", *words, *small]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, before, after, gain = done.stdout.splitlines()
    assert "frames, 1 updates: success " in first and before.startswith("before: success ")
    assert after.startswith("after:  success ") and f"on {TASK} ({PER_TASK}, fast groups only)" in gain
