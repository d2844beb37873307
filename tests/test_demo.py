"""The main job, with little training: it ends by itself, says what it did, and leaves what it says it leaves."""

import json
import re
import subprocess
import sys


def demo(folder):
    words = ["demo", "--frames", "35000", "--folder", str(folder)]
    return subprocess.run(
        [sys.executable, "-m", "metarim_lite.cli", *words], capture_output=True, text=True, check=False
    )


def table(output):
    return [line for line in output.splitlines() if "%" in line and "[" in line]


def test_the_demo_ends_with_a_table_curves_and_a_replay_and_can_be_run_again(tmp_path):
    first = demo(tmp_path / "demo")
    assert first.returncode == 0, first.stderr
    rows = table(first.stdout)
    assert len(rows) == 3 and all(re.search(r"\d+\.\d% \[\d+\.\d%, \d+\.\d%\]", row) for row in rows)
    assert re.search(r"wall time \d+ s .*peak memory \d\.\d\d GB", first.stdout)
    assert (tmp_path / "demo" / "curves.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "demo" / "replay.html").read_text()
    assert "<html" in page and not re.search(r"""(src|href)=["']https?:""", page)
    before = first.stdout.index("before.html")
    assert before < first.stdout.index("Meta-training") and (tmp_path / "demo" / "before.html").is_file()
    assert "accomplished in" in first.stdout[:before] and "intervals" in first.stdout and "dice" in first.stdout
    lines = [json.loads(line) for line in (tmp_path / "demo" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["frames"] >= 35000

    again = demo(tmp_path / "demo")
    assert again.returncode == 0 and table(again.stdout) == rows


def test_the_shipped_agents_are_as_good_as_their_records_say():
    import metarim_lite as ml
    from metarim_lite.experiments.shipped import shipped_run
    from metarim_lite.training import HELD_OUT_SEEDS

    assert {"lstm-gotolocal", "meta-rim-gotolocal"} <= set(ml.shipped_agents())
    for name in ml.shipped_agents():
        record = shipped_run(name)
        levels = record.config["level"].split(",")
        seeds = range(HELD_OUT_SEEDS, HELD_OUT_SEEDS + 300 // len(levels))
        bank = ml.LevelBank.concat([ml.LevelBank.generate(level, seeds) for level in levels])
        assert record.command.startswith("metarim train")
        result = ml.evaluate(ml.load_agent(name), bank, episodes=300, seed=5)
        assert result.success.low <= record.held_out["high"] and record.held_out["low"] <= result.success.high


def test_the_demo_can_be_imported_where_unix_s_modules_are_not():
    code = (
        "import sys\nfor name in ('resource', 'fcntl', 'pwd', 'grp', 'termios'): sys.modules[name] = None\n"
        "import metarim_lite.demo, metarim_lite.cli, metarim_lite.course.student"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
