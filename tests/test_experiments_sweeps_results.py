"""The lines that a sweep keeps of its runs: what they say, of runs that diverged too; torn and damaged ones."""

import dataclasses
import json

import pytest
import torch
from tiny_sweeps import BASE, CONFIG, forbidden, without_times

import metarim_lite as ml
from metarim_lite.experiments import judging, many
from metarim_lite.experiments.many import read_results
from metarim_lite.experiments.sweeps import sweep


def test_a_run_that_diverges_is_a_result_and_is_run_again_only_when_its_line_is_deleted(tmp_path, monkeypatch, capsys):
    config = dataclasses.replace(CONFIG, methods=("lstm",), seeds=(0,), vary=("ppo.value=0.5,1e38",))
    done = sweep(config, tmp_path, workers=2, progress=False)
    assert not done.failures
    good, bad = ([line for line in done.results if line["varied"] == {"ppo.value": v}] for v in (0.5, 1e38))
    assert not any("diverged" in line for line in good)
    for line in bad:
        assert "is not finite at" in line["diverged"] and line["success"]["value"] == 0
        assert line["frames"] < line["planned"] == BASE.frames and line["area"] < 0.5
        assert line["curve"]["frames"][0] == 0 and line["curve"]["frames"][-1] <= line["frames"]
    assert "1, 1 of 1 diverged" in done.table() and "is not finite" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(many, "in_own_process", forbidden)
        assert sweep(config, tmp_path, progress=False).results == done.results
    kept = [x for x in (tmp_path / "results.jsonl").read_text().splitlines() if json.loads(x)["run"] != bad[0]["run"]]
    (tmp_path / "results.jsonl").write_text("".join(f"{x}\n" for x in kept))
    assert without_times(sweep(config, tmp_path, progress=False).results) == without_times(done.results)


def test_the_line_of_a_run_says_what_its_metrics_say(monkeypatch):
    """By hand: the curve 0.2, 0.6, 0.95, 1.0 at 0, 100, 200, 400 frames has the area (40 + 77.5 + 195) / 400."""
    monkeypatch.setattr(judging, "_before", lambda config: 0.2)
    lines = [
        {"frames": 100, "seconds": 1.0, "held_out_success": 0.6},
        {"frames": 200, "seconds": 2.0, "held_out_success": 0.95},
        {"frames": 300, "seconds": 3.0, "updates/modules": 3, "frames/slow": 100},
        {"frames": 400, "seconds": 4.0, "updates/modules": 4, "updates/attention": 1, "frames/slow": 200, "success": 1},
    ]
    config = dataclasses.replace(BASE, frames=400)
    perfect = ml.analysis.wilson(10, 10)
    line = judging._line(config, lines, ml.Evaluation(perfect, perfect, perfect, 10, torch.ones(10).numpy()))
    assert line["area"] == pytest.approx(312.5 / 400)
    assert line["curve"] == {"frames": [0, 100, 200, 400], "success": [0.2, 0.6, 0.95, 1.0]}
    assert line["frames_to"] == {"0.5": 100, "0.9": 200, "0.98": 400}
    assert line["updates"] == {"modules": 4, "attention": 1} and line["frames_by_clock"] == {"slow": 200}
    assert line["success"]["value"] == 1.0 and line["frames"] == line["planned"] == 400
    lost = judging._line(config, lines[:3], None)
    assert lost["area"] == pytest.approx(117.5 / 400) and lost["frames_to"] == {"0.5": 100, "0.9": 200, "0.98": None}
    assert (lost["frames"], lost["planned"], lost["success"]["value"]) == (300, 400, 0.0)
    at_once = judging._line(config, [], None)
    assert (at_once["frames"], at_once["area"], at_once["frames_per_second"]) == (0, 0.0, None)


def test_half_a_line_at_the_end_is_cut_off(tmp_path):
    path = tmp_path / "results.jsonl"
    for torn in ("", '{"run": "b"', '{"run": "b"}'):
        path.write_text('{"run": "a"}\n' + torn)
        assert list(read_results(path)) == ["a"]
        assert path.read_text() == '{"run": "a"}\n'


@pytest.mark.parametrize(
    "content, sentence",
    [('{"run": "a"}\n{"ru\n{"run": "b"}\n', "line 2 .* is damaged"), ('{"run": "a"}\n{"run": "a"}\n', "'a' twice")],
)
def test_damaged_results_are_refused_with_the_line_named(content, sentence, tmp_path):
    (tmp_path / "results.jsonl").write_text(content)
    with pytest.raises(ml.UserError, match=sentence):
        read_results(tmp_path / "results.jsonl")
