"""The study of fast and slow before and after its runs: which there are, the search for rates, what is shipped."""

import dataclasses
import json
import logging
import shlex
import subprocess
import sys

import pytest
from test_experiments_claims import HIGH, LOW, rows

import metarim_lite as ml
from metarim_lite.config import from_dict
from metarim_lite.experiments import many, meta_plan, meta_shipped, meta_tuning
from metarim_lite.experiments.claims import CLAIMS, seeds_of
from metarim_lite.experiments.conditions import CONDITIONS, FEWER, SEEDS, training_condition
from metarim_lite.experiments.meta_plan import BLOCKS, Asked, Tuning, config_of, named_run, plan, run_name
from metarim_lite.training.trainer import TrainConfig

NONE, OF_K = Tuning(), Tuning(k={"mix": 2, "local": 4})


# --- which runs, in which order


def test_every_run_that_a_claim_needs_is_planned_once_with_all_its_seeds():
    asked = plan(tuning=OF_K)
    assert len(set(asked)) == len(asked)
    needed = {
        (training_condition(c.condition), name, seed)
        for claim in CLAIMS
        for c in claim.comparisons
        for name in c.settings
        if name != "rim, k tuned"
        for seed in seeds_of(training_condition(c.condition), name)
    }
    # k = 2 was chosen for the mix, 4 for GoToLocal: these are runs of other settings.
    assert set(asked) == {Asked(*run) for run in needed}
    assert {claim for numbers, _ in BLOCKS for claim in numbers} == {claim.number for claim in CLAIMS}
    assert {seed for c, s, seed in asked if (c, s) == ("mix", "rim")} == set(SEEDS)
    assert {seed for c, s, seed in asked if (c, s) == ("doors", "rim")} == set(FEWER)


def test_the_most_important_come_first_and_seed_by_seed():
    """Cut short anywhere, the study has something of every row that was begun."""
    asked = plan(tuning=NONE)
    first = [a for a in asked if a.seed == 21 and a.condition == "mix"][:11]
    assert asked[:11] == first and {a.setting for a in first} >= {"lstm", "rim", "meta-rim", "meta-lstm"}
    assert [a._replace(seed=22) for a in first] == asked[11:22]
    begins = [asked.index(next(a for a in asked if a.condition == c)) for c in ("mix", "local", "pair", "doors")]
    assert begins == sorted(begins)
    late = [a for a in asked if a.seed not in FEWER]
    assert late == asked[-len(late) :] and {a.condition for a in late} == {"mix", "local"}


def test_parts_of_the_study_by_name():
    assert {a.condition for a in plan(["harder", "shift"], tuning=NONE)} == {"mix", "pair"}
    assert {a.setting for a in plan(["harder"], tuning=NONE)} == {"lstm", "rim", "meta-rim"}
    assert {a.setting for a in plan(["mix"], ["lstm", "rim"], [31], NONE)} == {"lstm", "rim"}
    assert plan(["local"], ["meta-rim-per-task"], [31], NONE) == [Asked("local", "meta-rim-per-task", 31)]
    assert {a.condition for a in plan(None, ["rim-meta-updates"], None, NONE)} == {"mix", "local"}
    for wrong, sentence in (
        ((["mixx"],), "did you mean 'mix'"),
        ((None, ["rimm"]), "did you mean 'rim'"),
        ((None, ["meta-rim-per-task"]), "no claim compares meta-rim-per-task; name a condition"),
        ((None, None, [11]), "one of the search"),
        ((None, None, [31, 31]), "name one twice"),
    ):
        with pytest.raises(ml.UserError, match=sentence):
            plan(*wrong, tuning=NONE)


