"""A sequence of tasks in numbers: whose Fisher information, where areas begin, how many frames each stage plays."""

import dataclasses
import json

import numpy as np
import pytest
import torch

import metarim_lite as ml
from metarim_lite.analysis import Estimate
from metarim_lite.errors import Diverged
from metarim_lite.experiments import continual, stages
from metarim_lite.experiments.continual import ContinualRun, areas_alone, matrix_table, train_continually
from metarim_lite.experiments.stages import ContinualConfig, ContinualTrainer
from metarim_lite.training.ppo import PPOConfig
from metarim_lite.training.timescales import TimeScales
from metarim_lite.training.trainer import make_bank

TASKS = ("MiniGrid-Empty-5x5-v0", "BabyAI-GoToObjS4-v0", "MiniGrid-GoToDoor-5x5-v0")
AGENT = ml.AgentConfig(
    controller="lstm", lstm_size=8, input_size=8, channels=2, mission_size=4, head_size=8, num_modules=3, active=2,
    hidden_size=4, key_size=4, value_size=4,
)  # fmt: skip
BASE = ml.TrainConfig(
    method="lstm", num_envs=12, steps=10, train_levels=20, report_every=1, evaluate_episodes=10, agent=AGENT,
    timescales=TimeScales(fast_span=5), ppo=PPOConfig(minibatches=2, epochs=1), device="cpu",
)  # fmt: skip
TICK = 12 * 10
SHORT = ContinualConfig(base=BASE, tasks=TASKS, frames=2 * TICK, ewc_spans=18)


@pytest.fixture(scope="module")
def banks():
    return [make_bank((task,), range(20)) for task in TASKS]


def with_yardstick(name, **numbers):
    return dataclasses.replace(SHORT, yardstick=name, **numbers)


# Whose Fisher information


def test_springs_hold_the_fisher_information_of_the_task_just_trained(banks, monkeypatch):
    """The spans that are squared were seen in that task's worlds: told by their missions."""
    missions = [{tuple(row) for row in bank.tables["mission"].tolist()} for bank in banks]
    assert not missions[0] & missions[1] and not missions[1] & missions[2]
    trainer, seen = ContinualTrainer(with_yardstick("ewc"), banks), []

    def ones(agent, spans):
        seen.append(spans.observation.mission)
        return {name: torch.ones_like(p) for name, p in agent.named_parameters()}

    monkeypatch.setattr(stages, "fisher_diagonal", ones)
    for stage in range(3):
        trainer.tick()
        weights = {n: p.detach().clone() for n, p in trainer.agent.named_parameters()}
        seen.clear()
        trainer.end_stage()
        words = {tuple(m) for mission in seen for m in mission.flatten(0, 1).tolist()}
        assert words <= {m[: len(next(iter(words), ()))] for m in missions[stage]}
        assert bool(words) == (stage < 2), "after the last task nothing is to be held"
        if stage < 2:
            assert all(torch.equal(trainer.elastic.anchor[n], w) for n, w in weights.items())
            assert sum(m.shape[1] for m in seen) == 18
            # every part counts as many times as it has spans: 12/18 and 6/18 of ones are ones
            for F in trainer.elastic.fisher.values():
                torch.testing.assert_close(F, torch.full_like(F, stage + 1.0))


def test_the_fisher_information_of_many_spans_is_the_mean_of_single_ones(banks, monkeypatch):
    trainer, parts = ContinualTrainer(with_yardstick("ewc"), banks), []
    original = stages.fisher_diagonal
    monkeypatch.setattr(stages, "fisher_diagonal", lambda a, s: parts.append((a, s)) or original(a, s))
    found = trainer.fisher()
    singles = [
        original(agent, spans.pick(torch.tensor([m]))) for agent, spans in parts for m in range(len(spans.state.h))
    ]
    assert len(singles) == 18
    for name, F in found.items():
        mean = sum(single[name] for single in singles) / 18
        torch.testing.assert_close(F, mean, rtol=1e-4, atol=1e-10)


# Frames


@pytest.mark.parametrize("yardstick", ["none", "replay", "ewc", "joint"])
def test_every_yardstick_plays_the_same_frames_in_every_stage(banks, yardstick):
    run = train_continually(with_yardstick(yardstick), progress=False, banks=banks, held_out=banks)
    frames = {s: [line["frames"] for line in run.metrics if line["stage"] == s] for s in range(3)}
    assert frames == {s: [2 * s * TICK + TICK, 2 * s * TICK + 2 * TICK] for s in range(3)}
    assert [line["task"] for line in run.metrics] == [TASKS[line["stage"]] for line in run.metrics]
    assert run.finished and run.success.shape == (3, 3)


def test_the_worlds_of_a_stage_are_shared_out_as_its_yardstick_says():
    assert SHORT.worlds_of_stage(2) == [(2, 12)]
    replay = with_yardstick("replay", replay_share=0.5)
    assert [replay.worlds_of_stage(s) for s in range(3)] == [[(0, 12)], [(1, 6), (0, 6)], [(2, 6), (0, 3), (1, 3)]]
    ten = dataclasses.replace(with_yardstick("joint"), base=dataclasses.replace(BASE, num_envs=10))
    assert ten.worlds_of_stage(1) == [(0, 4), (1, 3), (2, 3)]


