"""Task sequences: the success matrix, the yardsticks, runs that survive a kill, and bad input."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

import metarim_lite as ml
from metarim_lite.config import from_dict, to_dict
from metarim_lite.experiments import continual
from metarim_lite.experiments.continual import (
    areas_alone,
    held_out_levels,
    train_continually,
)
from metarim_lite.experiments.stages import ContinualConfig, ContinualTrainer, check_shared
from metarim_lite.experiments.transfer import transfer, transfer_table
from metarim_lite.training import METHODS, Trainer, train
from metarim_lite.training.ppo import PPOConfig, cut_into_spans
from metarim_lite.training.timescales import TimeScales
from metarim_lite.training.trainer import make_bank

TASKS = ("MiniGrid-Empty-5x5-v0", "BabyAI-GoToObjS4-v0", "MiniGrid-GoToDoor-5x5-v0")
AGENT = ml.AgentConfig(
    num_modules=4, active=2, hidden_size=8, key_size=8, value_size=8, lstm_size=16, input_size=16, channels=4,
    mission_size=8, head_size=8,
)  # fmt: skip
SCALES = TimeScales(fast=("encoder", "modules", "heads"), slow=("attention",), fast_span=5, slow_span=10, slow_every=2)
BASE = ml.TrainConfig(
    num_envs=12, steps=10, train_levels=20, report_every=2, evaluate_episodes=20, agent=AGENT, timescales=SCALES,
    ppo=PPOConfig(minibatches=2), device="cpu",
)  # fmt: skip
SHORT = ContinualConfig(base=BASE, tasks=TASKS, frames=12 * 10 * 5, ewc_spans=4)


@pytest.fixture(scope="module")
def banks():
    return [make_bank((task,), range(BASE.train_levels)) for task in TASKS]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run that nobody interrupted, and its folder."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return train_continually(SHORT, folder, progress=False), folder


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def with_yardstick(name, **numbers):
    return dataclasses.replace(SHORT, yardstick=name, **numbers)


# The matrix


def test_the_matrix_is_what_separate_evaluations_of_the_kept_agents_give(undisturbed):
    run, folder = undisturbed
    assert run.finished and run.success.shape == (3, 3)
    for j, bank in enumerate(held_out_levels(TASKS, 20, BASE.train_levels)):
        assert not set(bank.seeds.tolist()) & set(range(BASE.train_levels))
        for i in range(3):
            after = ml.load_agent(folder / f"agent-{i + 1}.safetensors")
            assert run.rows[i][j] == ml.evaluate(after, bank, 20).success
        fresh = Trainer(dataclasses.replace(BASE, level=TASKS[0]), bank).agent
        assert run.before[j] == ml.evaluate(fresh, bank, 20).success
    kept = json.loads((folder / "matrix.json").read_text())
    assert kept["rows"] == [[list(cell) for cell in row] for row in run.rows]
    assert same(run.agent, ml.load_agent(folder / "agent.safetensors"))
    assert run.table().splitlines()[3] == "| " + " | ".join(map(str, (TASKS[0], *run.rows[0]))) + " |"


def test_the_first_stage_is_what_train_does_bit_for_bit(undisturbed):
    alone = train(dataclasses.replace(BASE, level=TASKS[0], frames=SHORT.frames), progress=False)
    assert same(alone.agent, ml.load_agent(undisturbed[1] / "agent-1.safetensors"))


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


# Runs on disk

SCRIPT = """
import sys, json, torch
torch.set_num_threads(1)
import metarim_lite as ml
from metarim_lite.config import from_dict
from metarim_lite.experiments.continual import train_continually
from metarim_lite.experiments.stages import ContinualConfig
config = from_dict(ContinualConfig, json.load(open(sys.argv[1])))
train_continually(config, sys.argv[2], progress=False)
"""


def numbers(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "frames_per_second")} for line in lines]


def assert_same_run(a, b):
    x, y = load_file(a / "checkpoint.safetensors"), load_file(b / "checkpoint.safetensors")
    assert x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x)
    assert (a / "matrix.json").read_text() == (b / "matrix.json").read_text()
    assert numbers(a) == numbers(b)


@pytest.mark.parametrize("yardstick", ["ewc", "replay"])
def test_stopped_at_every_report_and_resumed_equals_never_stopped(tmp_path, yardstick):
    class Stop(Exception):
        pass

    def stop(_):
        raise Stop

    config = with_yardstick(yardstick)
    whole = train_continually(config, tmp_path / "whole", progress=False)
    stops, finished = 0, False
    while not finished:
        try:
            finished = train_continually(config, tmp_path / "parts", progress=False, on_report=stop).finished
        except Stop:
            stops += 1
    assert stops == len(whole.metrics) >= 6
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    again = train_continually(config, tmp_path / "parts", progress=False, on_report=stop)
    assert again.finished and again.rows == whole.rows and again.before == whole.before


def test_ctrl_c_saves_and_resumes(tmp_path, undisturbed):
    def interrupt(line):
        os.kill(os.getpid(), signal.SIGINT)

    stops, run = 0, train_continually(SHORT, tmp_path, progress=False, on_report=interrupt)
    while not run.finished and stops < 20:
        stops, run = stops + 1, train_continually(SHORT, tmp_path, progress=False, on_report=interrupt)
    assert run.finished and stops >= 5
    assert_same_run(undisturbed[1], tmp_path)


def test_killed_and_resumed_equals_never_killed(tmp_path):
    config = with_yardstick("ewc", frames=12 * 10 * 10)
    (tmp_path / "config.json").write_text(json.dumps(to_dict(config)))

    def start(name):
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / "config.json"), str(tmp_path / name)]
        return subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})

    process, whole, killed = start("killed"), start("whole"), tmp_path / "killed"
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and not (killed / "agent-1.safetensors").exists():
        time.sleep(0.005)  # the first stage has just been evaluated; its end is being written
    assert process.poll() is None, "the run was over before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert start("killed").wait(timeout=600) == 0
    assert whole.wait(timeout=600) == 0
    assert_same_run(tmp_path / "whole", killed)


def test_a_damaged_or_foreign_sequence_is_refused_with_the_field_named(undisturbed, tmp_path):
    shutil.copytree(undisturbed[1], tmp_path, dirs_exist_ok=True)
    state = json.loads((tmp_path / "state.json").read_text())
    for field, value, said in (("rows", state["rows"][:2], "rows"), ("rows", [["x"]], "rows")):
        (tmp_path / "state.json").write_text(json.dumps(state | {field: value}))
        with pytest.raises(ml.UserError, match=f"field '{said}'"):
            train_continually(SHORT, tmp_path, progress=False)
    counters = state["counters"] | {"stage": 7}
    (tmp_path / "state.json").write_text(json.dumps(state | {"counters": counters}))
    with pytest.raises(ml.UserError, match="field 'stage' .* is 7, expected 0 to 3"):
        train_continually(SHORT, tmp_path, progress=False)
    with pytest.raises(ml.UserError, match="holds another run: its yardstick"):
        train_continually(with_yardstick("replay"), tmp_path, progress=False)


def test_a_sequence_is_judged_on_its_own_held_out_levels_only_and_knows_when_its_curve_is_not_whole(tmp_path, banks):
    others = list(reversed([ml.LevelBank.generate(task, seeds=range(500, 520)) for task in TASKS]))
    stop = lambda _: os.kill(os.getpid(), signal.SIGINT)  # noqa: E731
    train_continually(SHORT, tmp_path, progress=False, on_report=stop)
    with pytest.raises(ml.UserError, match="evaluated on other held-out levels"):
        train_continually(SHORT, tmp_path, progress=False, held_out=others)
    run = train_continually(SHORT, tmp_path, progress=False)
    assert run.finished and len(run.areas()) == 3
    (tmp_path / "metrics.jsonl").unlink()
    torn = train_continually(SHORT, tmp_path, progress=False)
    assert torn.rows == run.rows and torn.lost == len(run.metrics) - 1 and torn.metrics == run.metrics[-1:]
    with pytest.raises(ml.UserError, match="its curve is not whole"):
        torn.areas()


# Transfer


def test_forward_transfer_of_the_first_task_is_nothing_because_it_was_trained_alone(tmp_path, monkeypatch):
    from metarim_lite.analysis.forgetting import forward_transfer

    config = dataclasses.replace(SHORT, base=dataclasses.replace(BASE, evaluate_every=240))
    run = train_continually(config, progress=False)
    assert any("held_out_success" in line for line in run.metrics)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(continual, "train", lambda *a, **k: dataclasses.replace(train(*a, **k), finished=False))
        areas_alone(config, tmp_path, progress=False)
    gained = forward_transfer(run.areas(), areas_alone(config, tmp_path, progress=False))
    assert gained.shape == (3,) and gained[0] == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(TASKS)


def test_transfer_is_what_evaluate_gives_on_each_level():
    agent = ml.Agent(AGENT)
    results = transfer(agent, TASKS[:2], episodes=30)
    for level, bank in zip(TASKS[:2], held_out_levels(TASKS[:2], 30, 0), strict=True):
        assert results[level].success == ml.evaluate(agent, bank, 30).success
    rows = transfer_table(results).splitlines()
    assert len(rows) == 4 and rows[2].startswith(f"| {TASKS[0]} | {results[TASKS[0]].success} |")


# Bad input


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tasks": ()}, "got 0 tasks; name at least 2"),
        ({"tasks": TASKS[:1]}, "got 1 tasks; name at least 2"),
        ({"tasks": (TASKS[0], TASKS[1], TASKS[0])}, "'MiniGrid-Empty-5x5-v0' is named twice"),
        ({"tasks": "BabyAI-GoToObj-v0"}, "must be a list of level names"),
        ({"yardstick": "replai"}, "did you mean 'replay'"),
        ({"frames": 0}, "frames is 0"),
        ({"ewc_spans": 1.5}, "ewc_spans is 1.5"),
        ({"replay_share": 1.0}, "replay_share is 1.0; it must lie between"),
        ({"ewc_strength": 0.0}, "ewc_strength is 0.0"),
        ({"ewc_decay": 2.0}, "ewc_decay is 2.0"),
        ({"yardstick": "replay", "replay_share": 0.01}, "12 worlds .* leave a task without a world in stage 1"),
    ],
)
def test_impossible_sequences_are_refused_in_one_sentence(change, said):
    with pytest.raises(ml.UserError, match=said) as refused:
        dataclasses.replace(SHORT, **change)
    assert "\n" not in str(refused.value)


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


def test_a_config_survives_json():
    config = with_yardstick("replay")
    assert from_dict(ContinualConfig, json.loads(json.dumps(to_dict(config)))) == config
