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
    assert "meta-rim − rim | +0.10 [" in known and "| 5 | supported |" in known
    assert "rim − lstm | – | 0 | undecided" in unknown


def test_curves_of_what_is_shipped_and_a_sentence_for_what_is_not(shown):
    study.study_curves("mix", ["lstm", "meta-rim", "rim"])
    svg, words, missing = shown
    assert svg.startswith("<svg") and svg.count("(5 runs)") == 2
    assert svg.index("meta-rim (5 runs)") < svg.index(">rim (5 runs)")  # in the order that was asked for
    assert "meta-rim ends at 0.85; rim ends at 0.65" in words and missing == "No run is shipped of: lstm."


def test_without_a_run_there_is_a_sentence_only(shown):
    study.study_curves("doors", ["rim"])
    assert shown == ["No run is shipped of: rim."]