def test_parts_and_stages_draw_their_levels_from_seeds_of_their_own(banks):
    trainer = ContinualTrainer(with_yardstick("joint"), banks)
    drawn = set()
    for stage in range(3):
        levels = trainer.player.worlds.levels.view(3, 4)  # the levels of all banks are numbered on
        assert (levels // 20 == torch.arange(3).unsqueeze(1)).all()
        drawn |= {tuple(part) for part in (levels % 20).tolist()}
        trainer.end_stage()
        assert trainer.counters["stage"] == stage + 1
    assert len(drawn) == 9


# The matrix and its areas


def estimate(value):
    return Estimate(value, value, value)


def recorded(metrics, yardstick="none"):
    before = [estimate(v) for v in (0.1, 0.2, 0.0)]
    rows = [[estimate(v) for v in row] for row in ((0.9, 0.3, 0.1), (0.5, 0.8, 0.2), (0.4, 0.6, 1.0))]
    return ContinualRun(with_yardstick(yardstick), None, before, rows, metrics, None, True)


def test_areas_are_those_of_curves_worked_out_by_hand():
    """Stage 0 from 0.1 to 0.9; stage 1 from 0.3 (not 0.2, which was before any training) by way of 0.5 to 0.8."""
    lines = [
        {"stage": 0, "frames": 100},
        {"stage": 0, "frames": 200, "held_out_success": 0.0},  # the end of a stage is measured anew, on all levels
        {"stage": 1, "frames": 250, "held_out_success": 0.5},
        {"stage": 1, "frames": 400},
        {"stage": 2, "frames": 500, "held_out_success": 0.6},
        {"stage": 2, "frames": 600, "held_out_success": 0.7},
        {"stage": 2, "frames": 700},
    ]
    assert recorded(lines).areas() == pytest.approx(
        [
            (0.1 + 0.9) / 2,
            ((0.3 + 0.5) / 2 * 50 + (0.5 + 0.8) / 2 * 150) / 200,
            ((0.2 + 0.6) / 2 + (0.6 + 0.7) / 2 + (0.7 + 1.0) / 2) / 3,
        ]
    )
    with pytest.raises(ml.UserError, match="trains no task by itself"):
        recorded(lines, "joint").areas()


def test_a_run_gives_its_matrix_its_measures_and_its_table():
    run = recorded([])
    assert run.success.tolist() == [[0.9, 0.3, 0.1], [0.5, 0.8, 0.2], [0.4, 0.6, 1.0]]
    expected = {
        "average_performance": 2.0 / 3, "forgetting": (0.5 + 0.2) / 2, "forgetting_maximum": (0.5 + 0.2) / 2,
        "backward_transfer": -(0.5 + 0.2) / 2, "zero_shot": (0.3 + 0.2) / 2,
        "zero_shot_gain": ((0.3 - 0.2) + (0.2 - 0.0)) / 2,
    }  # fmt: skip
    assert run.summary() == pytest.approx(expected)
    assert recorded([], "joint").summary() == pytest.approx({"average_performance": 2.0 / 3})
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in run.table().splitlines()]
    assert lines[0] == ["after training on", *TASKS] and [line[0] for line in lines[2:]] == ["nothing", *TASKS]
    assert lines[4][1:] == [str(estimate(v)) for v in (0.5, 0.8, 0.2)]
    rows = matrix_table(TASKS, [run.before, *run.rows], joint=True).splitlines()
    assert rows[3].startswith("| all tasks, part 1 |")


def test_areas_alone_are_those_of_each_tasks_own_training(banks, monkeypatch, tmp_path):
    """Training is a stand-in: it notes what it is asked for and gives a curve."""
    asked = []

    def stand_in(config, folder, progress, held_out):
        asked.append((config.level, config.frames, folder, held_out.level_ids))
        agent = ml.Agent(dataclasses.replace(AGENT))
        metrics = [{"frames": 60, "held_out_success": 0.5}, {"frames": 240, "held_out_success": 0.0}]
        return ml.training.Run(config, agent, metrics, None, True)

    ends = iter([0.0, 1.0, 0.2, 0.4, 0.6, 0.6])
    monkeypatch.setattr(continual, "train", stand_in)
    monkeypatch.setattr(continual, "_row", lambda agent, levels, episodes: [estimate(next(ends))])
    areas = areas_alone(SHORT, tmp_path, progress=False)
    assert [(level, frames) for level, frames, *_ in asked] == [(task, SHORT.frames) for task in TASKS]
    assert [folder for _, _, folder, _ in asked] == [tmp_path / task for task in TASKS]
    assert [ids for *_, ids in asked] == [(task,) for task in TASKS]

    def by_hand(first, last):
        return ((first + 0.5) / 2 * 60 + (0.5 + last) / 2 * 180) / 240

    assert areas == pytest.approx([by_hand(0.0, 1.0), by_hand(0.2, 0.4), by_hand(0.6, 0.6)])


def test_the_matrix_on_disk_holds_rows_in_the_order_of_stages(banks, tmp_path):
    run = train_continually(SHORT, tmp_path, progress=False, banks=banks, held_out=banks)
    kept = json.loads((tmp_path / "matrix.json").read_text())
    assert tuple(kept["tasks"]) == TASKS and kept["yardstick"] == "none"
    assert np.array(kept["rows"])[..., 0].tolist() == run.success.tolist()
    assert kept["before"] == [list(cell) for cell in run.before]
    for j, bank in enumerate(banks):
        last = ml.load_agent(tmp_path / "agent-2")
        assert run.rows[1][j] == ml.evaluate(last, bank, 10).success


def test_a_task_is_trained_alone_in_as_many_worlds_as_in_the_sequence(monkeypatch):
    """Where the config leaves the number to the machine, too: a single run would have what suits the device."""

    def notes(config, **besides):
        seen.append((config.level, config.num_envs, config.frames))
        raise Diverged("far enough")

    seen = []
    monkeypatch.setattr(continual, "train", notes)
    config = dataclasses.replace(SHORT, base=dataclasses.replace(SHORT.base, num_envs=0))
    areas_alone(config, progress=False)
    assert seen == [(task, config.worlds, SHORT.frames) for task in SHORT.tasks]
