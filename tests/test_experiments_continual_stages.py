"""Stages of a sequence: what each plays, on whose levels, and how much less is forgotten with a yardstick."""

import dataclasses
import os
import signal

import pytest
import torch
from tiny_continual import AGENT, BASE, SCALES, SHORT, TASKS, with_yardstick

import metarim_lite as ml
from metarim_lite.experiments.continual import train_continually
from metarim_lite.experiments.stages import ContinualConfig, ContinualTrainer, check_shared
from metarim_lite.experiments.transfer import transfer
from metarim_lite.training import METHODS
from metarim_lite.training.ppo import PPOConfig, cut_into_spans
from metarim_lite.training.timescales import TimeScales
from metarim_lite.training.trainer import make_bank


@pytest.fixture(scope="module")
def banks():
    return [make_bank((task,), range(BASE.train_levels)) for task in TASKS]


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_goes_through_a_sequence(name, banks):
    base = dataclasses.replace(BASE, method=name, timescales=None, num_envs=16, steps=20)
    per_task = base.scales.adaptation == "per-task"
    for yardstick in ("none", "joint") if per_task else ("ewc",):
        config = dataclasses.replace(SHORT, base=base, tasks=TASKS[:2], frames=8 * 20, yardstick=yardstick)
        run = train_continually(config, progress=False, banks=banks[:2], held_out=[banks[1]] * 2)
        assert run.finished and "average_performance" in run.summary()
        last = {line["stage"]: line["frames"] for line in run.metrics}
        assert last[0] >= 160 and last[1] - last[0] >= 160, "a stage was cut short"
    if per_task:
        with pytest.raises(ml.UserError, match="yardstick 'replay' needs adaptation='online'"):
            dataclasses.replace(config, yardstick="replay")


def test_each_stage_plays_its_frames_however_large_a_tick_is(banks):
    base = dataclasses.replace(BASE, method="lstm", timescales=None, steps=20)
    tick = base.num_envs * base.steps
    for frames, ticks in ((1, 1), (tick, 1), (tick + 1, 2)):
        config = dataclasses.replace(SHORT, base=base, frames=frames)
        run = train_continually(config, progress=False, banks=banks, held_out=banks)
        last = [max(line["frames"] for line in run.metrics if line["stage"] == stage) for stage in range(3)]
        assert last == [ticks * tick * (stage + 1) for stage in range(3)] and len(run.areas()) == 3


def test_a_run_goes_on_with_its_own_levels_only(banks, tmp_path):
    def stop(_):
        os.kill(os.getpid(), signal.SIGINT)

    own = {"progress": False, "banks": banks, "held_out": banks}
    train_continually(SHORT, tmp_path, on_report=stop, **own)
    others = [make_bank((task,), range(100, 120)) for task in TASKS]
    with pytest.raises(ml.UserError, match="plays other levels"):
        train_continually(SHORT, tmp_path, **(own | {"banks": others}))
    assert train_continually(SHORT, tmp_path, **own).finished


def test_clocks_and_optimizers_go_on_across_tasks(banks):
    trainer = ContinualTrainer(SHORT, banks)
    while trainer.counters["frames"] < SHORT.frames:
        trainer.tick()
    before = {k: v.clone() for k, v in trainer.tensors().items() if not k.startswith("player/")}
    tick = trainer.counters["tick"]
    assert tick % (SCALES.slow_every + 1) != 0, "the stage must end between two slow ticks to show anything"
    trainer.end_stage()
    after = trainer.tensors()
    assert all(torch.equal(v, after[k]) for k, v in before.items())
    assert any(k.startswith("optimizer.slow/") for k in before)
    assert trainer.counters["tick"] == tick and bool(trainer.player.resets.all())
    assert trainer.player.worlds.bank.level_ids == (TASKS[1],)
    watched, _ = trainer.tick()
    assert all(k.startswith(SCALES.clock_of_tick(tick)) for k in watched)


# Replay and joint training


def tasks_played(trainer):
    """Task by task, how many worlds play it, read from the missions that the agent sees."""
    missions = trainer.player.observation.mission
    banks = [{tuple(row) for row in bank.tables["mission"].tolist()} for bank in trainer.banks]
    return [sum(tuple(m) in bank for m in missions.tolist()) for bank in banks]


def test_replay_keeps_its_share_of_worlds_on_old_tasks_evenly_all_the_time(banks):
    trainer = ContinualTrainer(with_yardstick("replay", replay_share=1 / 3), banks)
    for expected in ([12, 0, 0], [4, 8, 0], [2, 2, 8]):
        for _ in range(3):
            assert tasks_played(trainer) == expected
            trainer.tick()
        trainer.end_stage()


def test_joint_training_plays_all_tasks_in_every_stage(banks):
    trainer = ContinualTrainer(with_yardstick("joint"), banks)
    for _ in range(3):
        trainer.tick()
        assert tasks_played(trainer) == [4, 4, 4]
        trainer.end_stage()
    run = train_continually(with_yardstick("joint"), progress=False, banks=banks, held_out=banks)
    assert set(run.summary()) == {"average_performance"}


def test_worlds_side_by_side_do_what_each_would_do_alone(banks):
    together = ml.GridWorlds.side_by_side(banks[:2], [3, 2], [1, 2])
    alone = [ml.GridWorlds(banks[0], 3, seed=1), ml.GridWorlds(banks[1], 2, seed=2)]
    dice = torch.Generator().manual_seed(0)
    assert torch.equal(together.reset().image, torch.cat([w.reset().image for w in alone]))
    for _ in range(150):
        actions = torch.randint(7, (5,), generator=dice)
        step, parts = together.step(actions), [alone[0].step(actions[:3]), alone[1].step(actions[3:])]
        for name in ("reward", "terminated", "truncated", "success"):
            assert torch.equal(getattr(step, name), torch.cat([getattr(p, name) for p in parts]))
        assert torch.equal(step.observation.mission, torch.cat([p.observation.mission for p in parts]))


