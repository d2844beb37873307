"""What a run says about itself: every key documented, success by kind of mission, TensorBoard, reports."""

import dataclasses
import re
import subprocess
import sys

import pytest
import torch

import metarim_lite as ml
from metarim_lite.analysis.plots import learning_curves, metric_curves
from metarim_lite.analysis.report import report_table
from metarim_lite.analysis.statistics import wilson
from metarim_lite.envs.missions import MISSION_KINDS, decode_mission, mission_kinds
from metarim_lite.experiments import ContinualConfig, SequenceConfig
from metarim_lite.experiments.continual import train_continually
from metarim_lite.experiments.sequences import train_sequence
from metarim_lite.runs import folder as runs
from metarim_lite.runs import metrics as kept_lines
from metarim_lite.runs.folder import Learner
from metarim_lite.runs.loop import looping
from metarim_lite.runs.tensorboard import tensorboard_reporter
from metarim_lite.training import train
from metarim_lite.training.rollouts import Player

AGENT = ml.AgentConfig(num_modules=4, active=2, hidden_size=8, input_size=16, channels=4, head_size=8)
CONFIG = ml.TrainConfig(
    level="BabyAI-GoToObjS4-v0", frames=16 * 100, num_envs=16, steps=20, train_levels=20, report_every=2, agent=AGENT,
    evaluate_every=640, evaluate_episodes=10, device="cpu", ppo=ml.PPOConfig(minibatches=2),
)  # fmt: skip
TINY = SequenceConfig(
    width=32, num_modules=4, active=2, input_size=16, key_size=8, value_size=16, comm_heads=1, comm_key_size=4,
    comm_value_size=4, batch=8, updates=4, report_every=2, test_sequences=8, device="cpu",
)  # fmt: skip


DOCUMENTED = re.findall(r"^    ([a-zA-Z_/]+)  +\S", runs.__doc__.partition("Its keys")[2], re.M)


def matches(documented, key):
    """Names in capitals stand for anything."""
    return re.fullmatch(re.sub("[A-Z]+", ".+", documented), key)


@pytest.fixture(scope="module")
def written():
    """The keys of the metrics of all sorts of runs."""
    tasks = ("BabyAI-GoToObjS4-v0", "MiniGrid-Empty-5x5-v0")
    base = dataclasses.replace(CONFIG, evaluate_every=0)
    lines = train_continually(ContinualConfig(base=base, tasks=tasks, frames=320), progress=False).metrics
    lines += train_sequence(TINY, progress=False).metrics
    lines += train(dataclasses.replace(CONFIG, imitate=True), progress=False).metrics
    lines += train(dataclasses.replace(CONFIG, level="MiniGrid-Empty-5x5-v0"), progress=False).metrics
    for name in ("meta-rim", "meta-lstm", "meta-rim-per-task"):
        lines += train(dataclasses.replace(CONFIG, method=name), progress=False).metrics
    return sorted({key for line in lines for key in line})


def test_every_key_of_the_metrics_is_documented(written):
    assert [key for key in written if not any(matches(documented, key) for documented in DOCUMENTED)] == []


def test_held_out_success_is_about_every_level_that_is_trained_on(monkeypatch):
    from metarim_lite.training import trainer

    real, played = trainer.evaluate, []

    def spy(agent, bank, episodes):
        played.append(sorted(bank.level_ids[task] for task in bank.task[:episodes].tolist()))
        return real(agent, bank, episodes)

    monkeypatch.setattr(trainer, "evaluate", spy)
    levels = ("BabyAI-GoToObjS4-v0", "MiniGrid-Empty-5x5-v0")
    train(dataclasses.replace(CONFIG, level=",".join(levels), frames=640), progress=False)
    assert played == [sorted(10 * levels)]


def test_every_documented_key_is_written(written):
    assert [documented for documented in DOCUMENTED if not any(matches(documented, key) for key in written)] == []
    wanted = {"success", "fast/entropy", "slow/grad_norm/attention", "fast/grad_norm/heads", "test/200 blanks"}
    assert wanted <= set(written)


# Success by kind of mission


def kind_of_text(text):
    if any(word in text for word in (" and ", ", then ", " after you ")):
        return "sequence"
    for start, kind in (("go to", "go to"), ("open", "open"), ("pick up", "pick up"), ("put ", "put next")):
        if text.startswith(start):
            return kind
    return "other"


@pytest.mark.parametrize(
    "level", ["BabyAI-GoToLocal-v0", "BabyAI-OpenDoor-v0", "BabyAI-MiniBossLevel-v0", "MiniGrid-Empty-5x5-v0"]
)
def test_kinds_of_missions_are_what_their_texts_say(level):
    bank = ml.LevelBank.generate(level, seeds=range(60))
    kinds = [MISSION_KINDS[kind] for kind in mission_kinds(bank.tables).tolist()]
    assert kinds == [kind_of_text(bank.mission_text(i)) for i in range(60)]
    if level == "BabyAI-MiniBossLevel-v0":
        assert len(set(kinds)) == 5


