"""Runs of the study of fast and slow: what each leaves, that each is made once, and that kills change nothing."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import psutil
import pytest
import tiny_meta_study
import torch

import metarim_lite as ml
from metarim_lite.analysis.curves import area
from metarim_lite.cli_look import report
from metarim_lite.experiments import judging, meta_page, meta_run, meta_shipped
from metarim_lite.experiments.many import read_results
from metarim_lite.experiments.meta_plan import Asked, Tuning, config_of, named_run
from metarim_lite.experiments.modules_at_play import specialisation, watch_modules
from metarim_lite.training.trainer import TrainConfig

NONE = Tuning()
TIMES = ("seconds", "frames_per_second", "rules")  # rules: of the tiny conditions here, of the real ones in a process


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A tiny study that nobody disturbed, made here, one run after the other: (folder, rows by name)."""
    folder, said = tmp_path_factory.mktemp("study") / "whole", []
    done = tiny_meta_study.make(folder, on_line=said.append)
    assert not done.failures and done.asked == len(said) == 6
    return folder, {row["run"]: row for row in done.rows}, said


def without_times(rows):
    return {name: {k: v for k, v in row.items() if k not in TIMES} for name, row in rows.items()}


def test_every_run_has_a_line_with_all_that_the_tables_need(undisturbed):
    folder, rows, said = undisturbed
    assert rows == read_results(folder / "results.jsonl") and len(rows) == 6
    assert all(name in words for name, words in zip(rows, said, strict=True))
    row = rows["mix/meta-rim-s21"]
    assert (row["condition"], row["setting"], row["method"], row["varied"]) == ("mix", "meta-rim", "meta-rim", {})
    assert (row["seed"], row["device"], row["machine"], row["num_envs"]) == (21, "cpu", "cpu", 16)
    assert row["frames"] == row["planned"] == tiny_meta_study.FRAMES and row["tuned"] is False
    assert row["updates"] == {"encoder": 8, "modules": 8, "heads": 8, "attention": 4}
    assert set(row["by_level"]) == {tiny_meta_study.LEVEL, tiny_meta_study.OTHER}
    assert np.mean(list(row["by_level"].values())) == pytest.approx(row["success"]["value"])
    assert row["area"] == area(row["curve"]["frames"], row["curve"]["success"]) and len(row["curve"]["frames"]) >= 3
    assert set(row["versions"]) == {"metarim-lite", "torch", "minigrid"} and len(row["rules"]) == 16
    sequence = rows["sequence/lstm-s21"]
    assert np.shape(sequence["success"]) == (2, 2) and "forgetting" in sequence["measures"]
    assert sequence["planned"] == tiny_meta_study.TINY["sequence"].frames and sequence["updates"]["modules"] > 0


def test_success_on_each_level_is_that_of_its_own_levels(monkeypatch):
    solved = np.repeat([True, False], [20, 20])
    perfect = ml.analysis.wilson(20, 40)
    monkeypatch.setattr(judging, "evaluate", lambda *_: ml.Evaluation(perfect, perfect, perfect, 40, solved))
    config = TrainConfig(level=f"{tiny_meta_study.LEVEL},{tiny_meta_study.OTHER}", train_levels=60)
    _, by_level = judging._judge(SimpleNamespace(config=config, agent=None), 20)
    assert by_level == {tiny_meta_study.LEVEL: 1.0, tiny_meta_study.OTHER: 0.0}


def test_what_comes_after_training_is_what_its_agent_does(undisturbed):
    """By hand, with the agent that the run left."""
    folder, rows, _ = undisturbed
    row = rows["mix/meta-rim-s21"]
    agent = ml.load_agent(folder / "runs" / row["run"])
    bank = ml.LevelBank.generate(tiny_meta_study.THIRD, seeds=range(1_000_000, 1_000_020))
    assert row["harder"]["mean"] == ml.evaluate(agent, bank, 20, seed=21).success.value
    assert rows["mix/lstm-s21"]["modules"] is None and rows["mix/lstm-s21"]["harder"]["mean"] >= 0
    shift = rows["pair/meta-rim-s21"]["shift"]
    assert shift["frames"] == tiny_meta_study.TINY["shift"].frames == shift["curve"]["frames"][-1]
    assert shift["area"] == area(shift["curve"]["frames"], shift["curve"]["success"])
    assert (shift["before"], shift["after"]) == (shift["curve"]["success"][0], shift["curve"]["success"][-1])
    assert shift["gain"][0] == pytest.approx(shift["after"] - shift["before"])
    told = row["modules"]["told"]
    assert set(told) == {"mission", "phase", "ahead"}
    assert row["modules"]["mean"] == pytest.approx(np.mean([of["excess"] for of in told.values()]))
    assert sum(row["modules"]["active"]) == pytest.approx(2), "two of three modules at every step"


