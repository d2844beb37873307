"""Imitation: demonstrations read as rollouts, a cross-entropy in place of PPO, and reinforcement learning after it."""

import dataclasses
import shutil

import pytest
import torch
from safetensors.torch import load_file

import metarim_lite as ml
from metarim_lite.bots import demonstrate, demonstrations
from metarim_lite.envs import Observation
from metarim_lite.models import GROUPS
from metarim_lite.models.agent import UniformAgent
from metarim_lite.training import METHODS, PPOConfig, TimeScales, Trainer, train
from metarim_lite.training.imitation import Reader, imitation_loss
from metarim_lite.training.ppo import cut_into_spans

LEVEL = "BabyAI-GoToObjS4-v0"
SMALL = ml.AgentConfig(num_modules=4, active=2, hidden_size=8, lstm_size=32, input_size=32, channels=8, head_size=32)
SCALES = TimeScales(fast=("encoder", "modules", "heads"), slow=("attention",), fast_span=5, slow_span=20, slow_every=2)
CONFIG = ml.TrainConfig(
    level=LEVEL, imitate=True, num_envs=16, steps=10, train_levels=60, frames=16 * 10 * 12, report_every=2,
    agent=SMALL, ppo=PPOConfig(epochs=1, minibatches=2), timescales=SCALES,
)  # fmt: skip


@pytest.fixture(scope="module")
def bank():
    return ml.LevelBank.generate(LEVEL, range(60))


@pytest.fixture(scope="module")
def shown(bank):
    return demonstrate(bank)


@pytest.mark.parametrize("controller", ["rim", "lstm"])
@torch.no_grad()
def test_a_rollout_of_demonstrations_is_the_agent_reading_each_episode_from_the_start(shown, controller):
    """Independent reference: every episode alone, step by step, from a cleared state."""
    agent = ml.Agent(dataclasses.replace(SMALL, controller=controller))
    reader = Reader(shown, agent, B=3, seed=5)
    rollouts = [reader.collect(agent, 10, 5), reader.collect(agent, 20, 20)]
    pieces = zip(*((r.resets, r.dones, r.actions, r.log_probs, r.values, r.rewards) for r in rollouts), strict=True)
    resets, dones, actions, log_probs, values, rewards = (torch.cat(p) for p in pieces)
    images = torch.cat([r.observation.image for r in rollouts])
    whole = 0
    for b in range(3):
        assert resets[0, b]
        for t in resets[:, b].nonzero()[:, 0].tolist():
            ends = dones[t:, b].nonzero()[:, 0]
            if not len(ends):
                continue
            length, whole = int(ends[0]) + 1, whole + 1
            same = [
                e for e in range(len(shown.lengths))
                if shown.lengths[e] == length and torch.equal(images[t : t + length, b], part(shown.image, shown, e))
                and torch.equal(actions[t : t + length, b], part(shown.actions, shown, e).long())
            ]  # fmt: skip
            assert same, "no such demonstration"
            state = None
            for i in range(length):
                seen = [x[:, b : b + 1] for x in step_of(rollouts, t + i)]
                out, state = agent(Observation(*seen), state, torch.zeros(1, 1, dtype=torch.bool))
                log_pi = out.logits[0, 0].log_softmax(-1)[actions[t + i, b]]
                assert float(log_pi) == pytest.approx(float(log_probs[t + i, b]), abs=1e-5)
                assert float(out.value) == pytest.approx(float(values[t + i, b]), abs=1e-5)
                assert (float(rewards[t + i, b]) > 0) == (i == length - 1)
            assert float(rewards[t + length - 1, b]) in {float(shown.reward[e]) for e in same}
    assert whole >= 6


def part(x, shown, e):
    return x[shown.begins[e] : shown.begins[e] + shown.lengths[e]]


def step_of(rollouts, t):
    """The observations of step t of two rollouts in a row, each [1, B, …]."""
    first = rollouts[0].dones.shape[0]
    rollout, t = (rollouts[0], t) if t < first else (rollouts[1], t - first)
    return [x[t : t + 1] for x in rollout.observation]


def test_every_demonstration_is_read_sooner_or_later(shown):
    agent = ml.Agent(SMALL)
    reader = Reader(shown, agent, B=16)
    read = set()
    for _ in range(20):
        read |= set(reader.episode.tolist())
        reader.collect(agent, 10, 10)
    assert len(read) > 0.8 * len(shown.lengths)


def test_the_loss_is_the_cross_entropy_of_the_bot_s_actions(shown):
    agent = ml.Agent(SMALL)
    ppo = PPOConfig(value=0.25, entropy=0.125)
    spans = cut_into_spans(Reader(shown, agent, B=4).collect(agent, 10, 5), 5, ppo)
    loss, watched = imitation_loss(agent, spans, ppo)
    out, _ = agent(spans.observation, spans.state, spans.resets)
    cross_entropy = torch.nn.functional.cross_entropy(out.logits.flatten(0, 1), spans.actions.flatten())
    entropy = torch.distributions.Categorical(logits=out.logits).entropy().mean()
    value_loss = torch.nn.functional.mse_loss(out.value, spans.returns) / 2
    assert float(watched["cross_entropy"]) == pytest.approx(cross_entropy.item(), rel=1e-5)
    assert loss.item() == pytest.approx((cross_entropy + 0.25 * value_loss - 0.125 * entropy).item(), rel=1e-5)
    right = (out.logits.argmax(-1) == spans.actions).float().mean()
    assert float(watched["accuracy"]) == pytest.approx(float(right))


