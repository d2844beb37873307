"""Intervals against closed forms and simulation."""

import numpy as np
import pytest
from scipy.stats import binom, mannwhitneyu, norm, trim_mean

from metarim_lite.analysis import (
    comparison_table,
    curves,
    interquartile_mean,
    mean_interval,
    performance_profile,
    probability_of_improvement,
    stratified_bootstrap,
    wilson,
)
from metarim_lite.errors import UserError


def test_wilson_solves_its_defining_equation():
    """The ends of Wilson's interval are the p with |p̂ − p| = z·sqrt(p(1 − p)/n)."""
    e = wilson(37, 50)
    for p in (e.low, e.high):
        assert abs(e.value - p) == pytest.approx(1.959963984540054 * np.sqrt(p * (1 - p) / 50), rel=1e-9)


def test_wilson_never_leaves_the_unit_interval_and_is_not_a_point_at_the_ends():
    none, every = wilson(0, 20), wilson(20, 20)
    assert none.low == 0 and 0 < none.high < 0.2
    assert every.high == 1 and 0.8 < every.low < 1


def test_wilson_covers_the_truth_about_95_percent_of_the_time():
    """Coverage jumps about with p, as it must for counts, so it is averaged over p."""
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.05, 0.95, size=4000)
    intervals = [wilson(int(s), 60) for s in rng.binomial(60, truth)]
    inside = [e.low <= p <= e.high for e, p in zip(intervals, truth, strict=True)]
    assert 0.94 < np.mean(inside) < 0.965


def test_bootstrap_interval_matches_the_normal_one_on_a_large_sample():
    values = np.random.default_rng(1).normal(3.0, 2.0, size=2000)
    e = mean_interval(values)
    half = 1.96 * values.std() / np.sqrt(values.size)
    assert e.value == pytest.approx(values.mean())
    assert e.high - e.low == pytest.approx(2 * half, rel=0.15)


def test_the_interval_of_a_mean_is_the_quantiles_of_its_bootstrap():
    """Of zeros and ones: means of resamples are binomial counts, whose 2.5 % and 97.5 % quantiles scipy knows."""
    values = np.array([1.0] * 40 + [0.0] * 60)
    e = mean_interval(values, draws=20_000)
    assert (e.value, e.low, e.high) == pytest.approx(
        (0.4, binom.ppf(0.025, 100, 0.4) / 100, binom.ppf(0.975, 100, 0.4) / 100), abs=0.0101
    )
    assert e.high - e.low > 0.17  # a 90 % interval would be 0.16 wide


@pytest.mark.parametrize("successes, trials", [(1, 0), (3, 2), (-1, 5)])
def test_impossible_counts_are_refused(successes, trials):
    with pytest.raises(UserError, match="impossible"):
        wilson(successes, trials)


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(UserError):
        mean_interval(np.array([1.0, np.nan]))


def test_the_interquartile_mean_drops_a_quarter_of_the_runs_at_each_end():
    """scipy's trimmed mean, which rliable uses, is the independent reference."""
    rng = np.random.default_rng(2)
    assert interquartile_mean(np.array([0.0, 0.5, 0.7, 1.0])) == pytest.approx(0.6)
    assert interquartile_mean(np.array([0.2, 0.4, 0.9])) == pytest.approx(0.5)
    for runs in range(1, 14):
        scores = rng.random((3, runs))
        assert interquartile_mean(scores) == pytest.approx(trim_mean(scores, 0.25, axis=1))
        assert interquartile_mean(*scores) == pytest.approx(trim_mean(scores, 0.25, axis=None))


def test_the_stratified_bootstrap_resamples_each_level_by_itself():
    """Two levels far apart: the spread of the mean is that inside the levels, sqrt(σ₁²/n + σ₂²/n)/2."""
    rng = np.random.default_rng(3)
    easy, hard = rng.normal(100, 2, size=400), rng.normal(0, 1, size=400)
    e = stratified_bootstrap(lambda *s: np.mean([g.mean(-1) for g in s], axis=0), easy, hard, rng=rng, draws=4000)
    half = 1.96 * np.sqrt(easy.var() / 400 + hard.var() / 400) / 2
    assert e.value == pytest.approx((easy.mean() + hard.mean()) / 2)
    assert (e.high - e.low) / 2 == pytest.approx(half, rel=0.1)


def test_the_bootstrap_of_the_interquartile_mean_equals_a_slow_loop_with_the_same_dice():
    a, b = np.random.default_rng(4).random(5), np.random.default_rng(5).random(7)
    fast = stratified_bootstrap(interquartile_mean, a, b, rng=np.random.default_rng(6), draws=50)
    rng = np.random.default_rng(6)
    of_a, of_b = rng.integers(5, size=(50, 5)), rng.integers(7, size=(50, 7))
    slow = []
    for i, j in zip(of_a, of_b, strict=True):
        pooled = sorted([a[n] for n in i] + [b[n] for n in j])
        slow.append(sum(pooled[3:9]) / 6)
    assert (fast.low, fast.high) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])))


