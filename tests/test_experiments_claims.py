"""Claims: they name what there is, their rules are older than the runs, and verdicts follow from the rows."""

import json
from dataclasses import replace
from importlib import resources

import numpy as np
import pytest

import metarim_lite as ml
from metarim_lite.envs.generation import check_level_id
from metarim_lite.experiments import claims, conditions
from metarim_lite.experiments.claims import BESIDE, CLAIMS, MEASURES, Claim, Comparison, judge, rules_digest, seeds_of
from metarim_lite.experiments.conditions import CONDITIONS, SEEDS, SETTINGS, TUNED, TUNING_SEEDS, setting, with_changes
from metarim_lite.training import make_clocks

COMPARISONS = [(claim, c) for claim in CLAIMS for c in claim.comparisons]


def test_the_rules_are_those_that_were_written_before_the_first_run():
    """Whoever changes a claim, a rule, a condition or a bound has to change this line, too, and say why."""
    assert rules_digest() == "06c213b83962eabc"


def test_claims_are_numbered_and_name_what_there_is():
    assert [claim.number for claim in CLAIMS] == list(range(1, 14))
    assert len({claim.name for claim in CLAIMS}) == 13
    for _, c in COMPARISONS:
        assert c.condition in CONDITIONS and c.measure in MEASURES and len(c.beside) == BESIDE[c.rule], c
        assert c.smallest > 0 and c.rule_in_words and all(setting(name) for name in c.settings)
    for name, condition in CONDITIONS.items():
        assert any(c.condition in (name, *conditions.afterwards(name)) for _, c in COMPARISONS), f"nobody asks {name}"
        for level in condition.levels:
            check_level_id(level)
    with pytest.raises(ml.UserError, match="did you mean 'rim, k = 2'"):
        setting("rim, k = 22")
    with pytest.raises(ml.UserError, match="did you mean 'mix'"):
        conditions.training_condition("mixx")


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_makes_an_agent_that_can_learn(name):
    changes = tuple((key, 4 if value == TUNED else value) for key, value in setting(name).changes)
    config = with_changes(ml.TrainConfig(method=setting(name).method), changes)
    agent = ml.Agent(ml.METHODS[config.method].agent_config(config.agent))
    clocks = make_clocks(agent, config.scales)
    if setting(name).fixed_rates:  # claim 13: exactly the named part differs from the rest of attention
        rates = {id(p): g["lr"] for g in clocks["fast"].optimizer.param_groups for p in g["params"]}
        names = {n.removeprefix("controller."): rates[id(p)] for n, p in agent.named_parameters() if id(p) in rates}
        slow = {n for n in ("W_q", "b_q", "W_e", "W_v", "C_qkv", "C_out") if names[n] == pytest.approx(2e-4)}
        parts = {"queries": {"W_q", "b_q"}, "keys": {"W_e"}, "values": {"W_v"}, "communication": {"C_qkv", "C_out"}}
        parts["attention"] = set.union(*parts.values())
        part, speed = name.split()
        assert slow == (parts[part] if speed == "slow" else parts["attention"] - parts[part])
        assert len(rates) == len(list(agent.parameters()))
        assert {names[n] for n in names if n not in parts["attention"]} == {2e-3}


def test_seeds_of_the_tables_are_in_no_search():
    text = resources.files("metarim_lite.data").joinpath("training-search.json").read_text(encoding="utf-8")
    used = {seed for row in json.loads(text) for seed in row["seeds"]}
    assert not used & {*SEEDS, *TUNING_SEEDS} and not set(SEEDS) & set(TUNING_SEEDS)
    assert len(seeds_of("mix", "rim-slow-lr-matched")) == len(seeds_of("local", "meta-lstm")) == 8
    assert len(seeds_of("mix", "queries fast")) == len(seeds_of("doors", "lstm")) == len(seeds_of("pair", "rim")) == 5
    assert seeds_of("doors", "queries fast") == ()


def row(setting, seed, area, condition="mix", device="cpu", **besides):
    asked = {"condition": condition, "setting": setting, "seed": seed, "device": device}
    return asked | {"planned": CONDITIONS[condition].frames, "area": area} | besides