def held_out_cross_entropy(agent, bank):
    rollout = Reader(demonstrate(bank), agent, B=64).collect(agent, 20, 20)
    return float(-rollout.log_probs.mean())


@pytest.mark.parametrize("method", ["lstm", "meta-rim"])
def test_imitation_lowers_held_out_cross_entropy_and_lifts_success_far_above_random(method):
    bank, held_out = ml.LevelBank.generate(LEVEL, range(120)).split(0.5)
    scales = dataclasses.replace(METHODS[method].timescales, fast_span=10, slow_span=20)
    config = dataclasses.replace(
        CONFIG, method=method, timescales=scales, num_envs=32, steps=20, frames=12_000, ppo=PPOConfig(minibatches=4)
    )
    before = held_out_cross_entropy(Trainer(config, bank).agent, held_out)
    run = train(config, bank=bank, progress=False)
    after = held_out_cross_entropy(run.agent, held_out)
    random = ml.evaluate(UniformAgent(), held_out, len(held_out))
    learned = ml.evaluate(run.agent, held_out, len(held_out))
    assert after < 0.6 * before
    assert learned.reward.low > random.reward.high + 0.1
    assert "accuracy" in "".join(run.metrics[-1]) and "success" not in run.metrics[-1]


def test_a_tick_of_imitation_moves_the_groups_of_its_clock_and_no_other(bank):
    trainer = Trainer(dataclasses.replace(CONFIG, method="meta-rim"), bank)
    fast, slow = {"encoder", "modules", "heads"}, {"attention"}
    for expected in (fast, fast, slow, fast):
        before = {g: [p.detach().clone() for p in ps] for g, ps in trainer.agent.parameter_groups().items()}
        trainer.tick()
        now = trainer.agent.parameter_groups()
        moved = {g for g in GROUPS if any(not torch.equal(a, b) for a, b in zip(now[g], before[g], strict=True))}
        assert moved == expected


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imitation") / "run"
    train(CONFIG, folder=folder, progress=False)
    return folder


def test_stopped_and_resumed_equals_never_stopped(undisturbed, tmp_path):
    train(dataclasses.replace(CONFIG, frames=CONFIG.frames // 2), folder=tmp_path / "run", progress=False)
    (tmp_path / "run" / "agent.safetensors").unlink()
    resumed = train(CONFIG, folder=tmp_path / "run", progress=False)
    a, b = (load_file(f / "agent.safetensors") for f in (undisturbed, tmp_path / "run"))
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    assert resumed.metrics[-1]["frames"] >= CONFIG.frames


def test_a_run_that_read_other_demonstrations_is_refused(undisturbed, tmp_path, monkeypatch):
    folder = shutil.copytree(undisturbed, tmp_path / "run")
    monkeypatch.setattr(
        "metarim_lite.training.trainer.demonstrate", lambda bank, **_: demonstrations.demonstrate(bank.select([0, 1]))
    )
    with pytest.raises(ml.UserError, match="'demonstrations'"):
        train(CONFIG, folder=folder, progress=False)


def test_reinforcement_learning_starts_from_the_imitating_agent(undisturbed, tmp_path, bank):
    config = dataclasses.replace(CONFIG, imitate=False, start=str(undisturbed))
    imitating = load_file(undisturbed / "agent.safetensors")
    started = Trainer(config, bank).agent.state_dict()
    assert all(torch.equal(started[k], imitating[k]) for k in imitating)

    start = shutil.copytree(undisturbed, tmp_path / "start")
    config = dataclasses.replace(config, start=str(start))
    train(dataclasses.replace(config, frames=config.frames // 2), folder=tmp_path / "run", progress=False)
    shutil.rmtree(start)  # a run that is under way does not need it any more
    assert train(config, folder=tmp_path / "run", progress=False).finished


def test_a_start_of_other_sizes_is_refused_with_the_field_named(undisturbed, bank):
    larger = dataclasses.replace(CONFIG, start=str(undisturbed), agent=dataclasses.replace(SMALL, hidden_size=16))
    with pytest.raises(ml.UserError, match=r"AgentConfig.hidden_size is 8, this agent's 16"):
        Trainer(larger, bank)
    with pytest.raises(ml.UserError, match="unknown agent"):
        Trainer(dataclasses.replace(CONFIG, start="nobody"), bank)


def test_what_cannot_imitate_is_refused():
    with pytest.raises(ml.UserError, match="adapts per task"):
        dataclasses.replace(CONFIG, method="meta-rim-per-task", timescales=None)
    with pytest.raises(ml.UserError, match="learned from reward"):
        ml.experiments.ContinualConfig(base=CONFIG)


def test_an_imitator_makes_no_worlds(monkeypatch, small_bank):
    """It reads what the bot did; only the bot plays."""
    from metarim_lite.training import trainer

    monkeypatch.setattr(trainer, "GridWorlds", lambda *_, **__: pytest.fail("worlds that nobody plays in"))
    config = ml.TrainConfig(level="BabyAI-GoToObjS6-v1", num_envs=16, steps=20, imitate=True, device="cpu")
    trainer.Trainer(config, small_bank.select(range(4)))
