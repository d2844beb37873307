"""Task sequences: the success matrix, runs that survive a kill, transfer, and bad input."""

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
from tiny_continual import AGENT, BASE, SHORT, TASKS, with_yardstick

import metarim_lite as ml
from metarim_lite.config import from_dict, to_dict
from metarim_lite.experiments import continual
from metarim_lite.experiments.continual import areas_alone, held_out_levels, train_continually
from metarim_lite.experiments.stages import ContinualConfig
from metarim_lite.experiments.transfer import transfer, transfer_table
from metarim_lite.training import Trainer, train


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run that nobody interrupted, and its folder."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return train_continually(SHORT, folder, progress=False), folder


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


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


def test_a_sequence_is_judged_on_its_own_held_out_levels_only_and_knows_when_its_curve_is_not_whole(tmp_path):
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


def test_a_config_survives_json():
    config = with_yardstick("replay")
    assert from_dict(ContinualConfig, json.loads(json.dumps(to_dict(config)))) == config