def test_the_agent_is_trained_as_metarim_train_does_it(undisturbed):
    _, rows, _ = undisturbed
    row = rows["pair/lstm-s21"]
    with tiny_meta_study.tiny():
        config = config_of(Asked("pair", "lstm", 21), NONE, "cpu")
    run = ml.train(config, progress=False)
    held_out = ml.training.held_out_bank(config.levels, 20, config.train_levels)
    assert row["success"]["value"] == ml.evaluate(run.agent, held_out, 20).success.value


def test_what_is_finished_is_not_started_again_and_other_seeds_are_added(undisturbed, monkeypatch):
    folder, rows, _ = undisturbed
    started = []
    monkeypatch.setattr(
        "metarim_lite.experiments.many.in_own_process", lambda job, stop: started.append(job) or {"error": "no"}
    )
    assert tiny_meta_study.make(folder, workers=1).rows == list(rows.values()) and not started
    done = tiny_meta_study.make(folder, names=("mix",), seeds=(21, 22), workers=1)
    assert [job["settings"]["config"]["seed"] for job in started] == [22, 22]
    assert done.failures == {"mix/lstm-s22": "no", "mix/meta-rim-s22": "no"} and len(done.rows) == 6


def test_a_diverged_run_is_a_row(tmp_path, monkeypatch):
    def wild(folder, progress, config, episodes):
        return {"diverged": "loss is not finite", "frames": 5, "planned": 10, "area": 0.1}

    monkeypatch.setattr(meta_run, "train_and_judge", wild)
    with tiny_meta_study.tiny():
        run = named_run(Asked("mix", "rim", 21), tmp_path, NONE, "cpu")
    line = meta_run.train_and_follow(tmp_path, False, **run.settings)
    assert line["diverged"] and line["area"] == 0.1 and "harder" not in line and line["machine"] == "cpu"


def test_an_agent_that_diverges_while_it_adapts_is_a_result(monkeypatch):
    def wild(*_, **__):
        raise ml.errors.Diverged("loss is not finite")

    monkeypatch.setattr(meta_run, "evaluate_adaptation", wild)
    agent = ml.Agent(ml.AgentConfig(num_modules=3, active=2, hidden_size=8, input_size=16))
    found = meta_run._shift(agent, tiny_meta_study.TINY["shift"], TrainConfig(num_envs=16), 20)
    assert found == {"diverged": "loss is not finite", "area": 0.0}


def test_a_folder_and_what_is_shipped_of_it_say_the_same(tmp_path, undisturbed):
    _, found, _ = undisturbed
    with tiny_meta_study.tiny():
        kept = meta_shipped.ship_rows(list(found.values()), tmp_path / "table.json")
        assert meta_shipped.judged(kept, {}) == meta_shipped.judged(list(found.values()), {})
        text = meta_shipped.report(kept, {})
    assert "## 13." in text and "## sequence, on cpu" in text and "| meta-rim |" in text
    assert len((tmp_path / "table.json").read_text(encoding="utf-8").splitlines()) == 6 + 2, "a row a line"