def test_episodes_are_counted_under_the_kind_of_the_mission_they_had():
    """A slow count over the recorded observations: the mission seen at an episode's last step counts. All episodes
    that began early enough to have ended, whatever their length, are there, and no others."""
    banks = [ml.LevelBank.generate(level, seeds=range(30)) for level in ("BabyAI-PickupLoc-v0", "BabyAI-GoToObjS4-v0")]
    worlds = ml.GridWorlds.side_by_side(banks, [12, 12], [1, 1])
    agent = ml.Agent(AGENT)
    rollout = Player(worlds, agent, torch.Generator().manual_seed(0)).collect(agent, 300, 20)
    ended, won = dict.fromkeys(MISSION_KINDS, 0), dict.fromkeys(MISSION_KINDS, 0)
    for t, b in rollout.dones.nonzero().tolist():
        begin = max((s + 1 for s in range(t) if rollout.dones[s, b]), default=0)
        if begin > 300 - max(bank.step_limit for bank in banks):
            continue
        kind = kind_of_text(decode_mission(rollout.observation.mission[t, b]))
        ended[kind] += 1
        won[kind] += int(rollout.rewards[t, b] > 0)
    assert {kind: int(rollout.episodes[f"count/{kind}"]) for kind in MISSION_KINDS} == ended
    assert {kind: int(rollout.episodes[f"success/{kind}"]) for kind in MISSION_KINDS} == won
    assert ended["go to"] > 5 and ended["pick up"] > 5 and sum(won.values()) > 5
    assert rollout.episodes["success"] == sum(won.values())


def test_lines_hold_success_of_the_kinds_that_ended(small_bank):
    line = train(dataclasses.replace(CONFIG, evaluate_every=0), progress=False, bank=small_bank).metrics[-1]
    assert line["success/go to"] == line["success"] and [k for k in line if k.startswith("success/")] == [
        "success/go to"
    ]


# TensorBoard


def test_tensorboard_gets_every_number_and_lines_lost_in_a_kill_are_replaced(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    lines = [{"frames": 10 * i, "success": i / 4, "success/go to": i / 5, "task": "a level"} for i in range(1, 5)]
    killed = tensorboard_reporter(tmp_path)
    for line in lines:
        killed(line | {"success": 0.0})
    resumed = tensorboard_reporter(tmp_path)  # from the checkpoint at frame 20 on
    for line in lines[2:]:
        resumed(line)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert events.Tags()["scalars"] == ["success", "success/go_to"]
    assert [(e.step, e.value) for e in events.Scalars("success")] == [(10, 0), (20, 0), (30, 0.75), (40, 1)]


def test_without_tensorboard_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ml.UserError, match=r"tensorboard is not installed; run pip install"):
        tensorboard_reporter(tmp_path)


# Reports

KINDS = ("success/go to", "success/open")
AGENT_LINES = [
    {"frames": f, "seconds": f / 50, "episodes": 40, "reward": s / 2} | dict.fromkeys(("success", *KINDS), s)
    for f, s in ((100, 0.1), (500, 0.4), (950, 0.5), (1000, 0.75))
]
AGENT_LINES = [line | {"episodes/go to": 30, "episodes/open": 10} for line in AGENT_LINES]
AGENT_LINES[1] = AGENT_LINES[1] | {"held_out_success": 0.333}
SEQUENCE_LINES = [{"update": u, "loss": 1 / u, "test/60 blanks": 2 / u, "seconds": u / 4} for u in (10, 20)]


def test_a_table_pools_the_episodes_of_the_last_tenth():
    first, _, row, other = report_table({"a": AGENT_LINES, "b": AGENT_LINES[:2]}).splitlines()
    cells = dict(zip(first.split(" | "), row.split(" | "), strict=True))
    assert cells["success"] == str(wilson(50, 80)) and cells["reward"] == f"{(0.25 + 0.375) / 2:.3f}"
    assert (cells["frames"], cells["held out"], cells["frames/s"]) == ("1,000", "0.333", "50")
    assert (cells["go to"], cells["open"]) == ("0.625", "0.625")
    rare = {"episodes/open": 10, "success/open": 0.2}  # a kind that ended in one report of the last tenth only
    lines = [*AGENT_LINES[:2], AGENT_LINES[2] | rare, {k: v for k, v in AGENT_LINES[3].items() if "open" not in k}]
    first, _, row = report_table({"a": [*lines, lines[3] | {"episodes": 0, "frames": 1001}]}).splitlines()
    assert dict(zip(first.split(" | "), row.split(" | "), strict=True))["open"] == "0.200"
    assert str(wilson(16, 40)) in other
    known = [*AGENT_LINES[:1], AGENT_LINES[1] | {"held_out_seen": 0.25}, *AGENT_LINES[2:]]
    assert "| 0.333 (25.0% seen) |" in report_table({"a": known})


def test_a_table_says_which_runs_diverged_and_where():
    runs, where = {"a": AGENT_LINES, "b": AGENT_LINES, "c": []}, {"a": "", "b": "1,000 frames", "c": "80 frames"}
    a, b, c = report_table(runs, where).splitlines()[2:]
    assert a.startswith("| a | 1,000 |") and b.startswith("| b (diverged at 1,000 frames) | 1,000 |")
    assert c.startswith("| c (diverged at 80 frames) |  |")
    assert report_table({"c": []}, where).endswith("| c (diverged at 80 frames) |")


