"""What a learner keeps and what it carries over: numbers from a success matrix. Pure functions of recorded data.

Tasks 0, 1, …, S − 1 are learnt one after the other. The success matrix R [S, S] has, in row i, the success on every
task after training stage i (the stage that trains on task i), and `before` [S] is the success before any training:

              task 0   task 1   task 2
    before      b_0      b_1      b_2
    stage 0    R_00     R_01     R_02      above the diagonal: tasks that were not trained yet
    stage 1    R_10     R_11     R_12      on the diagonal:    the task just trained
    stage 2    R_20     R_21     R_22      below:              old tasks

Published tools give several of these measures the same name. Each function here says which variant it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from ..errors import UserError


def average_performance(success: Float[np.ndarray, "S S"]) -> float:
    """Mean success over all tasks after the last stage: (1/S) Σ_j R[S−1, j].

    Source: the average accuracy of GEM (Lopez-Paz and Ranzato 2017), the average performance of Continual World
    (Wołczyk et al. 2021).
    """
    return float(_matrix(success)[-1].mean())


def forgetting(success: Float[np.ndarray, "S S"]) -> Float[np.ndarray, "S"]:
    """Forgetting of each task j, from its own stage to the last: R[j, j] − R[S−1, j].

    Positive: lost. Negative: later tasks helped. The last task's is 0 by definition, so say whether a mean counts it:
    `summarize` does not, and a mean that does is smaller by the factor (S − 1)/S.

    Source: Continual World (Wołczyk et al. 2021).
    """
    R = _matrix(success)
    return np.diagonal(R) - R[-1]


def forgetting_maximum(success: Float[np.ndarray, "S S"]) -> Float[np.ndarray, "S-1"]:
    """Forgetting of each task j < S − 1 from the best it ever was: max_{i < S−1} R[i, j] − R[S−1, j].

    The maximum runs over all stages before the last, also those before j's own. Never less than `forgetting`.

    Source: Chaudhry et al. 2018 (Riemannian Walk).
    """
    R = _matrix(success)
    return (R[:-1].max(axis=0) - R[-1])[:-1]


def backward_transfer(success: Float[np.ndarray, "S S"]) -> float:
    """What later stages did to old tasks, on average: 1/(S−1) Σ_{j < S−1} R[S−1, j] − R[j, j].

    Minus the mean of `forgetting` over all tasks but the last.

    Source: BWT of GEM (Lopez-Paz and Ranzato 2017).
    """
    R = _matrix(success)
    return float((R[-1] - np.diagonal(R))[:-1].mean())


def zero_shot(success: Float[np.ndarray, "S S"]) -> Float[np.ndarray, "S-1"]:
    """Success on each task j ≥ 1 just before it was ever trained: R[j−1, j]. Ours.

    Compare it with `before`: an untrained agent solves some levels by chance, and `zero_shot_gain` takes that off.
    """
    R = _matrix(success)
    return np.diagonal(R, offset=1).copy()


def zero_shot_gain(success: Float[np.ndarray, "S S"], before: Float[np.ndarray, "S"]) -> float:
    """What earlier tasks gave to tasks not trained yet, on average: 1/(S−1) Σ_{j ≥ 1} R[j−1, j] − before[j].

    Source: called forward transfer, FWT, in GEM (Lopez-Paz and Ranzato 2017). It is not `forward_transfer`.
    """
    R = _matrix(success)
    return float((zero_shot(R) - _row(before, len(R), "before")[1:]).mean())


def area_under_curve(frames: Float[np.ndarray, "n"], success: Float[np.ndarray, "n"]) -> float:
    """Mean success over a training: (1/(x_n − x_1)) ∫ p(x) dx by the trapezoidal rule, between 0 and 1.

    Args:
        frames: where the curve was measured, increasing, at least two places.
        success: success there, in [0, 1].

    Source: Continual World (Wołczyk et al. 2021), AUC.
    """
    x = np.asarray(frames, dtype=np.float64)
    if x.ndim != 1 or x.size < 2 or not np.isfinite(x).all() or not (np.diff(x) > 0).all():
        raise UserError(f"a curve needs at least two increasing numbers of frames, got {x.tolist()}")
    p = _row(success, x.size, "success along the curve")
    return float(np.sum((p[1:] + p[:-1]) / 2 * np.diff(x)) / (x[-1] - x[0]))


def forward_transfer(area: Sequence[float], area_alone: Sequence[float]) -> Float[np.ndarray, "S"]:
    """How much sooner each task was learnt than alone: (AUC_j − AUC_j^alone) / (1 − AUC_j^alone).

    0: as soon as by training alone. 1: known from the first frame on. Negative: what came before was in the way.

    Args:
        area: `area_under_curve` of each task during its own stage.
        area_alone: the same of an agent trained on that task alone, from nothing, for as many frames.

    Raises:
        UserError: lists of different lengths, numbers out of [0, 1], or an `area_alone` of 1 (nothing to gain).

    Source: Continual World (Wołczyk et al. 2021), normalised forward transfer.
    """
    alone = _row(area_alone, len(area_alone), "area_alone")
    mine = _row(area, alone.size, "area")
    if (alone == 1).any():
        raise UserError(f"area_alone of task {int(alone.argmax())} is 1; nothing is left to gain, leave this task out")
    return (mine - alone) / (1 - alone)


def summarize(success: Float[np.ndarray, "S S"], before: Float[np.ndarray, "S"] | None = None) -> dict[str, float]:
    """The measures of one run as single numbers, by name.

    `forgetting` and `forgetting_maximum` are means over all tasks but the last; `zero_shot` is a mean over all but
    the first; `zero_shot_gain` is there when `before` is given.
    """
    R = _matrix(success)
    numbers = {
        "average_performance": average_performance(R),
        "forgetting": float(forgetting(R)[:-1].mean()),
        "forgetting_maximum": float(forgetting_maximum(R).mean()),
        "backward_transfer": backward_transfer(R),
        "zero_shot": float(zero_shot(R).mean()),
    }
    return numbers if before is None else numbers | {"zero_shot_gain": zero_shot_gain(R, before)}


def _matrix(success: Float[np.ndarray, "S S"]) -> Float[np.ndarray, "S S"]:
    """
    Raises:
        UserError: not square, fewer than two tasks, or an entry out of [0, 1].
    """
    R = np.asarray(success, dtype=np.float64)
    if R.ndim != 2 or R.shape[0] != R.shape[1] or len(R) < 2:
        raise UserError(
            f"a success matrix has a row for each stage and a column for each task, at least 2 of both; got {R.shape}"
        )
    _check_range(R, "the success matrix")
    return R


def _row(values: Sequence[float] | np.ndarray, size: int, what: str) -> Float[np.ndarray, "n"]:
    row = np.asarray(values, dtype=np.float64)
    if row.shape != (size,) or size == 0:
        raise UserError(f"{what} needs one number for each of {size} places, got shape {row.shape}")
    _check_range(row, what)
    return row


def _check_range(values: np.ndarray, what: str) -> None:
    bad = ~((values >= 0) & (values <= 1))  # also true for what is not a number
    if bad.any():
        raise UserError(f"{what} holds {values[bad][0]}; success rates lie between 0 and 1")