def rows(setting, areas, **besides):
    return [row(setting, seed, area, **besides) for seed, area in zip(SEEDS, areas, strict=False)]


HIGH, LOW = (0.80, 0.81, 0.82, 0.83, 0.84, 0.85, 0.86, 0.87), (0.50, 0.51, 0.52, 0.53, 0.54, 0.55, 0.56, 0.57)


def lines_of(found, claim, condition="mix"):
    return {line["comparison"]: line for line in found if (line["claim"], line["condition"]) == (claim, condition)}


def test_before_any_run_every_claim_is_undecided():
    found = judge([])
    assert {line["claim"] for line in found} == set(range(1, 14)) and len(found) == len(COMPARISONS)
    for line in found:
        assert line["verdict"] == "undecided: no runs yet" and line["claim_verdict"] == "undecided"
        assert (line["effect"], line["low"], line["high"], line["seeds"], line["device"]) == (None, None, None, 0, None)
        assert line["command"].startswith(f"metarim study meta --conditions {line['condition']} --methods ")
    json.dumps(found)


def test_effect_is_the_difference_of_interquartile_means_by_hand():
    """Of eight runs the two lowest and the two highest do not count."""
    wild = (0.0, 0.0, 0.52, 0.53, 0.54, 0.55, 1.0, 1.0)
    line = lines_of(judge(rows("meta-rim", HIGH) + rows("meta-rim-reversed", wild)), 2)["meta-rim − meta-rim-reversed"]
    assert line["effect"] == pytest.approx(np.mean(HIGH[2:6]) - np.mean(wild[2:6]))
    assert line["low"] <= line["effect"] <= line["high"] and line["seeds"] == 8
    assert line["better"][0] == pytest.approx((6 * 8) / 64)


def test_verdicts_of_a_claim_of_two_comparisons():
    two = rows("meta-rim", HIGH) + rows("rim", LOW)
    found = lines_of(judge([*two, *rows("lstm", HIGH)]), 1)
    assert [line["verdict"] for line in found.values()] == ["supported", "not supported"]
    assert {line["claim_verdict"] for line in found.values()} == {"not supported"}
    found = lines_of(judge([*two, *rows("lstm", (0.2,) * 8)]), 1)
    assert {line["claim_verdict"] for line in found.values()} == {"supported"}
    found = lines_of(judge([*two, *rows("lstm", HIGH[:4])]), 1)
    assert found["rim − lstm"]["verdict"] == "undecided: 4 runs of 5" and found["rim − lstm"]["effect"] is not None
    assert found["rim − lstm"]["runs"] == {"rim": 8, "lstm": 4} and found["rim − lstm"]["seeds"] == 4
    assert found["rim − lstm"]["claim_verdict"] == "undecided"


def test_the_long_span_explains_a_gain_that_is_there():
    base = rows("rim", LOW) + rows("meta-rim", HIGH) + rows("rim-meta-updates", LOW)
    spans = [f"rim-long-span{end}" for end in ("", "-matched")]

    def of(*areas):
        found = lines_of(judge(base + [r for n, a in zip(spans, areas, strict=True) for r in rows(n, a)]), 5)
        return [found[f"{name} − meta-rim"]["verdict"] for name in spans], found["meta-rim − rim-meta-updates"]

    verdicts, control = of(HIGH, LOW)
    assert verdicts == ["supported", "not supported"] and control["verdict"] == "supported"
    assert control["claim_verdict"] == "not supported" and of(HIGH, HIGH)[1]["claim_verdict"] == "supported"
    base = rows("rim", LOW) + rows("meta-rim", LOW) + rows("rim-meta-updates", LOW)
    assert of(LOW, HIGH)[0] == ["not supported"] * 2, "no gain, nothing to explain"


def test_modularity_compares_gains():
    base = rows("rim", LOW) + rows("meta-rim", HIGH)
    same = lines_of(judge(base + rows("lstm", LOW) + rows("meta-lstm", HIGH)), 6)
    assert same["(meta-rim − rim) − (meta-lstm − lstm)"]["effect"] == pytest.approx(0)
    assert same["(meta-rim − rim) − (meta-lstm − lstm)"]["verdict"] == "not supported"
    other = lines_of(judge(base + rows("lstm", HIGH) + rows("meta-lstm", LOW)), 6)
    assert other["(meta-rim − rim) − (meta-lstm − lstm)"]["effect"] == pytest.approx(0.6)
    assert {line["claim_verdict"] for line in other.values()} == {"supported"}