def test_a_k_that_was_not_chosen_is_not_run_and_said(caplog):
    with caplog.at_level(logging.WARNING):
        assert "rim, k tuned" not in {a.setting for a in plan(["local"], ["rim, k tuned", "lstm"], [31], NONE)}
    assert "no k was chosen" in caplog.text
    assert plan(["local"], ["rim, k tuned", "rim"], [31], OF_K) == [Asked("local", "rim", 31)], "one run, two names"
    assert plan(["mix"], ["rim, k tuned"], [31], OF_K) == [Asked("mix", "rim, k = 2", 31)]


def test_the_config_of_a_run():
    tuned = Tuning(
        {"meta-rim": {"timescales.fast_lr": 1e-3, "timescales.slow_lr": 2e-4}, "rim": {"timescales.fast_lr": 5e-4}}
    )
    config = config_of(Asked("mix", "meta-rim, 1 in 17", 21), tuned, "cpu")
    assert (config.frames, config.seed, config.device, config.threads) == (4_000_000, 21, "cpu", 1)
    assert len(config.levels) == 3 and config.num_envs == 256 and config.evaluate_every == 200_000
    assert (config.scales.slow_every, config.scales.fast_lr, config.scales.slow_lr) == (16, 1e-3, 2e-4)
    assert config.report_every * 256 * 40 <= 200_000
    assert config_of(Asked("mix-long-memory", "lstm", 21), NONE, "cpu").scales.memory == "task"
    assert config_of(Asked("mix", "rim, 8 of 12", 21), tuned, "cpu").scales.fast_lr == 5e-4
    fixed = config_of(Asked("mix", "queries fast", 21), tuned, "cpu").scales
    assert fixed.fast_lr == 2e-3 and fixed.slower == (("attention", 0.1),) and "attention.W_q" in fixed.fast
    assert config_of(Asked("mix", "rim", 21), NONE, "cuda").num_envs == 1024


@pytest.mark.parametrize(
    "asked", sorted({a._replace(seed=21) for a in plan(tuning=OF_K)}), ids=lambda a: f"{a[0]} {a[1]}"
)
def test_every_planned_run_has_a_config_that_is_accepted(asked, tmp_path):
    for device in ("cpu", "cuda"):
        run = named_run(asked, tmp_path, NONE, device)
        json.dumps([run.settings, run.about])
        assert run.about["num_envs"] == {"cpu": 256, "cuda": 1024}[device]


def test_runs_have_names_of_their_own_and_seeds_share_their_settings(tmp_path):
    asked = plan(tuning=NONE)
    assert len({run_name(a, d) for a in asked for d in ("cpu", "cuda")}) == 2 * len(asked)
    one, other, long, gpu = (
        named_run(a, tmp_path, NONE, d).about
        for a, d in ((Asked("mix", "rim", 21), "cpu"), (Asked("mix", "rim", 22), "cpu"),
                     (Asked("mix", "rim-long-span", 21), "cpu"), (Asked("mix", "rim", 21), "cuda"))
    )  # fmt: skip
    assert one["settings"] == other["settings"] and len({x["settings"] for x in (one, long, gpu)}) == 3


def test_a_method_that_was_redefined_is_run_again(tmp_path, monkeypatch):
    before = named_run(Asked("mix", "rim", 21), tmp_path, NONE, "cpu").about
    changed = dataclasses.replace(ml.METHODS["rim"], timescales=ml.TimeScales(fast_lr=7e-4))
    monkeypatch.setitem(ml.METHODS, "rim", changed)
    assert named_run(Asked("mix", "rim", 21), tmp_path, NONE, "cpu").about["settings"] != before["settings"]


# --- the search


def test_every_method_is_tried_with_the_rates_that_its_name_leaves_open():
    def count(name):
        return len(meta_tuning.tries_of(name))

    nine = {n for n in meta_tuning.tuned_methods() if count(n) == 9}
    assert nine == {"meta-rim", "meta-rim-reversed", "meta-lstm", "rim-slow-lr"}
    assert {count(n) for n in meta_tuning.tuned_methods()} == {3, 9}
    for name in meta_tuning.tuned_methods():
        own = ml.METHODS[name].timescales
        tried = [
            TrainConfig(method=name, timescales={k.split(".")[1]: v for k, v in c}).scales
            for c in meta_tuning.tries_of(name)
        ]
        assert own in tried, f"{name}: its own rates are not among those that are tried"


