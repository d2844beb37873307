"""Methods side by side: every cell of the tables against numbers worked out by hand, in whatever order runs come."""

import random
import re

import numpy as np
import pytest

from metarim_lite.analysis import comparison_table, interquartile_mean, stratified_bootstrap
from metarim_lite.analysis.statistics import Estimate


def line(method, level, seed, success, speed=1000.0, **varied):
    estimate = Estimate(success, 0.0, 1.0)._asdict()
    return {"method": method, "level": level, "varied": varied, "seed": seed, "success": estimate,
            "frames_per_second": speed}  # fmt: skip


def rows_of(table):
    """title -> {method: {beginning of the column's name: cell}} of each table in the text."""
    found = {}
    for part in table.split("\n\n"):
        lines = [[cell.strip() for cell in row.strip("|").split("|")] for row in part.splitlines() if row[0] == "|"]
        if lines:
            assert lines[1] == ["---"] * len(lines[0])  # or no Markdown draws a table
            title, *columns = lines[0]
            names = [re.match("[a-zP/]+", column)[0] for column in columns]
            found[title] = {name: dict(zip(names, cells, strict=True)) for name, *cells in lines[2:]}
    return found


A, B = (0.9, 0.95, 0.92), (0.1, 0.15, 0.12)
OURS_A, OURS_B = (0.99, 0.98, 0.97), (0.01, 0.02, 0.03)


def test_levels_stay_beside_each_other_in_whatever_order_the_runs_end():
    """Ours wins on two of three levels. Beside levels of another difficulty it would win on fewer, or on more."""
    scores = {
        "theirs": {"A": (0.9, 0.92), "B": (0.5, 0.52), "C": (0.1, 0.12)},
        "ours": {"A": (0.95, 0.96), "B": (0.55, 0.56), "C": (0.05, 0.06)},
    }
    lines = [line(m, level, s, v) for m, on in scores.items() for level, vs in on.items() for s, v in enumerate(vs)]
    for order in range(20):
        theirs, ours = lines[:6], lines[6:]
        random.Random(order).shuffle(ours)
        tables = rows_of(comparison_table([*theirs, *ours], baseline="theirs", draws=50))
        assert list(tables) == ["A", "B", "C", "all levels"]
        assert tables["all levels"]["ours"]["P"].startswith("0.667 [0.667, 0.667]")
        assert [tables[level]["ours"]["P"][:5] for level in "ABC"] == ["1.000", "1.000", "0.000"]
        assert tables["all levels"]["theirs"]["P"] == "–"
        for level in "ABC":
            for method, on in scores.items():
                assert tables[level][method]["success"].startswith(f"{sum(on[level]) / 2:.3f} [")


def test_every_cell_by_hand():
    lines = [line("lstm", "A", s, v, speed) for s, (v, speed) in enumerate(zip(A, (100.0, 200.0, 9000.0), strict=True))]
    lines += [line("lstm", "B", s, v, speed=300.0) for s, v in enumerate(B)]
    lines += [line("rim", "A", s, v) for s, v in enumerate(OURS_A)] + [
        line("rim", "B", s, v) for s, v in enumerate(OURS_B)
    ]
    lines += [line("rim", "B", 0, 0.4, k=2), line("rim", "B", 1, 0.6, k=2)]
    tables = rows_of(comparison_table(lines, draws=300))
    assert tables["A"]["lstm"]["frames/s"] == "200", "the median, not the mean"
    assert tables["all levels"]["lstm"]["frames/s"] == "300"
    assert list(tables["all levels"]) == ["lstm", "rim"] and list(tables["B"]) == ["lstm", "rim", "rim k=2"]
    assert tables["B"]["rim k=2"]["success"].startswith("0.500 [") and tables["B"]["rim k=2"]["seeds"] == "2"
    assert tables["A"]["rim"]["P"] == "1.000 [1.000, 1.000]" and tables["B"]["rim"]["P"] == "0.000 [0.000, 0.000]"
    assert tables["all levels"]["rim"]["P"] == "0.500 [0.500, 0.500]"
    of_a, of_b = np.array(A), np.array(B)
    expected = stratified_bootstrap(interquartile_mean, of_a, of_b, rng=np.random.default_rng(0), draws=300)
    assert tables["all levels"]["lstm"]["success"] == str(expected)
    pooled = sorted([*A, *B])  # a quarter of six, rounded down, is dropped at each end
    assert expected.value == pytest.approx(sum(pooled[1:5]) / 4)


def test_the_baseline_may_be_any_method_and_unlike_numbers_of_seeds_are_said():
    lines = [line("lstm", "A", s, v) for s, v in enumerate((0.1, 0.2, 0.3))]
    lines += [line("rim", "A", s, v) for s, v in enumerate((0.25, 0.25, 0.25, 0.25, 0.25, 0.25))]
    lines += [line("lstm", "B", s, 0.5) for s in range(5)] + [line("rim", "B", s, 0.5) for s in range(6)]
    table = comparison_table(lines, baseline="rim", draws=50)
    tables = rows_of(table)
    assert tables["A"]["rim"]["P"] == "–" and tables["A"]["lstm"]["P"].startswith("0.333 [")
    assert tables["B"]["lstm"]["P"].startswith("0.500 [0.500")  # ties count half
    assert tables["all levels"]["lstm"]["seeds"] == "3 + 5" and tables["all levels"]["rim"]["seeds"] == "6"
    assert "fewer than 5 seeds" in table
    assert "fewer than 5 seeds" not in comparison_table([x for x in lines if x["level"] == "B"], draws=50)
    assert comparison_table([]) == "no run is finished yet"


def test_the_share_of_held_out_levels_that_training_had_stands_below_the_tables():
    lines = [line("lstm", "A", 0, 0.9) | {"seen": 0.25}, line("lstm", "A", 1, 0.9) | {"seen": 0.25},
             line("lstm", "B", 0, 0.1) | {"seen": 0.0}, line("lstm", "B", 1, 0.2) | {"seen": None}]  # fmt: skip
    notes = [part for part in comparison_table(lines, draws=50).split("\n\n") if "identical" in part]
    assert notes == ["A: 25.0% of the held-out levels are identical to training levels"]
