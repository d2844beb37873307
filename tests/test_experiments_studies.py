"""Studies: tables of settings and seeds that can be stopped, gone on with, shipped and read again."""

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

import metarim_lite as ml
from metarim_lite.experiments import studies
from metarim_lite.experiments.sequences import SEQUENCES, SequenceModel, evaluate_sequence, load_sequence_model
from metarim_lite.experiments.studies import run_name, run_study, ship_study, shipped_study
from metarim_lite.experiments.study_settings import STUDIES, Setting, Study
from metarim_lite.models.controller import count_parameters

TINY = dataclasses.replace(SEQUENCES["copying-small"], width=16, num_modules=4, active=2, updates=4, report_every=2)


@pytest.fixture
def tiny_study(monkeypatch):
    settings = {"RIM 4/2": Setting(TINY, "0.00"), "LSTM": Setting(dataclasses.replace(TINY, controller="lstm"), "")}
    monkeypatch.setitem(STUDIES, "tiny", Study("does it run?", settings, "RIM 4/2", test_sequences=32))


@pytest.mark.usefixtures("tiny_study")
def test_a_table_holds_what_the_models_in_the_run_folders_score(tmp_path):
    table = run_study("tiny", tmp_path, seeds=(3, 4), progress=False)
    assert [row.setting for row in table.rows] == ["RIM 4/2", "LSTM"]
    for row in table.rows:
        for i, seed in enumerate(row.seeds):
            model = load_sequence_model(tmp_path / run_name(row.setting, seed) / "model.safetensors")
            assert row.parameters == count_parameters(model)
            assert model.config == dataclasses.replace(STUDIES["tiny"].settings[row.setting].config, seed=seed)
            for split, values in row.tests.items():
                assert values[i] == evaluate_sequence(model, split, 32, studies.FINAL_TEST_SEED)
    assert "| RIM 4/2 |" in str(table) and "metarim study tiny --seeds 3 4" in str(table)


def test_a_test_that_overflowed_is_said_and_not_averaged_away():
    table = shipped_study("adding")
    row = table.rows[0]
    tests = row.tests | {"200 numbers": (math.nan, 0.5, math.inf)}
    shown = str(dataclasses.replace(table, rows=(dataclasses.replace(row, tests=tests),)))
    assert "| overflowed in 2 of 3 |" in shown and "nan" not in shown and "inf" not in shown


def test_a_table_ends_with_lists_of_what_was_tried_and_what_came_out():
    for name in STUDIES:
        notes, text = studies.notes_of(name)[0], str(shipped_study(name))
        items = [*notes.differs, *(f"{one.what}: {one.came_out}." for one in notes.tried), *notes.unknown]
        assert notes.differs and notes.tried and all(f"- {item}" in text.splitlines() for item in items)
        assert max(map(len, items)) < 400, "an item that has to be read twice"
    with pytest.raises(ml.UserError, match="unknown shipped study"):
        shipped_study("notes")


@pytest.mark.usefixtures("tiny_study")
def test_a_table_of_before_which_held_its_notes_is_still_read(tmp_path):
    run_study("tiny", tmp_path, seeds=(0,), progress=False)
    raw = json.loads((tmp_path / "table.json").read_text())
    (tmp_path / "table.json").write_text(json.dumps(raw | {"notes": "One paragraph."}))
    assert run_study("tiny", tmp_path, seeds=(0,), progress=False).rows[0].seeds == (0,)


@pytest.mark.usefixtures("tiny_study")
def test_a_finished_study_is_not_trained_again_and_one_more_seed_is_added(tmp_path):
    first = run_study("tiny", tmp_path, seeds=(0,), progress=False)
    lines = {path: path.read_text() for path in tmp_path.glob("*/metrics.jsonl")}
    both = run_study("tiny", tmp_path, seeds=(0, 1), progress=False)
    assert all(path.read_text() == text for path, text in lines.items()) and len(lines) == 2
    for old, new in zip(first.rows, both.rows, strict=True):
        assert {split: values[:1] for split, values in new.tests.items()} == old.tests
    again = run_study("tiny", tmp_path, seeds=(1,), progress=False)
    assert again.command == "metarim study tiny --seeds 1 0"
    for old, new in zip(both.rows, again.rows, strict=True):
        assert {split: values[::-1] for split, values in new.tests.items()} == old.tests