def test_the_search_chooses_the_largest_mean_area_and_the_study_reads_it(tmp_path, monkeypatch):
    jobs, best = [], {"meta-rim": (1e-3, 2e-4), "lstm": (2e-3, None)}

    def pretend(job, stop):
        config = from_dict(TrainConfig, job["settings"]["config"])
        jobs.append(config)
        scales, wanted = config.scales, best.get(config.method)
        good = wanted == (scales.fast_lr, scales.slow_lr if scales.slow else None)
        good |= config.method == "rim" and config.agent.active == 2
        return {"line": {"area": (0.6 if good else 0.5) + 0.1 * (config.seed == 11), "frames": config.frames}}

    monkeypatch.setattr(many, "in_own_process", pretend)
    monkeypatch.setattr(meta_tuning, "fill_cache", lambda *_: None)
    path = tmp_path / "tuning.json"
    meta_tuning.tune(tmp_path / "study", device="cpu", progress=False, on_line=lambda line: None, path=path, workers=2)
    assert {config.seed for config in jobs} == {11, 12} and {config.frames for config in jobs} == {1_000_000}
    assert len(jobs) == 2 * (4 * 9 + 8 * 3 + 6 - 1), "a RIM with its own k was tried already"
    found = meta_plan.read_tunings(path)["cpu"]
    assert found.rates["meta-rim"] == {"timescales.fast_lr": 1e-3, "timescales.slow_lr": 2e-4}
    assert found.rates["lstm"] == {"timescales.fast_lr": 2e-3}
    assert found.k == {"mix": 2, "local": 2}
    assert len(found.tried) == 4 * 9 + 8 * 3 + 6 and all(len(one["area"]) == 2 for one in found.tried)
    config = config_of(Asked("local", "meta-rim", 21), found, "cpu")
    assert (config.scales.fast_lr, config.scales.slow_lr) == (1e-3, 2e-4)
    assert named_run(Asked("local", "meta-rim", 21), tmp_path, found, "cpu").about["tuned"] is True
    assert named_run(Asked("mix", "keys slow", 21), tmp_path, found, "cpu").about["tuned"] is False
    again = len(jobs)
    meta_tuning.tune(tmp_path / "study", device="cpu", progress=False, path=path)
    assert len(jobs) == again and meta_plan.read_tunings(path)["cpu"] == found
    path.write_text("{")
    with pytest.raises(ml.UserError, match="damaged"):
        meta_plan.read_tunings(path)


# --- what is shipped


def full(rows):
    """Rows made by hand, with what the tables need besides."""
    more = {"settings": "s", "rules": "r", "tuned": False, "updates": {"modules": 3}, "frames_per_second": 1.23456}
    more |= {"success": {"value": 0.123456, "low": 0, "high": 1}, "frames_to": {"0.9": None}, "command": "metarim …"}
    return [more | row for row in rows]


def test_shipped_rows_are_replaced_by_those_that_repeat_them_and_kept_beside_others(tmp_path):
    path = tmp_path / "table.json"
    assert meta_shipped.shipped_rows(path) == []
    meta_shipped.ship_rows(full(rows("rim", HIGH) + rows("lstm", LOW)), path)
    new = full(rows("rim", LOW[:2]) + rows("rim", HIGH, device="cuda") + rows("meta-rim", HIGH[:1]))
    kept = meta_shipped.ship_rows([*new, full(rows("rim", HIGH[:1]))[0] | {"seed": 11}], path)
    assert kept == meta_shipped.shipped_rows(path) and len(kept) == 8 + 8 + 8 + 1
    assert [row["area"] for row in kept if (row["setting"], row["device"]) == ("rim", "cpu")] == [*LOW[:2], *HIGH[2:]]
    assert "command" not in kept[0] and kept[0]["success"]["value"] == 0.1235 and kept[0]["frames_per_second"] == 1
    other = [row | {"settings": "another"} for row in full(rows("lstm", HIGH[:3]))]
    kept = meta_shipped.ship_rows(other, path)
    assert [row["area"] for row in kept if row["setting"] == "lstm"] == list(HIGH[:3]), "no row mixes two settings"
    path.write_text('{"rows": [{"condition": "mix"}]}')
    with pytest.raises(ml.UserError, match="damaged"):
        meta_shipped.shipped_rows(path)


