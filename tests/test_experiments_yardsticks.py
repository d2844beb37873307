"""Yardsticks compared over methods and seeds: the table says what the runs say, and a stopped comparison goes on."""

import dataclasses
import json

import numpy as np
import pytest

import metarim_lite as ml
from metarim_lite.analysis import mean_interval
from metarim_lite.cli import _read
from metarim_lite.experiments.yardsticks import compare_yardsticks
from metarim_lite.training.continual import train_sequence_of_tasks
from metarim_lite.training.ppo import PPOConfig
from metarim_lite.training.stages import ContinualConfig
from metarim_lite.training.timescales import TimeScales

SHORT = ContinualConfig(
    base=ml.TrainConfig(
        num_envs=12, steps=10, train_levels=20, report_every=2, evaluate_episodes=20, ppo=PPOConfig(minibatches=2),
        agent=ml.AgentConfig(lstm_size=16, input_size=16, channels=4, mission_size=8, head_size=8),
        timescales=TimeScales(fast_span=5), device="cpu",
    ),
    tasks=("MiniGrid-Empty-5x5-v0", "BabyAI-GoToObjS4-v0"), frames=120,
)  # fmt: skip


def test_a_comparison_holds_what_single_runs_give_and_goes_on_where_it_was(tmp_path):
    one = compare_yardsticks(SHORT, tmp_path, ["lstm"], [0], ["none", "joint"], progress=False)
    kept = {path: path.read_bytes() for path in tmp_path.glob("*-s0/metrics.jsonl")}
    assert "(no interval)" in str(one) and "[" not in str(one)
    words = one.command.split()
    asked = _read(words[1:]).keywords
    base = dataclasses.replace(asked["config"].base, method=SHORT.base.method, seed=SHORT.base.seed)
    assert words[0] == "metarim" and dataclasses.replace(asked["config"], base=base) == SHORT
    assert (asked["methods"], asked["seeds"], asked["yardsticks"]) == (("lstm",), (0,), ("none", "joint"))
    both = compare_yardsticks(SHORT, tmp_path, ["lstm"], [0, 1], ["none", "joint"], progress=False)
    assert kept and all(path.read_bytes() == content for path, content in kept.items()), "finished runs were repeated"
    for seed in (0, 1):
        base = dataclasses.replace(SHORT.base, method="lstm", seed=seed)
        alone = train_sequence_of_tasks(dataclasses.replace(SHORT, base=base), progress=False)
        assert both.matrices["lstm"]["none"][seed] == alone.success.tolist()
        assert both.measures["lstm"]["none"]["forgetting"][seed] == alone.summary()["forgetting"]
    assert one.measures["lstm"]["none"]["zero_shot"] == both.measures["lstm"]["none"]["zero_shot"][:1]
    assert set(both.measures["lstm"]["joint"]) == {"average_performance"}
    average = both.measures["lstm"]["none"]["average_performance"]
    assert str(both).splitlines()[2].startswith(f"| lstm | none | {mean_interval(np.array(average))} |")
    assert str(both).endswith("Intervals over fewer than 5 seeds are too narrow to be trusted.")
    assert json.loads((tmp_path / "comparison.json").read_text())["measures"] == both.measures


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