@pytest.mark.usefixtures("tiny_study")
def test_what_a_table_holds_of_the_same_settings_is_kept(tmp_path, monkeypatch):
    first = run_study("tiny", tmp_path, seeds=(0, 1), progress=False)
    other = Setting(dataclasses.replace(TINY, lr=1e-2), "0.00")
    settings = STUDIES["tiny"].settings | {"RIM 4/2": other}
    monkeypatch.setitem(STUDIES, "tiny", dataclasses.replace(STUDIES["tiny"], settings=settings))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "table.json").write_bytes((tmp_path / "table.json").read_bytes())
    second = run_study("tiny", tmp_path / "elsewhere", seeds=(1, 0, 2), progress=False)
    made = {path.parent.name for path in (tmp_path / "elsewhere").glob("*/metrics.jsonl")}
    assert made == {"rim-4-2-s0", "rim-4-2-s1", "rim-4-2-s2", "lstm-s2"}
    for split, values in second.rows[1].tests.items():
        assert values[:2] == first.rows[1].tests[split][::-1]
    assert second.rows[0].tests != first.rows[0].tests

    whole = json.loads((tmp_path / "elsewhere" / "table.json").read_text())
    for damage in ({}, [], {"60 blanks": [1.0]}, {"60 blanks": 1.0}, {"60 blanks": ["a", "b", "c"]}):
        tests = whole["rows"][1]["tests"] | damage if isinstance(damage, dict) and damage else damage
        text = json.dumps(whole | {"rows": [whole["rows"][0], whole["rows"][1] | {"tests": tests}]})
        for content in ("{", text):
            (tmp_path / "elsewhere" / "table.json").write_text(content)
            with pytest.raises(ml.UserError, match="table.json' is damaged"):
                run_study("tiny", tmp_path / "elsewhere", progress=False)


@pytest.mark.usefixtures("tiny_study")
def test_a_shipped_table_and_model_are_read_back_as_they_were(tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "DATA", tmp_path / "data")
    (tmp_path / "data").mkdir()
    table = run_study("tiny", tmp_path / "runs", seeds=(0, 1, 2), progress=False)
    ship_study(table, tmp_path / "runs")
    last = table.rows[0].tests["60 blanks"]
    assert load_sequence_model(tmp_path / "data" / "study-tiny.safetensors").config.seed == last.index(min(last))
    assert shipped_study("tiny") == table
    assert str(shipped_study("tiny")) == str(table)
    assert load_sequence_model(tmp_path / "data" / "study-tiny.safetensors").config.controller == "rim"
    best = load_sequence_model(tmp_path / "runs" / run_name("RIM 4/2", last.index(min(last))) / "model.safetensors")
    shipped, trained = load_sequence_model(tmp_path / "data" / "study-tiny.safetensors").parameters(), best.parameters()
    for halved, whole in zip(shipped, trained, strict=True):
        assert halved.dtype == torch.float32 and torch.equal(halved, whole.half().float())
    with pytest.raises(ml.UserError, match="did you mean 'tiny'"):
        shipped_study("tyni")


@pytest.mark.usefixtures("tiny_study")
def test_nothing_is_shipped_without_a_model_that_works(tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "DATA", tmp_path / "data")
    (tmp_path / "data").mkdir()
    table = run_study("tiny", tmp_path / "runs", seeds=(0, 1), progress=False)

    def with_last(*values):
        return dataclasses.replace(
            table, rows=tuple(dataclasses.replace(row, tests=row.tests | {"60 blanks": values}) for row in table.rows)
        )

    for values, folder in (((math.nan, math.inf), "runs"), ((0.1, 0.2), "elsewhere")):
        with pytest.raises(ml.UserError, match="no model to ship|there is no file"):
            ship_study(with_last(*values), tmp_path / folder)
        assert not list((tmp_path / "data").iterdir())
    ship_study(with_last(math.nan, 0.2), tmp_path / "runs")
    assert load_sequence_model(tmp_path / "data" / "study-tiny.safetensors").config.seed == 1


@pytest.mark.usefixtures("tiny_study")
def test_a_setting_that_diverges_is_said_in_the_table_and_holds_nothing_up(tmp_path, monkeypatch, capsys):
    wild = Setting(dataclasses.replace(TINY, lr=1e25), "")
    settings = {"wild": wild} | STUDIES["tiny"].settings
    monkeypatch.setitem(STUDIES, "tiny", dataclasses.replace(STUDIES["tiny"], settings=settings))
    table = run_study("tiny", tmp_path, seeds=(0, 1), progress=False)
    assert str(table).count("overflowed in 2 of 2") == len(table.rows[0].tests)
    assert capsys.readouterr().err.count("not finite") == 2
    assert all(math.isfinite(x) for row in table.rows[1:] for values in row.tests.values() for x in values)
    assert table.rows[0].parameters == table.rows[1].parameters
    again = run_study("tiny", tmp_path, seeds=(0, 1), progress=False)
    assert str(again) == str(table)