def test_a_table_of_sequence_tasks_shows_tests():
    first, _, row = report_table({"x": SEQUENCE_LINES}).splitlines()
    assert first == "| run | updates | loss | 60 blanks | updates/s | hours |"
    assert row == "| x | 20 | 0.0500 | 0.100 | 4.0 | 0.00 |"


def test_curves_are_drawn_with_a_sentence_in_words(tmp_path):
    words = metric_curves({"a": AGENT_LINES, "b": AGENT_LINES[:3]}, tmp_path / "agents.png")
    assert words == "Success against frames (millions): a ends at 0.750; b ends at 0.500."
    assert metric_curves({"x": SEQUENCE_LINES}, tmp_path / "tasks.png") == "Loss against updates: x ends at 0.050."
    imitator = [{"frames": 100, "seconds": 2.0, "episodes": 0, "fast/accuracy": 0.5}]
    words = metric_curves({"i": imitator}, tmp_path / "imitation.png")
    assert words == "Fast/accuracy against frames (millions): i ends at 0.500."
    both = metric_curves({"a": AGENT_LINES, "i": imitator}, tmp_path / "both.png")
    assert both == "Success against frames (millions): a ends at 0.750."
    assert "| acts as the bot |" in report_table({"i": imitator})
    for name in ("agents.png", "tasks.png", "imitation.png", "both.png"):
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"


def test_a_report_in_which_no_episode_ended_says_nothing_of_success(tmp_path):
    config = dataclasses.replace(CONFIG, level="BabyAI-GoTo-v0", num_envs=4, steps=5, train_levels=4, report_every=1)
    config = dataclasses.replace(config, frames=40, evaluate_every=0, ppo=ml.PPOConfig(minibatches=1), timescales=None)
    run = train(dataclasses.replace(config, method="lstm"), progress=False)
    for line in run.metrics:
        assert line["episodes"] == 0 and not {"success", "reward", "length"} & set(line)
    words = learning_curves({"young": run.metrics, "grown": AGENT_LINES}, tmp_path / "c.png")
    assert words == "Success rate against training frames: grown ends at 75% after 0.00 million frames."


def test_what_cannot_be_reported_gets_one_sentence(tmp_path):
    with pytest.raises(ml.UserError, match="report on them apart"):
        report_table({"a": AGENT_LINES, "x": SEQUENCE_LINES})
    with pytest.raises(ml.UserError, match="no run to report on"):
        report_table({})
    with pytest.raises(ml.UserError, match="holds no run with a report"):
        kept_lines.recorded_metrics(tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"frames": 1')
    with pytest.raises(ml.UserError, match="has not reported yet"):
        kept_lines.recorded_metrics(tmp_path)


def test_metarim_report_prints_a_table_and_draws(tmp_path):
    train(dataclasses.replace(CONFIG, evaluate_every=0, frames=640), folder=tmp_path / "run", progress=False)
    command = [sys.executable, "-m", "metarim_lite.cli", "report", "run", "--out", "c.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("| run | frames |") and "curves in c.png" in done.stdout
    assert (tmp_path / "c.png").stat().st_size > 1000


def test_a_state_that_grows_beyond_all_use_is_said_once_long_before_the_loss_is_not_finite(small_bank, caplog):
    """Messages without a bound, made loud: |h| multiplies at every step of a rollout."""
    lines = []
    for gate in ("none", "bounded"):
        config = ml.TrainConfig(
            method="rim", frames=3 * 8 * 20, num_envs=8, steps=20, report_every=1, device="cpu",
            agent=ml.AgentConfig(hidden_size=4, num_modules=4, active=2, output_gate=gate, message_scale=6.0),
            ppo=ml.PPOConfig(minibatches=1, epochs=1), timescales={"fast_lr": 1e-9},
        )  # fmt: skip
        caplog.clear()
        run = ml.train(config, bank=small_bank, progress=False)
        lines.append([line["fast/largest_h"] for line in run.metrics])
        said = [record.getMessage() for record in caplog.records if "largest |h|" in record.getMessage()]
        assert len(said) == (gate == "none")
    assert min(lines[0]) > 100 and said == []
    assert 0 < max(lines[1]) < 2


def test_large_states_are_said_once_of_a_learner_however_often_its_loop_begins_anew(caplog):
    """As where somebody watches: each report has a loop of its own."""
    learners = Learner(), Learner()
    for learner in learners:
        learner.counters = {"frames": 5, "reports": 0, "seconds": 0.0}
        for _ in range(3):
            with looping(learner, "frames", "frames", 10, "", False, None) as loop:
                loop.advance(lambda: {"fast/largest_h": torch.tensor(123.0)}, lambda: True)
    said = [
        record.getMessage() for record in caplog.records if "largest |h| is 123 after 5 frames" in record.getMessage()
    ]
    assert len(said) == len(learners)
