"""How long until a level is solved, as the bench tells it."""

from metarim_lite.bench import format_row
from metarim_lite.bench import train as bench_train
from metarim_lite.bench.train import bench_solve
from metarim_lite.errors import Diverged


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
    assert missed["ours"] is None and missed["ratio"] is None, "seconds of a goal that was not reached"
    assert format_row(missed).count("–") == 2


def test_a_run_that_diverges_has_a_row_that_says_so_and_stops_no_other(monkeypatch):
    def diverges(config, **besides):
        if config.method == "lstm":
            raise Diverged("fast/loss is not finite at 12,800 frames; there was no checkpoint yet")
        besides["on_report"]({"frames": 5, "seconds": 2.0, "held_out_success": 1.0})

    monkeypatch.setattr(bench_train, "LEVEL", "BabyAI-GoToObjS4-v0")
    monkeypatch.setattr(bench_train, "TRAIN_LEVELS", 10)
    monkeypatch.setattr(bench_train, "TARGETS", {"lstm": 90, "rim": 150})
    monkeypatch.setattr(bench_train, "train", diverges)
    lost, reached = bench_solve()
    assert "diverged: fast/loss is not finite at 12,800 frames)" in lost["case"] and lost["ours"] is None
    assert reached["ours"] == 2.0 and "–" in format_row(lost)


def test_the_plain_loop_over_minigrid_plays_and_learns():
    assert bench_train._plain(num_envs=8, T=20)() > 0
    worlds = bench_train.PlainWorlds("BabyAI-GoToLocal-v0", num_envs=2)
    assert worlds.bank.step_limit == 64  # a room of 8 x 8, one place to go to
