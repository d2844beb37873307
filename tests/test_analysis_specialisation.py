"""What active sets tell of labels: closed forms, and the null."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

import metarim_lite as ml
from metarim_lite.analysis.specialisation import entropy, mutual_information, one_step_each, phase, told


def pairs(counts):
    """x and y of a table of counts."""
    x, y = zip(*(cell for cell, count in np.ndenumerate(counts) for _ in range(count)), strict=True)
    return np.array(x), np.array(y)


def h(p):
    return -p * math.log2(p) - (1 - p) * math.log2(1 - p)


def test_mutual_information_of_a_noisy_bit():
    """A bit that is handed on rightly 9 times of 10: 1 - h(0.1)."""
    assert mutual_information(*pairs([[45, 5], [5, 45]])) == pytest.approx(1 - h(0.1))


def test_what_is_independent_tells_nothing_and_what_is_equal_tells_all():
    assert mutual_information(*pairs(np.outer([1, 2, 3], [4, 1]))) == pytest.approx(0, abs=1e-12)
    y = np.array([0, 0, 1, 2, 2, 2, 2, 2])
    assert mutual_information(y, y) == pytest.approx(entropy(y)) == pytest.approx(1.2988, abs=1e-4)


def hypergeometric_mean(rows, columns):
    """Mean mutual information over all shufflings of a 2 x 2 table's labels, by hand."""
    n, total = sum(rows), 0.0
    for a in range(max(0, rows[0] - columns[1]), min(rows[0], columns[0]) + 1):
        chance = Fraction(math.comb(columns[0], a) * math.comb(columns[1], rows[0] - a), math.comb(n, rows[0]))
        table = np.array([[a, rows[0] - a], [columns[0] - a, columns[1] - rows[0] + a]])
        bits = sum(
            table[i, j] / n * math.log2(table[i, j] * n / (rows[i] * columns[j]))
            for i, j in product(range(2), range(2))
            if table[i, j]
        )
        total += float(chance) * bits
    return total


def test_the_null_is_what_shuffled_labels_tell_in_the_mean():
    sets = np.repeat([[True, False], [False, True]], [6, 4], axis=0)
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 0, 1, 1])
    found = told(sets, labels, rng=np.random.default_rng(0), shuffles=20_000)
    assert found.null == pytest.approx(hypergeometric_mean((6, 4), (4, 6)), abs=0.002)
    assert found.entropy == pytest.approx(h(0.4)) and found.excess == pytest.approx(
        (found.bits - found.null) / found.entropy
    )


def test_modules_that_have_nothing_to_do_with_the_label_are_at_chance_and_those_that_do_are_not():
    rng = np.random.default_rng(1)
    n = 900
    label = rng.integers(3, size=n)
    drawn = np.eye(6, dtype=bool)[rng.integers(6, size=n)]  # as many sets as modules, whatever the label
    chance = told(drawn, label, rng=np.random.default_rng(2))
    assert chance.bits > 0.001, "counted from few steps it is never 0"
    assert abs(chance.excess) < 0.02 and chance.chance > 0.05
    by_label = np.eye(6, dtype=bool)[2 * label + rng.integers(2, size=n)]  # two modules for each label
    whole = told(by_label, label, rng=np.random.default_rng(2))
    assert whole.excess == pytest.approx(1, abs=0.01) and whole.chance == pytest.approx(1 / 201)
    half = np.where(rng.random(n) < 0.5, 2 * label, rng.integers(6, size=n))
    assert 0.1 < told(np.eye(6, dtype=bool)[half], label, rng=np.random.default_rng(2)).excess < 0.9


def test_a_label_that_never_changes_has_nothing_to_tell():
    found = told(np.ones((5, 2), bool), np.zeros(5, int), rng=np.random.default_rng(0))
    assert found == (0, 0, 0, 0, 1)


def test_sets_and_labels_must_belong_together():
    for active, label in ((np.ones((3, 2)), np.ones(4)), (np.ones(3), np.ones(3)), (np.ones((0, 2)), np.ones(0))):
        with pytest.raises(ml.UserError, match="a set and a label for each step"):
            told(active, label, rng=np.random.default_rng(0))


def test_one_step_of_each_episode_any_being_as_likely():
    playing = np.arange(4)[:, None] < np.tile([1, 2, 4], 1000)[None]
    step, episode = one_step_each(playing, rng=np.random.default_rng(0))
    assert playing[step, episode].all() and (episode == np.arange(3000)).all()
    shares = np.bincount(step[2::3], minlength=4) / 1000
    assert np.abs(shares - 0.25).max() < 0.05


def test_phases_are_thirds():
    assert phase(np.arange(6), np.full(6, 6)).tolist() == [0, 0, 1, 1, 2, 2]
    assert phase(np.array([0, 0, 1, 63]), np.array([1, 2, 2, 64])).tolist() == [0, 0, 1, 2]
