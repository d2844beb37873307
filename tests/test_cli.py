"""The command line as a user meets it: commands listed, mistakes answered with one sentence and status 2."""

import json
import signal
import subprocess
import sys
import time

import pytest

import metarim_lite as ml


def metarim(*words, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "metarim_lite.cli", *words], capture_output=True, text=True, cwd=cwd, check=False
    )


def test_help_lists_every_command():
    from metarim_lite.cli import COMMANDS

    shown = metarim("--help")
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in COMMANDS)


@pytest.mark.parametrize(
    "words, sentence",
    [
        (("train", "--method", "meta-rin"), "did you mean 'meta-rim'"),
        (("train", "--level", "BabyAI-GoToLocl-v0"), "BabyAI-GoToLocal-v0"),
        (("train", "--device", "cuda:99"), "not available"),
        (("train", "--agent.active", "9"), "k = 9 active modules of N = 6"),
        (("train", "--task", "copyng"), "did you mean 'copying'"),
        (("sweep", "--methods", "rim", "rin"), "did you mean 'rim'"),
        (("evaluate", "nobody"), "unknown agent 'nobody'"),
        (("bench", "speed"), "unknown bench 'speed'"),
        (("study", "addding", "--shipped"), "did you mean 'adding'"),
    ],
)
def test_a_mistake_gets_one_sentence_and_status_2(words, sentence, tmp_path):
    done = metarim(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_unknown_setting_is_refused(tmp_path):
    done = metarim("train", "--num-env", "3", cwd=tmp_path)
    assert done.returncode == 2 and "num-envs" in done.stderr + done.stdout


def test_a_sequence_task_is_trained_by_name(tmp_path):
    words = ("train", "--task", "copying-small", "--updates", "3", "--batch", "4", "--controller", "lstm")
    done = metarim(*words, "--folder", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "metrics.jsonl").exists() and "run kept in run" in done.stdout
    other = metarim("train", "--task", "adding", "--config", "run/config.toml", cwd=tmp_path)
    assert other.returncode == 2 and "settings of the task 'copying', not of 'adding'" in other.stderr


def test_a_shipped_table_is_printed_without_running_anything(tmp_path):
    shown = metarim("study", "adding", "--shipped", cwd=tmp_path)
    assert shown.returncode == 0 and "| RIM 6/4, 192 units |" in shown.stdout
    assert not list(tmp_path.iterdir())


def test_train_evaluate_replay_and_resume(tmp_path):
    small = (
        "train", "--method", "rim", "--level", "BabyAI-GoToObjS4-v0", "--frames", "2560", "--num-envs", "16",
        "--steps", "20", "--train-levels", "50", "--agent.hidden-size", "8", "--folder", "run",
    )  # fmt: skip
    first = metarim(*small, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "held-out levels: success" in first.stdout
    assert "rim: fast clock encoder, modules, attention, heads (spans of 20, 240 steps)" in first.stdout
    assert "updates of encoder 192, modules 192, attention 192, heads 192" in first.stdout  # 16 for each 20 steps
    assert "spent: frames by clock: fast 2,560; updates by group: encoder 128, modules 128" in first.stdout
    agent = ml.load_agent(tmp_path / "run" / "agent.safetensors")
    counted = sum(p.numel() for p in agent.parameters())
    assert f"parameters: {counted:,} (encoder " in first.stdout
    again = metarim(*small, cwd=tmp_path)
    assert again.returncode == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["frames"] == 2560
    judged = metarim("evaluate", "run", "--level", "BabyAI-GoToObjS4-v0", "--episodes", "20", cwd=tmp_path)
    assert judged.returncode == 0 and "20 episodes" in judged.stdout
    shown = metarim("replay", "run", "--level", "BabyAI-GoToObjS4-v0", "--out", "page.html", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "<html" in (tmp_path / "page.html").read_text()


LONG = (
    "--frames 100000000 --num-envs 16 --steps 20 --train-levels 50 --report-every 1000000 --agent.hidden-size 8 "
    "--agent.lstm-size 16 --method lstm"
)
BASED = " ".join(word.replace("--", "--base.") if word != "--frames" else word for word in LONG.split())


@pytest.mark.parametrize(
    ("words", "asked", "unit"),
    [
        (f"train --level BabyAI-GoToObjS4-v0 {LONG}", signal.SIGINT, "frames"),
        (f"train --level BabyAI-GoToObjS4-v0 {LONG}", signal.SIGTERM, "frames"),
        (f"continual --base.evaluate-episodes 2 {BASED}", signal.SIGTERM, "frames"),
        ("train --task copying-small --batch 4 --updates 1000000 --report-every 1000000 --schedule constant",
         signal.SIGINT, "updates"),
    ],
)  # fmt: skip
def test_what_is_stopped_is_saved_says_how_to_go_on_and_ends_with_the_signal_s_status(tmp_path, words, asked, unit):
    """Its first report would be far away: what is saved is the tick at which the signal came."""
    command = [sys.executable, "-m", "metarim_lite.cli", *words.split(), "--folder", "run"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 120
            while not (tmp_path / "run" / "config.toml").exists() and time.monotonic() < deadline:
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.02)
            time.sleep(1)
            assert not (tmp_path / "run" / "state.json").exists()
            process.send_signal(asked)
            said = process.communicate(timeout=120)[1]
        finally:
            process.kill()
    assert process.returncode == 128 + asked, said
    counters = json.loads((tmp_path / "run" / "state.json").read_text())["counters"]
    count = counters["frames" if unit == "frames" else "update"]
    assert count > 0 and counters["reports"] == 1
    assert said.count(f"stopped after {count:,} {unit} and saved in 'run'; start it again with the same settings") == 1
    assert "Traceback" not in said and "finished" not in said


def test_imitate_then_train_from_there(tmp_path):
    small = (
        "--method", "lstm", "--level", "BabyAI-GoToObjS4-v0", "--frames", "640", "--num-envs", "16", "--steps", "20",
        "--train-levels", "50", "--evaluate-every", "0", "--agent.lstm-size", "8",
    )  # fmt: skip
    first = metarim("imitate", *small, "--folder", "taught", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "held-out levels: success" in first.stdout
    line = json.loads((tmp_path / "taught" / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"fast/accuracy", "fast/cross_entropy"} <= set(line) and "success" not in line
    then = metarim("train", *small, "--start", "taught", "--folder", "run", cwd=tmp_path)
    assert then.returncode == 0, then.stderr
    other = metarim("train", *small[:-1], "16", "--start", "taught", "--folder", "other", cwd=tmp_path)
    assert other.returncode == 2 and "AgentConfig.lstm_size is 8" in other.stderr