def test_the_page_says_what_the_lines_say_and_needs_nothing_else(tmp_path, undisturbed, capsys):
    folder, found, _ = undisturbed
    more = [row | {"seed": seed} | ({"area": row["area"] + seed / 1000} if "area" in row else {})
            for row in found.values() for seed in (22, 23)]  # fmt: skip
    rows = [*found.values(), *more]
    with tiny_meta_study.tiny():
        page, lines = meta_page.study_page(rows, {}), meta_shipped.judged(rows, {})
    root = ElementTree.fromstring(html_as_xml(page))
    text = " ".join(" ".join(root.itertext()).split())
    with_runs = [line for line in lines if line["effect"] is not None]
    pairs = [e for e in root.iter("div") if e.get("class") == "pair"]
    assert len(pairs) == len(with_runs) > 0
    for line, pair in zip(with_runs, pairs, strict=True):
        words = " ".join("".join(pair.itertext()).split())
        assert line["comparison"] in words and meta_shipped.interval_in_words(line) in words
        assert {"supported": "✔", "not supported": "✘", "undecided": "?"}[line["verdict"].split(":")[0]] in words
    assert all(f'id="claim{number}"' in page and f"{number}. " in text for number in range(1, 14))
    assert "the rates that their method comes with" in text and "What this study cannot say" in text
    assert page.count("<h3>shift</h3>") == 1 and "meta-rim ends at" in page.split("<h3>shift</h3>")[1]
    assert " worlds on a CPU." in text and "on a cuda" not in meta_page.study_page(meta_shipped.shipped_rows())
    assert not re.search(r"(src|href)\s*=\s*.?(http|//)|@import|url\((?!#)", page), "one file, no network"

    report((Path("study"), folder), tmp_path / "p.html")
    assert (tmp_path / "p.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert "6 runs, in" in capsys.readouterr().out
    with pytest.raises(ml.UserError, match="holds no finished run of the study"):
        report((Path("study"), tmp_path / "nothing"), tmp_path / "q.html")
    assert not (tmp_path / "q.html").exists()


def html_as_xml(page):
    """Our page as XML: void elements closed, attributes quoted, entities that XML lacks left out."""
    page = page.split("<body>")[1].split("</body>")[0]
    page = re.sub(r"<br>", "<br/>", re.sub(r"class=(\w+)", r'class="\1"', page))
    return f"<body>{page}</body>"


def test_an_interval_is_drawn_where_its_numbers_are():
    line = {"comparison": "a − b", "effect": 0.1, "low": -0.2, "high": 2.0}
    svg = ElementTree.fromstring(meta_page.interval_svg(line))
    middle, per = 100, 96 / meta_page.REACH
    assert float(svg.find("circle").get("cx")) == pytest.approx(middle + 0.1 * per)
    left, right = re.fullmatch(r"M(.+) 11H(.+)", svg.findall("path")[1].get("d")).groups()
    assert float(left) == pytest.approx(middle - 0.2 * per) and float(right) == pytest.approx(196), "cut at the end"


def test_a_setting_with_fewer_runs_than_the_other_is_said_to_have_fewer():
    assert meta_page._runs({"runs": {"a": 6, "b": 6}, "frames": 4_000}) == "6 runs of each, 4,000 frames"
    assert meta_page._runs({"runs": {"a": 5, "b": 6, "c": 6}, "frames": 4_000}) == "5 and 6 and 6 runs, 4,000 frames"


def test_reports_as_html_keep_every_cell_and_escape_it():
    text = "One < two.\n\n| a | b |\n|---|---|\n| 1 | <x> |\n\n- first\n- second"
    assert list(meta_page.html_of_report(text)) == [
        "<p>One &lt; two.</p>",
        '<div class="wide"><table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>&lt;x&gt;</td></tr></table></div>',
        "<ul><li>first</li><li>second</li></ul>",
    ]
    with pytest.raises(ml.UserError, match="no line of"):
        list(meta_page.html_of_report("| a |\n| 1 |"))


def test_watched_modules_are_those_that_were_active(small_bank):
    torch.manual_seed(3)
    agent = ml.Agent(ml.AgentConfig(num_modules=4, active=2, hidden_size=8, input_size=16, channels=4, head_size=8))
    bank = small_bank.select(range(12))
    played = watch_modules(agent, bank, seed=5)
    assert played.active.shape[1:] == (12, 4) and (played.active.sum(-1) == 2).all()
    assert played.playing[0].all() and not played.playing[-1].all() or played.playing.shape[0] == 1
    assert (np.diff(played.playing.astype(int), axis=0) <= 0).all(), "an episode that is over does not begin again"
    lengths, evaluation = played.playing.sum(0), ml.evaluate(agent, bank, 12, seed=5)
    assert lengths.mean() == pytest.approx(evaluation.length.value), "the same episodes as with the same dice elsewhere"
    worlds = ml.GridWorlds(bank, 12)
    first = worlds.reset(levels=torch.arange(12)).image
    assert (played.seen[0] == first[:, 3, 5, 0].numpy()).all() and (played.mission == 0).all()
    assert set(specialisation(played)) == {"mission", "phase", "ahead"}
    with pytest.raises(ml.UserError, match="has no modules to watch"):
        watch_modules(ml.Agent(ml.AgentConfig(controller="lstm")), bank)


def processes(pid):
    return psutil.Process(pid).children(recursive=True) if psutil.pid_exists(pid) else []


def test_killed_at_random_moments_and_started_again_nothing_is_lost_or_counted_twice(tmp_path, undisturbed):
    expected = {name: row for name, row in undisturbed[1].items() if not name.startswith("pair")}
    folder, dice, kills = tmp_path / "study", random.Random(int.from_bytes(os.urandom(4), "big")), 0
    words = [sys.executable, str(Path(tiny_meta_study.__file__)), str(folder)]
    for attempt in range(3):
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if attempt < 2:
            deadline = time.monotonic() + dice.uniform(3, 12)
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            if process.poll() is None:
                victims, kills = processes(process.pid), kills + 1
                if dice.random() < 0.5:  # a run with it, or only the one that starts them
                    for victim in victims:
                        victim.send_signal(signal.SIGKILL)
                process.send_signal(signal.SIGKILL)
                process.wait()
                psutil.wait_procs(victims, timeout=120)
                assert not any(victim.is_running() for victim in victims), "runs outlive the study"
                process.stdout.close(), process.stderr.close()
                continue
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        break
    texts = [json.loads(text) for text in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sorted(row["run"] for row in texts) == sorted(expected), f"after {kills} kills"
    assert without_times({row["run"]: row for row in texts}) == without_times(expected)
