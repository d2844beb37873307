"""Measures of a success matrix: against numbers worked out by hand, and plain loops from the definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from metarim_lite.analysis import forgetting as f
from metarim_lite.errors import UserError

# Three tasks. Task 0 is learnt to 0.9, falls to 0.7, then to 0.2. Task 1 is best *before* the last stage. By hand:
R = np.array([[0.9, 0.1, 0.3], [0.7, 0.8, 0.5], [0.2, 0.6, 1.0]])
BEFORE = np.array([0.05, 0.2, 0.1])


def test_the_measures_of_a_matrix_worked_out_by_hand():
    assert f.average_performance(R) == pytest.approx((0.2 + 0.6 + 1.0) / 3)
    assert f.forgetting(R) == pytest.approx([0.7, 0.2, 0.0])
    assert f.forgetting_maximum(R) == pytest.approx([0.7, 0.2])
    assert f.backward_transfer(R) == pytest.approx(-0.45)
    assert f.zero_shot(R) == pytest.approx([0.1, 0.5])
    assert f.zero_shot_gain(R, BEFORE) == pytest.approx(((0.1 - 0.2) + (0.5 - 0.1)) / 2)


def test_the_two_kinds_of_forgetting_differ_where_a_task_was_best_in_another_stage():
    later = np.array([[0.5, 0, 0], [0.9, 1, 0], [0.4, 1, 1]])  # task 0 is best after stage 1
    earlier = np.array([[0.5, 0.8, 0], [0.5, 0.6, 0], [0.5, 0.7, 1]])  # task 1 is best before it was trained
    assert f.forgetting(later)[0] == pytest.approx(0.1) and f.forgetting_maximum(later)[0] == pytest.approx(0.5)
    assert f.forgetting(earlier)[1] == pytest.approx(-0.1) and f.forgetting_maximum(earlier)[1] == pytest.approx(0.1)


rates = st.floats(0, 1)
matrices = st.integers(2, 6).flatmap(lambda S: arrays(np.float64, (S, S), elements=rates))


@given(matrices)
def test_every_measure_is_what_a_plain_loop_gives(R):
    S = len(R)
    lost, most, back, zero, mean = [], [], 0.0, [], 0.0
    for j in range(S):
        mean += R[S - 1][j] / S
        lost.append(R[j][j] - R[S - 1][j])
        if j < S - 1:
            best = 0.0
            for i in range(S - 1):
                best = max(best, R[i][j])
            most.append(best - R[S - 1][j])
            back += (R[S - 1][j] - R[j][j]) / (S - 1)
        if j > 0:
            zero.append(R[j - 1][j])
    np.testing.assert_allclose(f.average_performance(R), mean, atol=1e-12)
    np.testing.assert_allclose(f.forgetting(R), lost, atol=1e-12)
    np.testing.assert_allclose(f.forgetting_maximum(R), most, atol=1e-12)
    np.testing.assert_allclose(f.backward_transfer(R), back, atol=1e-12)
    np.testing.assert_allclose(f.zero_shot(R), zero, atol=1e-12)
    assert (f.forgetting_maximum(R) >= f.forgetting(R)[:-1] - 1e-12).all()


def test_the_area_under_a_curve_is_its_mean_height():
    assert f.area_under_curve([0, 100], [0.4, 0.4]) == pytest.approx(0.4)
    assert f.area_under_curve([0, 100], [0.0, 1.0]) == pytest.approx(0.5)
    assert f.area_under_curve([50, 60, 150], [0.0, 1.0, 1.0]) == pytest.approx((10 * 0.5 + 90) / 100)


@given(st.lists(st.tuples(st.integers(1, 50), rates), min_size=2, max_size=8))
def test_the_area_is_what_many_thin_slices_give(points):
    x = np.cumsum([step for step, _ in points])
    p = [height for _, height in points]
    middles = x[0] + (np.arange(20_000) + 0.5) / 20_000 * (x[-1] - x[0])
    assert f.area_under_curve(x, p) == pytest.approx(np.interp(middles, x, p).mean(), abs=1e-3)


def test_forward_transfer_is_0_alone_1_when_known_at_once_and_negative_when_hindered():
    transfer = f.forward_transfer([0.6, 1.0, 0.3], [0.6, 0.75, 0.5])
    assert transfer == pytest.approx([0.0, 1.0, -0.4])


def test_the_summary_says_what_the_single_measures_say():
    numbers = f.summarize(R, BEFORE)
    assert numbers == pytest.approx(
        {
            "average_performance": 0.6,
            "forgetting": 0.45,  # tasks 0 and 1: the last one's 0 is not counted
            "forgetting_maximum": 0.45,
            "backward_transfer": -0.45,
            "zero_shot": 0.3,
            "zero_shot_gain": 0.15,
        }
    )
    assert "zero_shot_gain" not in f.summarize(R)


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        (np.zeros((2, 3)), r"got \(2, 3\)"),
        (np.zeros(4), r"got \(4,\)"),
        (np.zeros((1, 1)), "at least 2"),
        ([[0.5, 1.2], [0, 0]], "holds 1.2"),
        ([[0.5, -0.1], [0, 0]], "holds -0.1"),
        ([[0.5, np.nan], [0, 0]], "holds nan"),
    ],
)
def test_what_is_no_success_matrix_is_refused(matrix, said):
    for measure in (
        f.average_performance, f.forgetting, f.forgetting_maximum, f.backward_transfer, f.zero_shot, f.summarize,
    ):  # fmt: skip
        with pytest.raises(UserError, match=said):
            measure(matrix)


def test_rows_and_curves_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="before needs one number for each of 3"):
        f.zero_shot_gain(R, [0.1, 0.2])
    with pytest.raises(UserError, match="at least two increasing"):
        f.area_under_curve([0, 0], [0.1, 0.2])
    with pytest.raises(UserError, match="at least two increasing"):
        f.area_under_curve([0], [0.1])
    with pytest.raises(UserError, match="holds 2.0"):
        f.area_under_curve([0, 1], [0.1, 2.0])
    with pytest.raises(UserError, match="each of 2"):
        f.forward_transfer([0.5], [0.5, 0.5])
    with pytest.raises(UserError, match="task 1 is 1; nothing is left to gain"):
        f.forward_transfer([0.5, 0.5], [0.5, 1.0])
