"""Many runs: each is finished once and counted once, in this process or in others."""

import json
import os
from pathlib import Path

import pytest
import torch

import metarim_lite as ml
from metarim_lite.errors import Diverged
from metarim_lite.experiments import worker
from metarim_lite.experiments.many import NamedRun, check_all_finished, results_in


def count(folder, progress, asked, outcome="good"):
    """Stands for a run: it notes that it was started, and what torch had."""
    with (folder / "started.txt").open("a", encoding="utf-8") as f:
        f.write(f"{os.getpid()}\n")
    if outcome == "stopped":
        raise KeyboardInterrupt
    if outcome == "bad":
        raise ml.UserError("it cannot be done; do something else")
    if outcome == "wild":
        return {"diverged": str(Diverged("loss is not finite"))}
    return {"squares": [x * x for x in asked], "threads": torch.get_num_threads(), "method": ml.METHODS["mine"].about}


@pytest.fixture(autouse=True)
def method_of_ones_own(monkeypatch):
    monkeypatch.setitem(ml.METHODS, "mine", ml.MethodConfig("lstm", about="made in a test"))


def named(folder, name, asked=(1, 2), outcome="good", threads=1):
    return NamedRun(name, folder / name, count, {"asked": asked, "outcome": outcome}, {"asked": asked}, threads)


def starts(folder):
    return {path.parent.name: len(path.read_text().split()) for path in folder.glob("*/started.txt")}


@pytest.mark.parametrize("workers", [None, 2])
def test_finished_runs_have_a_line_and_are_not_started_again(tmp_path, workers, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    runs = [named(tmp_path, "a"), named(tmp_path, "b", (3,), threads=2), named(tmp_path, "c", outcome="bad"),
            named(tmp_path, "d", outcome="wild")]  # fmt: skip
    with results_in(tmp_path, "trying") as results:
        failures = results.finish(results.missing(runs), workers, progress=False)
    assert failures == {"c": "it cannot be done; do something else"}
    lines = {line["run"]: line for line in map(json.loads, (tmp_path / "results.jsonl").read_text().splitlines())}
    about = {"threads": 1, "method": "made in a test"}
    assert lines == {
        "a": {"run": "a", "asked": [1, 2], "squares": [1, 4], **about},
        "b": {"run": "b", "asked": [3], "squares": [9], **about, "threads": 2},
        "d": {"run": "d", "asked": [1, 2], "diverged": "loss is not finite"},
    }
    assert results.lines == lines
    with results_in(tmp_path, "trying") as results:
        assert results.missing(runs) == [runs[2]], "a run that diverged has ended, one that failed has not"
        results.finish(results.missing(runs), workers, progress=False)
    assert starts(tmp_path) == {"a": 1, "b": 1, "c": 2, "d": 1}


def test_the_line_of_a_run_whose_settings_changed_is_replaced_by_its_new_one(tmp_path):
    with results_in(tmp_path, "trying") as results:
        results.finish([named(tmp_path, "a"), named(tmp_path, "b")], progress=False)
        changed = [named(tmp_path, "a"), named(tmp_path, "b", (5,))]
        assert results.missing(changed) == [changed[1]]
        results.finish(results.missing(changed), progress=False)
        assert results.missing(changed) == []
    texts = (tmp_path / "results.jsonl").read_text().splitlines()
    assert [json.loads(text)["asked"] for text in texts] == [[1, 2], [5]]


def test_what_was_finished_before_ctrl_c_is_kept_and_nothing_begins_after_it(tmp_path):
    runs = [named(tmp_path, "a"), named(tmp_path, "b", outcome="stopped"), named(tmp_path, "c")]
    with results_in(tmp_path, "trying") as results, pytest.raises(KeyboardInterrupt):
        results.finish(runs, progress=False)
    assert starts(tmp_path) == {"a": 1, "b": 1}
    with results_in(tmp_path, "trying") as results:
        assert results.missing(runs) == runs[1:]


def test_one_process_at_a_time_adds_to_a_folder(tmp_path):
    with results_in(tmp_path, "trying"), pytest.raises(ml.UserError, match="another process is trying"):
        results_in(tmp_path, "trying").__enter__()


def test_a_run_that_another_process_is_still_saving_fails_with_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "PATIENCE", 0.1)
    with results_in(tmp_path / "a", "training"), results_in(tmp_path, "trying") as results:
        failures = results.finish([named(tmp_path, "a")], progress=False)
    assert "another process is still at work in" in failures["a"]


def test_tables_that_need_every_run_say_which_failed():
    check_all_finished({}, 3)
    with pytest.raises(ml.UserError, match="1 of 3 runs failed, the others are kept; the first is a: no room"):
        check_all_finished({"a": "no room"}, 3)


def test_the_share_that_is_done_is_that_of_the_last_checkpoint(tmp_path):
    run = NamedRun("a", tmp_path, count, {}, {}, length=("update", 200))
    assert run.share_done() == 0.0
    (tmp_path / "state.json").write_text(json.dumps({"counters": {"update": 50}}))
    assert run.share_done() == 0.25
