"""How long until a level is solved, as the bench tells it."""

from metarim_lite.bench import format_row
from metarim_lite.bench import train as bench_train
from metarim_lite.bench.train import bench_solve


def test_a_goal_is_timed_until_it_is_reached_and_a_goal_out_of_reach_is_said_to_be(monkeypatch):
    monkeypatch.setattr(bench_train, "LEVEL", "BabyAI-GoToObjS4-v0")
    monkeypatch.setattr(bench_train, "TRAIN_LEVELS", 100)
    monkeypatch.setattr(bench_train, "TARGETS", {"lstm": 90})
    (reached,) = bench_solve(goal=0.05)
    assert "51,200 frames" not in reached["case"]  # the first evaluation is due at 100,000
    assert "(102,400 frames)" in reached["case"] and reached["ours"] > 0 and reached["theirs"] == 90
    assert reached["ratio"] is not None and "target" in format_row(reached)
    (missed,) = bench_solve(goal=1.1, limit=20_000)
    assert "not reached in 20,000 frames" in missed["case"]
