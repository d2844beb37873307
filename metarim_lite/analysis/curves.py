"""Held-out success along a training, as numbers: pure functions of the places where it was measured.

A curve is measured at a few numbers of frames x_1 = 0 < x_2 < … with success p_1, p_2, … there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import UserError
from .forgetting import area_under_curve

SHARES = (0.5, 0.9, 0.98)


def area(frames: Sequence[int], success: Sequence[float], planned: int | None = None) -> float:
    """Mean success over a training, by the trapezoidal rule between the places of measurement.

    Args:
        frames: where the curve was measured, increasing.
        success: success there.
        planned: frames that a run which diverged was to have, counted from the first place on: from the last place on
            its success is 0. None: the run ended where the curve does.

    Raises:
        UserError: as `area_under_curve`; a curve that goes on after the planned end.
    """
    if planned is None:
        return area_under_curve(frames, success)
    measured = frames[-1] - frames[0]
    if planned < max(1, measured):
        raise UserError(f"a curve over {measured} frames cannot belong to a run of {planned}; give the run's own end")
    return area_under_curve(frames, success) * measured / planned if measured else 0.0


def frames_to(frames: Sequence[int], success: Sequence[float], share: float) -> int | None:
    """The first place of measurement where success is at least `share`; None where it never is.

    Nothing is interpolated: what is said was measured, and the run was that good at most one distance between two
    evaluations earlier. (The first of many noisy evaluations that is good enough comes somewhat early.)
    """
    return next((x for x, p in zip(frames, success, strict=True) if p >= share), None)


def median(*values: np.ndarray) -> np.ndarray:
    """Median over the runs of all groups [..., runs]; ∞, a run that never got there, counts as later than any number.

    Ours: a mean of frames has no place for such runs, and leaving them out would flatter.
    """
    return np.median(np.concatenate(values, axis=-1), axis=-1)
