"""What lessons show of the study comes from the rows that are shipped, and says where there are none."""

import pytest

from metarim_lite.course import study
from metarim_lite.experiments.claims import CLAIMS
from metarim_lite.experiments.conditions import CONDITIONS


def row(setting, seed, area):
    reached = {"0.5": None, "0.9": None, "0.98": None}
    curve = {"frames": [0, 2_000_000, 4_000_000], "success": [0.0, area, 2 * area]}
    return {
        "condition": "mix", "setting": setting, "seed": seed, "device": "cpu", "area": area, "curve": curve,
        "planned": CONDITIONS["mix"].frames, "frames": 4_000_000, "frames_to": reached, "settings": setting,
    }  # fmt: skip


@pytest.fixture
def shown(monkeypatch):
    """What was displayed: the data of SVG and Markdown."""
    found = []
    monkeypatch.setattr("IPython.display.display", lambda thing: found.append(thing.data))
    rows = [row("rim", seed, 0.3 + seed / 1000) for seed in range(21, 26)]
    rows += [row("meta-rim", seed, 0.4 + seed / 1000) for seed in range(21, 26)]
    monkeypatch.setattr(study, "shipped_rows", lambda: [*rows, row("lstm", 21, 0.5) | {"condition": "local"}])
    return found


def test_a_table_holds_the_comparisons_of_its_claims_with_effect_runs_and_verdict(shown):
    (claim,) = [claim for claim in CLAIMS if claim.number == 1]
    lines = study.study_table({1}, {"mix"}).data.splitlines()[2:]
    assert len(lines) == sum(c.condition == "mix" for c in claim.comparisons)
    known, unknown = lines
    assert "| supported | meta-rim − rim | +0.100 [" in known and known.endswith("| 5 | mix, area |")
    assert "| undecided: too few runs | rim − lstm | – | 0 |" in unknown


def test_curves_of_what_is_shipped_and_a_sentence_for_what_is_not(shown):
    study.study_curves("mix", ["lstm", "meta-rim", "rim"])
    svg, words, missing = shown
    assert svg.startswith("<svg") and svg.count("(5 runs)") == 2
    assert svg.index("meta-rim (5 runs)") < svg.index(">rim (5 runs)")  # in the order that was asked for
    assert "meta-rim ends at 0.85; rim ends at 0.65" in words and missing == "No curve is shipped of: lstm."


def test_runs_in_pairs_are_compared_within_seeds_and_apart_between_them(monkeypatch):
    areas = {"a": [0.1, 0.2, 0.4, 0.7], "b": [0.05, 0.15, 0.35, 0.65], "c": [0.7, 0.4, 0.2, 0.1]}
    rows = [row(setting, 21 + i, area) for setting, of in areas.items() for i, area in enumerate(of)]
    rows += [row("b", 30, 0.9), row("a", 21, 0.9) | {"condition": "local"}, row("d", 21, 0.5)]  # none has a partner
    monkeypatch.setattr(study, "shipped_rows", lambda: rows[::-1])
    same, turned, alone = study.pairs_table("mix", [("a", "b"), ("a", "c"), ("a", "d")]).data.splitlines()[2:]
    cells = [cell.strip() for cell in same.split("|")[1:-1]]
    assert cells[:3] == ["a − b", "4", "1.00"]
    assert cells[4] == "0.050 [0.050, 0.050]"  # the same in every pair, whatever is resampled
    value, low, high = map(float, cells[3].replace("[", "").replace("]", "").replace(",", "").split())
    assert value == 0.05 and low < -0.2 and high > 0.3  # between bags of runs the spread of seeds is doubt
    # Pairs -0.6, -0.2, 0.2, 0.6, in whatever order rows came: their middle half has mean 0; correlation by hand.
    x = [-0.25, -0.15, 0.05, 0.35]
    by_hand = sum(p * q for p, q in zip(x, x[::-1], strict=True)) / sum(p * p for p in x)
    assert [cell.strip() for cell in turned.split("|")][2:4] == ["4", f"{by_hand:.2f}"] and "| 0.000 [" in turned
    assert alone == "| a − d | 1 | – | – | – |"
    (some,) = study.pairs_table("mix", [("a", "b")], seeds=range(22, 31)).data.splitlines()[2:]
    assert some.split("|")[2].strip() == "3"


def test_what_was_learnt_and_what_is_left_of_a_sequence(monkeypatch):
    matrices = [
        [[0.8, 0.1, 0.0], [0.5, 0.6, 0.1], [0.2, 0.4, 1.0]],
        [[0.4, 0.1, 0.0], [0.5, 0.2, 0.1], [0.4, 0.2, 0.5]],
    ]
    sequence = {"condition": "sequence", "setting": "rim", "device": "cpu"}
    rows = [sequence | {"success": R} for R in matrices]
    rows += [sequence | {"device": "cuda", "success": matrices[0]}, row("rim", 21, 0.5)]
    monkeypatch.setattr(study, "shipped_rows", lambda: rows)
    found, none = study.halves_table(["rim", "lstm"]).data.splitlines()[2:]
    # (0.8 + 0.6 + 0.4 + 0.2) / 4, (0.2 + 0.4 + 0.4 + 0.2) / 4, and (1.6 + 1.1) / 6
    assert found == "| rim | 2 | 0.50 | 0.30 | 0.20 | 0.45 |"
    assert none == "| lstm | 0 | – | – | – | – |"


def test_without_a_run_there_is_a_sentence_only(shown):
    study.study_curves("doors", ["rim"])
    assert shown == ["No curve is shipped of: rim."]


def test_curves_of_what_trained_agents_go_through_are_those_of_that(shown, monkeypatch):
    shift = {"curve": {"frames": [0, 100_000, 204_800], "success": [0.2, 0.3, 0.45]}, "area": 0.3}
    rows = [row("rim", seed, 0.3) | {"condition": "pair", "shift": shift} for seed in range(21, 26)]
    lost = row("lstm", 21, 0.1) | {"condition": "pair", "shift": {"diverged": "loss", "area": 0.0}}
    never = row("meta-rim", 21, 0.1) | {"condition": "pair", "diverged": "loss"}  # before it came so far
    monkeypatch.setattr(study, "shipped_rows", lambda: [*rows, lost, never])
    study.study_curves("shift", ["rim", "lstm", "meta-rim"])
    _, words, missing = shown
    assert "rim ends at 0.45" in words and missing == "No curve is shipped of: lstm, meta-rim."
