"""The command line as a user meets it: commands listed, mistakes answered with one sentence and status 2."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

import metarim_lite as ml
from metarim_lite.cli import COMMANDS, main


def metarim(*words, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "metarim_lite.cli", *words], capture_output=True, text=True, cwd=cwd, check=False
    )


def test_help_lists_every_command():
    shown = metarim("--help")
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in COMMANDS)


def test_the_version_is_that_of_the_project():
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert metarim("--version").stdout == f"metarim-lite {project['version']}\n"


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of an encoding, in which commands run here, in this process: (words) -> status, shown, said."""

    def of(encoding):
        def run(*words):
            streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
            monkeypatch.setattr(sys, "stdout", streams[0])
            monkeypatch.setattr(sys, "stderr", streams[1])
            monkeypatch.setattr(sys, "argv", ["metarim", *words])
            with pytest.raises(SystemExit) as end:
                main()
            for stream in streams:
                stream.flush()
            return end.value.code, *(stream.buffer.getvalue().decode(encoding) for stream in streams)

        return run

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield of
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437"])
def test_help_and_mistakes_show_in_a_terminal_of_few_letters(terminal, encoding):
    """They hold letters that it lacks, and `errors="strict"` is what Python gives it."""
    run = terminal(encoding)
    for words in (["--help"], *([name, "--help"] for name in COMMANDS), ["train", "--task", "copying", "--help"]):
        status, shown, said = run(*words)
        assert status == 0 and "usage: metarim" in shown and said == "", words
    status, _, said = run("evaluate", "größe ✓")
    assert status == 2 and said.startswith("metarim: unknown agent 'gr") and said.count("\n") == 1


@pytest.mark.parametrize(
    "words, sentence",
    [
        (("train", "--method", "meta-rin"), "did you mean 'meta-rim'"),
        (("train", "--level", "BabyAI-GoToLocl-v0"), "BabyAI-GoToLocal-v0"),
        (("train", "--device", "cuda:99"), "not available"),
        (("train", "--agent.active", "9"), "choose k between 1 and 6"),
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
    assert first.stdout.startswith("rim: 16 worlds on ")
    assert "; fast clock encoder, modules, attention, heads (spans of 20, 240 steps)" in first.stdout
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
    shown = metarim("replay", "run", "BabyAI-GoToObjS4-v0", "--html", "--out", "page.html", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "<html" in (tmp_path / "page.html").read_text()


def test_folders_begin_at_home_and_without_a_home_all_works_with_one_warning(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import pwd\ndef unknown(_): raise KeyError('uid not found')\npwd.getpwuid = unknown\n"
    )
    homeless = {k: v for k, v in os.environ.items() if k not in ("HOME", "METARIM_CACHE", "XDG_CACHE_HOME")}
    homeless["PYTHONPATH"] = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    small = (
        "train --level BabyAI-GoToObjS4-v0 --method lstm --frames 320 --num-envs 16 --steps 20 --train-levels 20 "
        "--evaluate-every 0 --agent.lstm-size 8 --folder"
    ).split()
    command = [sys.executable, "-m", "metarim_lite.cli", *small]
    told = {"capture_output": True, "text": True, "cwd": tmp_path}
    done = subprocess.run([*command, "run"], env=homeless, check=False, **told)
    assert done.returncode == 0 and (tmp_path / "run" / "agent.safetensors").exists(), done.stderr
    assert done.stderr.count("are not cached: no home folder is known") == 1
    refused = subprocess.run(
        [*command, "~/run"], capture_output=True, text=True, cwd=tmp_path, env=homeless, check=False
    )
    assert refused.returncode == 2 and "begins with ~, and no home folder is known" in refused.stderr
    at_home = os.environ | {"HOME": str(tmp_path / "home")}
    subprocess.run([*command, "~/run"], env=at_home, check=True, **told)
    assert (tmp_path / "home" / "run" / "agent.safetensors").exists() and not (tmp_path / "~").exists()


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