def test_the_bootstrap_interval_of_the_interquartile_mean_covers_the_truth():
    rng = np.random.default_rng(7)
    inside = 0
    for _ in range(300):
        e = stratified_bootstrap(interquartile_mean, rng.normal(size=20), rng.normal(size=20), rng=rng, draws=300)
        inside += e.low <= 0 <= e.high
    assert 0.90 < inside / 300 < 0.98


def test_probability_of_improvement_equals_counting_pairs():
    rng = np.random.default_rng(8)
    ours = [rng.integers(0, 6, size=n).astype(float) for n in (4, 7)]
    theirs = [rng.integers(0, 6, size=n).astype(float) for n in (5, 3)]
    by_level = []
    for x, y in zip(ours, theirs, strict=True):
        by_level.append(sum(1.0 if a > b else 0.5 if a == b else 0.0 for a in x for b in y) / (len(x) * len(y)))
    e = probability_of_improvement(ours, theirs, rng=rng)
    assert e.value == pytest.approx(np.mean(by_level))
    assert mannwhitneyu(ours[0], theirs[0]).statistic / 20 == pytest.approx(by_level[0])
    assert e.low <= e.value <= e.high


def test_probability_of_improvement_has_the_closed_form_of_normal_scores():
    """P(X > Y) = Φ(δ / √2) for unit variances, and 1 − p the other way round."""
    rng = np.random.default_rng(9)
    x, y = rng.normal(0.5, 1, size=800), rng.normal(0, 1, size=800)
    e = probability_of_improvement([x], [y], rng=rng, draws=20)
    assert e.value == pytest.approx(norm.cdf(0.5 / np.sqrt(2)), abs=0.04)
    assert probability_of_improvement([y], [x], rng=rng, draws=20).value == pytest.approx(1 - e.value)


@pytest.mark.parametrize(
    "scores, sentence", [((), "at least 2 runs"), (([1.0, 2.0], [1.0]), r"\[2, 1\]"), (([1.0, np.nan],), "finite")]
)
def test_an_interval_that_would_mean_nothing_is_refused(scores, sentence):
    with pytest.raises(UserError, match=sentence):
        stratified_bootstrap(interquartile_mean, *scores, rng=np.random.default_rng(0))


def test_methods_on_different_levels_are_not_compared():
    with pytest.raises(UserError, match="same levels"):
        probability_of_improvement([[1.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]], rng=np.random.default_rng(0))


def result(method, level, seed, success, **varied):
    estimate = {"value": success, "low": success, "high": success}
    return {"method": method, "level": level, "varied": varied, "seed": seed, "success": estimate,
            "frames_per_second": 1000.0 + seed}  # fmt: skip


def test_the_comparison_of_a_sweep_has_a_table_for_each_level_and_one_for_all():
    results = [result("lstm", level, seed, 0.5 + seed / 100) for level in "AB" for seed in range(4)]
    results += [result("rim", level, seed, 0.8 + seed / 100) for level in "AB" for seed in range(4)]
    results += [result("rim", "A", 0, 0.3, k=2)]
    a, b, everywhere, warning = comparison_table(results, draws=200).split("\n\n")
    assert a.startswith("| A |") and b.startswith("| B |") and everywhere.startswith("| all levels |")
    assert "| lstm | 0.515 [" in a and "| 4 | 1,002 | – |" in a
    assert "| rim | 0.815 [" in a and "| 1.000 [1.000, 1.000] |" in a
    assert "| rim k=2 | 0.300 (no interval) | – | – | 1 |" in a
    assert "rim k=2" not in b and "rim k=2" not in everywhere
    assert "fewer than 5 seeds" in warning


def test_an_unknown_baseline_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="did you mean 'rim'"):
        comparison_table([result("rim", "A", 0, 0.5)], baseline="rum")