@pytest.mark.usefixtures("tiny_study")
def test_a_table_says_what_its_numbers_were_made_with(tmp_path):
    ours = run_study("tiny", tmp_path, seeds=(0,), progress=False).made_with
    raw = json.loads((tmp_path / "table.json").read_text())
    (tmp_path / "table.json").write_text(json.dumps(raw | {"made_with": "torch 1.0"}))
    assert run_study("tiny", tmp_path, seeds=(0,), progress=False).made_with == "torch 1.0"
    assert run_study("tiny", tmp_path, seeds=(0, 1), progress=False).made_with == f"torch 1.0, {ours}"


LONG_STUDY = """
import sys
from dataclasses import replace
from metarim_lite.experiments import studies
from metarim_lite.experiments.sequences import SEQUENCES, baseline
from metarim_lite.experiments.study_settings import STUDIES, Setting, Study

rim = replace(SEQUENCES["copying-small"], width=16, num_modules=4, active=2, updates=100_000, report_every=100_000)
settings = {"RIM": Setting(rim, ""), "LSTM": Setting(baseline(rim), "")}
STUDIES["long"] = Study("?", settings)
try:
    studies.run_study("long", sys.argv[1], seeds=(0, 1), workers=int(sys.argv[2]), progress=False)
except KeyboardInterrupt:
    print("stopped")
"""


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_and_sigterm_save_the_runs_under_way_and_begin_no_other(tmp_path, workers, asked):
    words = [sys.executable, "-c", LONG_STUDY, str(tmp_path), str(workers)]
    env = os.environ | {"OMP_NUM_THREADS": "2"}
    # A terminal sends Ctrl-C to all processes of a group.
    with subprocess.Popen(words, env=env, start_new_session=True, stdout=subprocess.PIPE, text=True) as study:
        try:
            deadline = time.monotonic() + 120
            while len(list(tmp_path.glob("*/config.toml"))) < workers and time.monotonic() < deadline:
                time.sleep(0.1)
            time.sleep(1)
            if asked == signal.SIGINT:
                os.killpg(study.pid, asked)
            else:
                study.send_signal(asked)  # as clusters do: the study tells its workers
            said = study.communicate(timeout=60)[0]
            assert (said, study.returncode) == (("stopped\n", 0) if asked == signal.SIGINT else ("", -asked))
        finally:
            if study.poll() is None:
                os.killpg(study.pid, signal.SIGKILL)
    saved = {path.parent.name for path in tmp_path.glob("*/state.json")}
    assert saved == ({"rim-s0", "lstm-s0"} if workers == 2 else {"rim-s0"})
    assert saved == {path.parent.name for path in tmp_path.glob("*/config.json")}
    assert {json.loads(path.read_text())["threads"] for path in tmp_path.glob("*/state.json")} == {1}


def test_mistakes_get_one_sentence(tmp_path):
    with pytest.raises(ml.UserError, match="name one twice"):
        run_study("copying", tmp_path, seeds=(0, 1, 0))
    with pytest.raises(ml.UserError, match="did you mean 'copying'"):
        run_study("copyng", tmp_path)
    for wrong, says in (({"seeds": ()}, "at least one seed"), ({"workers": 0}, "got 0"), ({"workers": "2"}, "got '2'")):
        with pytest.raises(ml.UserError, match=says):
            run_study("copying", tmp_path, **wrong)


@pytest.mark.parametrize("path", sorted(studies.DATA.glob("study-*.json")), ids=lambda p: p.stem)
def test_every_shipped_table_names_the_settings_that_the_study_has_now(path):
    name = path.stem.removeprefix("study-")
    table, study = shipped_study(name), STUDIES[name]
    assert (table.study, table.test_sequences) == (name, study.test_sequences)
    assert [row.setting for row in table.rows] == list(study.settings)
    assert [row.paper for row in table.rows] == [setting.paper for setting in study.settings.values()]
    first = next(iter(study.settings.values())).config
    assert (table.question, table.metric) == (study.question, first.chosen_task.metric_name)
    for row in table.rows:
        config = ml.config.from_dict(type(TINY), row.config)
        assert config == study.settings[row.setting].config
        assert row.parameters == count_parameters(SequenceModel(config))


def test_the_shipped_table_has_the_papers_contrast_at_200_blanks():
    means = {row.setting: sum(row.tests["200 blanks"]) / len(row.seeds) for row in shipped_study("copying").rows}
    assert means["RIM 6/4, 600 units"] <= 0.05
    assert max(shipped_study("copying").rows[0].tests["200 blanks"]) <= 0.05  # every seed of it
    assert min(mean for setting, mean in means.items() if setting.startswith("LSTM")) >= 1


def test_the_shipped_model_copies_over_200_blanks_as_well_as_its_table_says():
    model, row = load_sequence_model("copying"), shipped_study("copying").rows[0]
    said = row.tests["200 blanks"][row.seeds.index(model.config.seed)]
    found = evaluate_sequence(model, "200 blanks", 128, studies.FINAL_TEST_SEED)
    assert found < 0.05 and found == pytest.approx(said, abs=0.02)