# Elastic weights


def test_stronger_springs_keep_the_policy_nearer_to_the_old_one(banks):
    """How far the next task moves the policy on the old task: far without springs, hardly with strong ones."""
    moved = {}
    for strength in (1e-9, 1e5):
        trainer = ContinualTrainer(with_yardstick("ewc", ewc_strength=strength, ewc_spans=24), banks)
        for _ in range(5):
            trainer.tick()
        spans = cut_into_spans(trainer.player.collect(trainer.agent, 5, 5), 5, PPOConfig())
        trainer.end_stage()

        def policy(agent, spans=spans):
            with torch.no_grad():
                return agent(spans.observation, spans.state, spans.resets)[0].logits.log_softmax(-1)

        old = policy(trainer.agent)
        for _ in range(12):
            trainer.tick()
        moved[strength] = (old.exp() * (old - policy(trainer.agent))).sum(-1).mean().item()  # KL(old, new)
    assert moved[1e5] < moved[1e-9] / 3, moved


# What the yardsticks are for


def quick_levels(level, count, actions=3, limit=6):
    """Levels that a few actions solve, found by trying all, with hardly more steps to do it: learnt in seconds."""
    bank = make_bank((level,), range(150))
    plans = torch.cartesian_prod(*[torch.arange(7)] * actions)  # (7^actions, actions)
    chosen = []
    for k in range(len(bank)):
        worlds, over = ml.GridWorlds(bank, len(plans)), torch.zeros(len(plans), dtype=torch.bool)
        worlds.reset(levels=torch.full((len(plans),), k))
        solved = over.clone()
        for actions_of_step in plans.T:
            step = worlds.step(actions_of_step)
            solved |= step.success & ~over
            over |= step.terminated | step.truncated
        chosen += [k] if solved.any() else []
        if len(chosen) == count:
            break
    tables = {name: table[chosen] for name, table in bank.tables.items()}
    tables["max_steps"] = torch.full_like(tables["max_steps"], limit)
    return ml.LevelBank(tables, bank.level_ids, bank.task[chosen], bank.seeds[chosen])


def test_plain_training_forgets_and_elastic_weights_and_replay_forget_less():
    """At a door say done, then fetch things: the second task unlearns the first, unless a yardstick hinders it.

    Means over three seeds: a single one may land anywhere, and lands elsewhere on another processor.
    """
    tasks = ("MiniGrid-GoToDoor-5x5-v0", "MiniGrid-Fetch-5x5-N2-v0")
    banks = [quick_levels(task, 8) for task in tasks]
    agent = dataclasses.replace(AGENT, lstm_size=24, input_size=24, channels=8, mission_size=16, head_size=24)
    base = ml.TrainConfig(
        method="lstm", num_envs=64, steps=10, agent=agent, device="cpu", ppo=PPOConfig(minibatches=4, epochs=4),
        timescales=TimeScales(fast_span=10, fast_lr=5e-3),
    )  # fmt: skip
    whole = ContinualConfig(base=base, tasks=tasks, frames=64 * 10 * 20, ewc_strength=1000.0)

    def train_stage(trainer):
        while trainer.counters["frames"] < trainer.config.frames:
            trainer.tick()

    def success(trainer, task):
        return ml.evaluate(trainer.agent, ml.LevelBank.concat([banks[task]] * 16), 128).success.value

    learnt, forgotten = [], {"none": 0.0, "ewc": 0.0, "replay": 0.0}
    for seed in range(3):
        sequence = dataclasses.replace(whole, base=dataclasses.replace(base, seed=seed))
        first = ContinualTrainer(sequence, banks)
        train_stage(first)
        learnt.append(success(first, 0))
        for yardstick in forgotten:
            trainer = ContinualTrainer(dataclasses.replace(sequence, yardstick=yardstick), banks)
            trainer.agent.load_state_dict(first.agent.state_dict())
            trainer.clocks["fast"].optimizer.load_state_dict(first.clocks["fast"].optimizer.state_dict())
            trainer.counters |= first.counters
            trainer.end_stage()
            train_stage(trainer)
            forgotten[yardstick] += (learnt[-1] - success(trainer, 0)) / 3
    assert min(learnt) > 0.6 and forgotten["none"] > 0.3, (learnt, forgotten)
    assert forgotten["ewc"] < 2 / 3 * forgotten["none"], forgotten
    assert forgotten["replay"] < 2 / 3 * forgotten["none"], forgotten


# Bad input


def test_unknown_levels_and_foreign_vocabularies_are_refused_before_any_training(banks):
    config = dataclasses.replace(SHORT, tasks=(TASKS[0], "BabyAI-GoToObjj-v0"))
    with pytest.raises(ml.UserError, match="did you mean 'BabyAI-GoToObj"):
        train_continually(config, progress=False)
    tables = banks[1].tables | {"mission": banks[1].tables["mission"] + 100}
    foreign = ml.LevelBank(tables, ("Klingon",), banks[1].task, banks[1].seeds)
    with pytest.raises(ml.UserError, match="task 'Klingon' has another vocabulary"):
        check_shared([banks[0], foreign], ["Empty", "Klingon"])
    with pytest.raises(ml.UserError, match="got 1 banks for 3 tasks"):
        train_continually(SHORT, progress=False, banks=banks[:1])
    with pytest.raises(ml.UserError, match="got 0 tasks"):
        transfer(ml.Agent(AGENT), [])
