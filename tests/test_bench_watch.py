"""What watching costs, as the bench tells it."""

import json

from test_lens_watch import config

from metarim_lite.bench import format_row, in_pairs
from metarim_lite.bench import watch as bench


def test_the_bench_of_watching_measures_both_sides(small_bank, monkeypatch):
    monkeypatch.setattr(bench, "LEVEL", "BabyAI-GoToObjS6-v1")
    small = config()
    changes = {k: getattr(small, k) for k in ("frames", "num_envs", "steps", "device", "report_every", "agent", "ppo")}
    rows = list(bench.bench_watch(rounds=3, **changes | dict(num_envs=8)))
    assert [r["case"].split(", ")[1] for r in rows] == ["meta-rim", "lstm"]
    assert all(r["ours"] > 0 and r["theirs"] > 0 and r["peer"] == "ours: not watched" for r in rows)
    for r in rows:
        low, high = r["spread"]
        assert low <= r["ratio"] <= high and json.dumps(r) and f"({low:.2f} to {high:.2f})" in format_row(r)


def test_in_pairs_each_round_measures_both_and_the_first_of_them_changes():
    order, speeds = [], iter([2.0, 4.0, 8.0, 3.0, 5.0, 5.0])

    def measure(name):
        order.append(name)
        return next(speeds)

    found = in_pairs(lambda: measure("ours"), lambda: measure("theirs"), 3)
    assert order == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert found == (3.0, 5.0, [0.5, 3 / 8, 1.0])