def test_one_part_of_attention_is_enough():
    names = [f"{part} {speed}" for part in conditions.PARTS for speed in ("fast", "slow")]
    harm = rows("attention slow", HIGH) + rows("attention fast", LOW)
    # Every part fast alone does no harm, every part slow alone heals nothing, but for the queries that are fast.
    others = [r for n in names for r in rows(n, HIGH if n.endswith("fast") and n != "queries fast" else LOW)]
    found = lines_of(judge(harm + others), 13)
    assert [c for c, line in found.items() if line["verdict"] == "supported"] == [
        "attention slow − attention fast",
        "attention slow − queries fast",
    ]
    assert found["attention slow − keys fast"]["claim_verdict"] == "supported"
    none = [r for n in names for r in rows(n, HIGH if n.endswith("fast") else LOW)]
    assert lines_of(judge(harm + none), 13)["attention slow − keys fast"]["claim_verdict"] == "not supported"


def test_devices_are_never_mixed():
    on_gpu = [*rows("meta-rim", HIGH[:4], device="H100"), *rows("meta-rim-reversed", LOW, device="H100")]
    found = judge(rows("meta-rim", HIGH) + rows("meta-rim-reversed", LOW) + on_gpu)
    roles = [line for line in found if (line["claim"], line["condition"]) == (2, "mix")]
    assert [(line["device"], line["verdict"]) for line in roles] == [
        ("cpu", "supported"),
        ("H100", "undecided: 4 runs of 5"),
    ]


def test_runs_of_another_length_and_tuning_runs_are_left_out():
    good = rows("meta-rim", HIGH) + rows("meta-rim-reversed", LOW)
    bad = [row("meta-rim", TUNING_SEEDS[0], 0.0), row("meta-rim", 99, 0.0) | {"planned": 1000}]
    assert judge(good + bad) == judge(good)


def test_measures_of_lines_made_by_hand():
    line = {"planned": 2_000_000, "frames_to": {"0.9": 500_000}}
    assert MEASURES["frames_to_90"].read(line) == 0.75
    assert MEASURES["frames_to_90"].read({"planned": 1000, "frames_to": {"0.9": None}}) == 0
    assert MEASURES["frames_to_90"].read({"planned": 1000, "frames_to": {"0.9": 1100}}) == 0, "a tick too late"
    assert MEASURES["forgetting"].read({"measures": {"forgetting": 0.25}}) == -0.25


def test_a_run_that_diverged_counts_with_the_worst_that_can_be():
    """It never came to the harder levels; left out, it would flatter its method."""
    well = [row("meta-rim", seed, 0.5, harder={"mean": 0.5}) for seed in SEEDS[:5]]
    rim = [row("rim", seed, 0.1, diverged="loss is not finite") for seed in SEEDS[:5]]
    found = lines_of(judge(well + rim), 9, "harder")["meta-rim − rim"]
    assert (found["effect"], found["verdict"]) == (0.5, "supported")
    unmeasured = lines_of(judge(well + [row("rim", seed, 0.1) for seed in SEEDS[:5]]), 9, "harder")["meta-rim − rim"]
    assert unmeasured["verdict"] == "undecided: too few runs"


def test_any_change_of_a_rule_changes_the_digest(monkeypatch):
    before = rules_digest()
    first = CLAIMS[0]
    other = replace(first, all_of=(replace(first.all_of[0], smallest=0.04), *first.all_of[1:]))
    for changed in (
        (other, *CLAIMS[1:]),
        CLAIMS[:-1],
        (replace(first, sentence="Another."), *CLAIMS[1:]),
        (Claim(1, first.name, first.sentence, (), first.all_of), *CLAIMS[1:]),
        (replace(first, all_of=(Comparison("mix", "area", "rim", "meta-rim"), *first.all_of[1:])), *CLAIMS[1:]),
    ):
        monkeypatch.setattr(claims, "CLAIMS", changed)
        assert rules_digest() != before