def row_of(table, name):
    (row,) = [row for row in table.splitlines() if row.startswith(f"| {name} |")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def of_curve(method, seed, success, area, frames_to_90, diverged=None):
    line = result(method, "A", seed, success) | {"area": area, "frames_to": {"0.9": frames_to_90}}
    return line if diverged is None else line | {"diverged": diverged}


LOSS = "loss is not finite at 300 frames"


def test_diverged_runs_count_as_success_0_and_never_vanish():
    """By hand: two of four runs of rim diverged, so that its middle half is 0 and 0.8; it beats lstm in 2 of 4 runs."""
    results = [of_curve("lstm", seed, 0.5, 0.4, 200) for seed in range(4)]
    results += [of_curve("rim", 0, 0.9, 0.6, 100), of_curve("rim", 1, 0.8, 0.4, 300)]
    results += [of_curve("rim", 2, 0.0, 0.2, None, LOSS), of_curve("rim", 3, 0.0, 0.0, None, LOSS)]
    results += [of_curve("lost", seed, 0.0, 0.0, None, LOSS) for seed in range(4)]
    table = comparison_table(results, draws=200)
    name, success, area, frames, seeds, _, better = row_of(table, "rim")
    assert success.startswith("0.400 [0.000, ") and area.startswith("0.300 [") and better.startswith("0.500 [")
    assert frames == "never [100, never]" and seeds == "4, 2 of 4 diverged"
    assert row_of(table, "lost")[1:5] == ["0.000 [0.000, 0.000]", "0.000 [0.000, 0.000]", "never [never, never]", "4, 4 of 4 diverged"]  # fmt: skip # noqa: E501
    assert row_of(table, "lost")[-1] == "0.000 [0.000, 0.000]" and row_of(table, "lstm")[4] == "4"
    assert "success 0" in table and "success 0" not in comparison_table(results[:4])


def test_a_diverged_run_counts_as_0_whatever_its_line_says_of_success():
    results = [of_curve("rim", 0, 0.9, 0.6, 100), of_curve("rim", 1, 0.9, 0.6, 100, LOSS)]
    assert row_of(comparison_table(results), "rim")[1].startswith("0.450 [")


def test_runs_without_a_result_are_named_and_the_number_of_seeds_says_so():
    results = [of_curve("lstm", seed, 0.5, 0.4, 200) for seed in range(3)]
    results += [of_curve("rim", 0, 0.9, 0.6, 100), of_curve("rim", 1, 0.0, 0.2, None, LOSS)]
    missing = [{"run": f"{method}-s{seed}", "method": method, "level": "A", "varied": {}, "why": "out of memory"}
               for method, seed in (("rim", 2), ("rim", 3), ("gone", 0), ("gone", 1))]  # fmt: skip
    table = comparison_table(results, missing=missing)
    assert row_of(table, "rim")[4] == "2, 1 of 2 diverged, 2 missing"
    assert row_of(table, "gone")[1:] == ["–", "–", "–", "0, 2 missing", "–", "–"]
    assert all(f"- {line['run']}: out of memory" in table for line in missing)
    assert row_of(table, "lstm")[4] == "3"
    nothing = comparison_table([], missing=missing)
    assert "no run is finished yet" in nothing and "- rim-s2: out of memory" in nothing
    two_levels = comparison_table([*results, *({**line, "level": "B"} for line in results)], missing=missing)
    assert row_of(two_levels.split("\n\n")[1], "rim")[4] == "2, 1 of 2 diverged"
    assert row_of(two_levels.split("\n\n")[2], "rim")[3:5] == ["–", "2, 2 of 4 diverged, 2 missing"]


def test_what_only_some_runs_have_recorded_is_not_averaged():
    results = [of_curve("rim", 0, 0.9, 0.6, 100), result("rim", "A", 1, 0.7)]
    assert row_of(comparison_table(results), "rim")[1:5] == ["0.800 [0.700, 0.900]", "–", "–", "2"]


def test_a_median_counts_runs_that_never_got_there():
    """By hand: the middle of 100, 200, 300, never is 250; of 100, never, never it is never."""
    results = [of_curve("a", seed, 1.0, 1.0, x) for seed, x in enumerate((300, 100, None, 200))]
    results += [of_curve("b", seed, 1.0, 1.0, x) for seed, x in enumerate((None, 100, None))]
    results += [of_curve("c", 0, 1.0, 1.0, None)]
    table = comparison_table(results)
    assert row_of(table, "a")[3].startswith("250 [100, ") and row_of(table, "b")[3].startswith("never [100, never]")
    assert row_of(table, "c")[3] == "never (no interval)"
    e = stratified_bootstrap(curves.median, np.array([1.0, np.inf]), rng=np.random.default_rng(0))
    assert e == (np.inf, 1.0, np.inf)  # a quarter of the resamplings has the number twice


def test_area_and_frames_of_a_curve_worked_out_by_hand():
    frames, success = [0, 100, 400], [0.0, 0.6, 1.0]  # ∫ = 30 + 240
    assert curves.area(frames, success) == pytest.approx(270 / 400)
    assert curves.area(frames, success, planned=1000) == pytest.approx(0.27)  # diverged: 0 from 400 on
    assert curves.area([0], [0.3], planned=1000) == 0.0
    assert [curves.frames_to(frames, success, share) for share in (0.0, 0.5, 0.6, 0.9)] == [0, 100, 100, 400]
    assert curves.frames_to([0, 100, 200], [0.1, 0.9, 0.2], 0.9) == 100  # first, not last
    assert curves.frames_to([0, 100], [0.1, 0.89], 0.9) is None
    with pytest.raises(UserError, match="run of 300"):
        curves.area(frames, success, planned=300)


def test_a_profile_is_the_share_of_runs_above_each_threshold_averaged_over_levels():
    """By hand: of one level 2 of 4 runs lie above 0.5, of the other 1 of 2; a run at the threshold is not above it."""
    value, low, high = performance_profile(
        (0.0, 0.5, 0.9), np.array([0.1, 0.5, 0.6, 1.0]), np.array([0.4, 0.8]), rng=np.random.default_rng(0)
    )
    assert value.tolist() == [1.0, 0.5, 0.125]
    assert (low <= value).all() and (value <= high).all() and (low[0], high[0]) == (1, 1) and high[1] > low[1]