def test_runs_of_the_k_that_was_chosen_count_for_it():
    found = meta_shipped.judged(full(rows("rim, k = 2", HIGH) + rows("lstm", LOW)), {"cpu": OF_K})
    line = next(x for x in found if x["comparison"] == "rim, k tuned − lstm" and x["condition"] == "mix")
    assert line["verdict"] == "supported" and line["effect"] == pytest.approx(0.3)
    found = meta_shipped.judged(full(rows("rim, k = 2", HIGH) + rows("lstm", LOW)), {"cuda": OF_K})
    line = next(x for x in found if x["comparison"] == "rim, k tuned − lstm" and x["condition"] == "mix")
    assert line["verdict"] == "undecided: too few runs", "k was chosen on another device"


def asked_by(command):
    """The runs, with their device, that commands with && between them ask for."""
    found = set()
    for words in map(shlex.split, command.split(" && ")):
        assert words[:3] == ["metarim", "study", "meta"]
        given, name = {}, ""
        for word in words[3:]:
            name = word if word.startswith("--") else name
            given.setdefault(name, []).extend([] if word == name else [word])
        seeds = [int(seed) for seed in given["--seeds"]]
        asked = plan(given["--conditions"], given["--methods"], seeds, OF_K)
        found |= {(*one, *given.get("--device", [None])) for one in asked}
    return found


def test_the_command_beside_a_number_makes_the_runs_it_stands_on_and_no_other():
    """Settings of a comparison need not have the same seeds, and runs of two devices are not mixed."""
    some = [row for row in rows("rim", LOW) if row["seed"] in SEEDS[:3]]
    many = rows("meta-rim", HIGH) + [row | {"seed": row["seed"] + 50} for row in rows("meta-rim", HIGH)]
    shipped = meta_shipped.shipped_rows()
    for found in (full(some + many), shipped):
        for line in meta_shipped.judged(found, {"cpu": OF_K, "cuda": OF_K}):
            if line["effect"] is None:
                continue
            where, names = training_condition(line["condition"]), {*line["runs"]} - {"rim, k tuned"}
            used = {
                (where, row["setting"], row["seed"], row["device"])
                for row in found
                if (row["condition"], row["device"]) == (where, line["device"]) and row["setting"] in names
            }
            asked = {run for run in asked_by(line["command"]) if run[1] in names}
            assert used and asked == used, line["command"]


def test_the_shipped_table_prints_at_least_thirteen_claims():
    words = [sys.executable, "-m", "metarim_lite.cli", "study", "meta", "--shipped"]
    lines = subprocess.run([*words, "--json"], capture_output=True, text=True, check=True).stdout.splitlines()
    found = [json.loads(line) for line in lines]
    assert {line["claim"] for line in found} == set(range(1, 14))
    keys = {"claim", "condition", "effect", "low", "high", "seeds", "frames", "verdict", "rule", "command"}
    assert all(
        keys <= line.keys() and line["verdict"].split(":")[0] in ("supported", "not supported", "undecided")
        for line in found
    )
    assert all(line["frames"] == CONDITIONS[training_condition(line["condition"])].frames for line in found)
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "## 13." in text and "Supported: the interval of A - B lies above 0" in text
