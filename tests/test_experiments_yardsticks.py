"""Yardsticks compared over methods and seeds: the table says what the runs say, and a stopped comparison goes on."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

import metarim_lite as ml
from metarim_lite.analysis import mean_interval
from metarim_lite.analysis.forgetting import summarize
from metarim_lite.cli import _read
from metarim_lite.errors import Diverged
from metarim_lite.experiments import continual, yardsticks
from metarim_lite.experiments.continual import areas_alone, train_continually
from metarim_lite.experiments.stages import ContinualConfig
from metarim_lite.experiments.yardsticks import compare_yardsticks, shipped_comparison
from metarim_lite.training import train
from metarim_lite.training.ppo import PPOConfig
from metarim_lite.training.timescales import Clock, TimeScales

SHORT = ContinualConfig(
    base=ml.TrainConfig(
        num_envs=12, threads=1, steps=10, train_levels=20, report_every=2, evaluate_episodes=20,
        ppo=PPOConfig(minibatches=2),
        agent=ml.AgentConfig(lstm_size=16, input_size=16, channels=4, mission_size=8, head_size=8),
        timescales=TimeScales(fast_span=5), device="cpu",
    ),
    tasks=("MiniGrid-Empty-5x5-v0", "BabyAI-GoToObjS4-v0"), frames=120,
)  # fmt: skip


def test_a_comparison_holds_what_single_runs_give_and_goes_on_where_it_was(tmp_path):
    one = compare_yardsticks(SHORT, tmp_path, ["lstm"], [0], ["none", "joint"], progress=False, alone=False)
    kept = {path: path.read_bytes() for path in tmp_path.glob("*-s0/metrics.jsonl")}
    assert "(no interval)" in str(one) and "[" not in str(one)
    words = one.command.split()
    asked = _read(words[1:]).keywords
    base = dataclasses.replace(asked["config"].base, method=SHORT.base.method, seed=SHORT.base.seed)
    assert words[0] == "metarim" and dataclasses.replace(asked["config"], base=base) == SHORT
    assert (asked["methods"], asked["seeds"], asked["yardsticks"]) == (("lstm",), (0,), ("none", "joint"))
    assert asked["alone"] is False
    both = compare_yardsticks(SHORT, tmp_path, ["lstm"], [0, 1], ["none", "joint"], progress=False, alone=False)
    assert kept and all(path.read_bytes() == content for path, content in kept.items()), "finished runs were repeated"
    for seed in (0, 1):
        base = dataclasses.replace(SHORT.base, method="lstm", seed=seed)
        alone = train_continually(dataclasses.replace(SHORT, base=base), progress=False)
        assert both.matrices["lstm"]["none"][seed] == alone.success.tolist()
        assert both.measures["lstm"]["none"]["forgetting"][seed] == alone.summary()["forgetting"]
    assert one.measures["lstm"]["none"]["zero_shot"] == both.measures["lstm"]["none"]["zero_shot"][:1]
    assert set(both.measures["lstm"]["joint"]) == {"average_performance"}
    average = both.measures["lstm"]["none"]["average_performance"]
    assert str(both).splitlines()[2].startswith(f"| lstm | none | {mean_interval(np.array(average))} |")
    few, known = str(both).split("\n\n")[-2:]
    assert few.endswith("Intervals over fewer than 5 seeds are too narrow to be trusted.")
    assert both.seen == (1.0, 0.0)  # MiniGrid-Empty-5x5-v0 has one level
    assert known == "MiniGrid-Empty-5x5-v0: 100.0% of the held-out levels are identical to training levels"
    assert json.loads((tmp_path / "comparison.json").read_text())["measures"] == both.measures


def test_forward_transfer_compares_curves_of_several_points_with_each_task_alone(tmp_path):
    config = dataclasses.replace(SHORT, frames=12 * 10 * 6)
    found = compare_yardsticks(config, tmp_path, ["lstm"], [0], ["none", "joint"], progress=False)
    own = dataclasses.replace(found.config, base=dataclasses.replace(found.config.base, method="lstm"))
    run = train_continually(own, progress=False)
    held_out = [line for line in run.metrics if line["stage"] == 1 and "held_out_success" in line]
    assert len(held_out) == 3, "a curve needs more than its two ends"
    corners = [(0, run.rows[0][1].value), *((x["frames"] - 720, x["held_out_success"]) for x in held_out[:-1]),
               (720, run.rows[1][1].value)]  # fmt: skip
    by_hand = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(corners)) / 720
    assert found.areas["lstm"]["none"][0][1] == pytest.approx(by_hand) and "joint" not in found.areas["lstm"]
    alone = areas_alone(own, progress=False)
    assert found.areas_alone == {"lstm": [alone]} and found.areas["lstm"]["none"][0][0] == alone[0]
    transfer = (by_hand - alone[1]) / (1 - alone[1])
    assert found.measures["lstm"]["none"]["forward_transfer"] == [pytest.approx(transfer)]
    assert f"| {transfer:.3f} (no interval) |" in str(found).splitlines()[2] and "forward transfer" in str(found)
    kept = {path: path.read_bytes() for path in tmp_path.glob("*/**/metrics.jsonl")}
    again = compare_yardsticks(config, tmp_path, ["lstm"], [0], ["none", "joint"], progress=False)
    assert again.measures == found.measures and len(kept) == 4
    assert all(path.read_bytes() == content for path, content in kept.items()), "finished runs were repeated"
    assert json.loads((tmp_path / "comparison.json").read_text())["areas_alone"] == found.areas_alone


def test_the_mean_of_forward_transfer_worked_out_by_hand():
    assert yardsticks._transfer([0.9, 0.75, 0.2], [0.9, 0.5, 0.6]) == pytest.approx((0.5 - 1.0) / 2)
    assert yardsticks._transfer([0.9, 0.75, 0.2], [None, 0.5, 1.0]) == pytest.approx(0.5)
    assert yardsticks._transfer([0.9, 0.75, 0.2], [0.9, 0.5, None]) is None
    assert yardsticks._transfer([0.9, 0.75], [0.9, 1.0]) is None


def test_a_diverged_run_stands_in_its_row_and_stops_no_other(tmp_path, monkeypatch):
    """Seed 1 diverges in its second stage, after one report of it; by hand, its matrix ends with a row of 0."""
    original = Clock.update

    def poisoned(self, agent, rollout, config, generator, loss):
        watched = original(self, agent, rollout, config, generator, loss)
        ticks.append(1)
        return watched if len(ticks) != 10 else {k: v * float("nan") for k, v in watched.items()}

    def only_seed_1(config, *a, **k):
        ticks.clear()
        with monkeypatch.context() as patch:
            if config.base.seed == 1:
                patch.setattr(Clock, "update", poisoned)
            return train_continually(config, *a, **k)

    ticks = []
    monkeypatch.setattr(yardsticks, "train_continually", only_seed_1)
    config = dataclasses.replace(SHORT, frames=12 * 10 * 6)
    found = compare_yardsticks(config, tmp_path, ["lstm"], [0, 1], ["none"], progress=False)
    whole = train_continually(
        dataclasses.replace(found.config, base=dataclasses.replace(found.config.base, method="lstm", seed=1)),
        progress=False,
    )
    measures, matrices = found.measures["lstm"]["none"], found.matrices["lstm"]["none"]
    assert matrices[1] == [whole.success[0].tolist(), [0.0, 0.0]]
    assert measures["average_performance"][1] == 0.0 and measures["average_performance"][0] > 0
    assert measures["forgetting"][1] is None and measures["forgetting"][0] is not None
    first, then = whole.rows[0][1].value, next(x for x in whole.metrics if x["frames"] == 960)["held_out_success"]
    assert found.areas["lstm"]["none"][1][1] == pytest.approx((first + then) / 2 / 3)  # 240 of 720 frames
    assert measures["forward_transfer"][1] is not None
    row = str(found).splitlines()[2]
    assert row.startswith("| lstm | none (1 of 2 diverged) | 0.") and row.count("1 of 2 undefined") == 4
    assert [bool(told) for told in found.diverged["lstm"]["none"]] == [False, True]
    assert "is not finite" in found.diverged["lstm"]["none"][1]
    assert None in json.loads((tmp_path / "comparison.json").read_text())["measures"]["lstm"]["none"]["forgetting"]


def test_a_task_that_diverges_alone_leaves_no_transfer_to_measure(tmp_path, monkeypatch):
    def diverges(config, *a, **k):
        if config.level == SHORT.tasks[1]:
            raise Diverged("loss is not finite")
        return train(config, *a, **k)

    monkeypatch.setattr(continual, "train", diverges)
    found = compare_yardsticks(SHORT, tmp_path, ["lstm"], [0], ["none"], progress=False)
    assert found.areas_alone["lstm"][0][0] is not None and found.areas_alone["lstm"][0][1] is None
    assert found.measures["lstm"]["none"]["forward_transfer"] == [None] and "none: 1 of 1 undefined" in str(found)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"methods": ["lstmm"]}, "did you mean 'lstm"),
        ({"yardsticks": ["replai"]}, "did you mean 'replay'"),
        ({"seeds": []}, "at least one method, one yardstick and one seed"),
        ({"seeds": [0, 1, 0]}, "name one twice"),
    ],
)
def test_comparisons_that_cannot_be_made_are_refused_before_any_run(tmp_path, asked, said):
    with pytest.raises(ml.UserError, match=said):
        compare_yardsticks(SHORT, tmp_path, **asked)
    assert not list(tmp_path.iterdir())


def test_comparisons_that_come_with_the_package_are_whole_and_say_how_they_were_made():
    for name in ("yardsticks", "methods-short", "methods-long"):
        found = shipped_comparison(name)
        assert found.command.startswith("metarim forgetting ") and found.command in str(found)
        S, seeds = len(found.config.tasks), len(found.seeds)
        for method, rows in found.matrices.items():
            for yardstick, of_seeds in rows.items():
                assert np.array(of_seeds).shape == (seeds, S, S), (name, method, yardstick)
                again = [summarize(np.array(R))["average_performance"] for R in of_seeds]
                assert found.measures[method][yardstick]["average_performance"] == pytest.approx(again)
    with pytest.raises(ml.UserError, match="unknown shipped comparison 'yardstick'.*did you mean 'yardsticks'"):
        shipped_comparison("yardstick")
