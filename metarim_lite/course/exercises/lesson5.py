"""Lesson 05, catastrophic forgetting: what it is, how it is measured, and two things against it.

A success matrix R [S,S] has a row for each stage of training and a column for each task (numpy arrays).
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...analysis import forgetting as package
from ...experiments.ewc import quadratic_penalty
from ...experiments.stages import rehearsed
from ..declaring import exercise

exercise_5 = partial(exercise, lesson="05_catastrophic_forgetting")
RATES = {
    "success": lambda dice, s: dice.uniform(0, 1, s["S"], s["S"]),

    "area": lambda dice, s: dice.uniform(0, 1, s["S"]),
    "alone": lambda dice, s: dice.uniform(0, 0.9, s["S"]),
}



def _with_turns(inputs, dice):
    """Task 0 is at its best in the end, task 1 before its own stage."""
    success = inputs["success"].copy()
    success[-1, 0], success[0, 1] = 1.0, 1.0
    return {"success": success}


@exercise_5(
    "5.1", "Forgetting", difficulty=2, importance=5, minutes=15, points=2, returns=("average", "forgetting", "from_the_best"),
    needs="numpy", sizes=({"S": 5}, {"S": 4}, {"S": 6}), draws={"success": RATES["success"]}, prepare=_with_turns,
    formula=r"""After stage i the success on task j is $R_{ij}$; task j is trained in stage j. With S tasks,

$$\text{average} = \tfrac1S \sum_j R_{S-1,j}$$

$$\text{forgetting}_j = R_{jj} - R_{S-1,j}\;[S]$$

$$\text{from the best}_j = \max_{i<S-1} R_{ij} - R_{S-1,j}\;[S{-}1]$$

The last is for all tasks but the last, and its maximum runs over *all* stages before the last.""",
    hints=(
        "The last row, `R[-1]`, is what the learner can do in the end.",
        "`np.diagonal(R)` is what it could do just after each task's own stage.",
        "`R[:-1].max(axis=0)` is the best before the last stage; leave the last task out.",
    ),
)  # fmt: skip
def forgetting(success: Float[np.ndarray, "S S"]) -> tuple[float, Float[np.ndarray, "S"], Float[np.ndarray, "S-1"]]:
    return package.average_performance(success), package.forgetting(success), package.forgetting_maximum(success)


@forgetting.mistake("your average is over the diagonal: that is what was learnt, not what is left of it at the end (the last row).")
def learnt(success):
    return float(np.diagonal(success).mean()), *forgetting(success)[1:]


@forgetting.mistake("you have rows and columns the wrong way round: a row is a stage, a column is a task.")
def turned(success):
    return forgetting(success.T)


@forgetting.mistake("your forgetting has the wrong sign: what is lost should count as positive.")
def gained(success):
    average, lost, best = forgetting(success)
    return average, -lost, best


@forgetting.mistake("your maximum runs over the last stage, too, so that it can never be exceeded; leave that stage out.")
def with_last_stage(success):
    average, lost, _ = forgetting(success)
    return average, lost, (success.max(axis=0) - success[-1])[:-1]


@forgetting.mistake("your maximum begins at each task's own stage; a task may have been at its best before it was trained.")
def from_own_stage(success):
    average, lost, _ = forgetting(success)
    return average, lost, (np.tril(success)[:-1].max(axis=0) - success[-1])[:-1]


@exercise_5(
    "5.2", "Transfer", difficulty=2, importance=4, minutes=15, points=2, returns=("backward", "zero_shot", "forward"),
    needs="5.1", sizes=({"S": 5}, {"S": 4}, {"S": 6}), draws=RATES,
    formula=r"""$$\text{backward} = \tfrac1{S-1}\sum_{j<S-1} \big(R_{S-1,j} - R_{jj}\big)$$

$$\text{zero-shot}_j = R_{j-1,j} \text{ for } j \ge 1\;[S{-}1]$$

With $a_j$ the area under task j's learning curve and $a^0_j$ that of an agent that learns it alone,

$$\text{forward}_j = \frac{a_j - a^0_j}{1 - a^0_j}\;[S]$$""",
    hints=(
        "`np.diagonal(R)` and the last row give the backward one; the last task is left out.",
        "`np.diagonal(R, offset=1)` is one above the diagonal.",
        "The forward one is a share: of what there was to gain over learning alone, how much was gained?",
    ),
)  # fmt: skip
def transfer(
    success: Float[np.ndarray, "S S"], area: Float[np.ndarray, "S"], alone: Float[np.ndarray, "S"]
) -> tuple[float, Float[np.ndarray, "S-1"], Float[np.ndarray, "S"]]:
    return package.backward_transfer(success), package.zero_shot(success), package.forward_transfer(area, alone)


@transfer.mistake("your backward transfer has the sign of forgetting; what later stages added should count as positive.")
def as_forgetting(success, area, alone):
    return -transfer(success, area, alone)[0], *transfer(success, area, alone)[1:]


@transfer.mistake("your backward transfer is a mean over all S tasks; the last one has no later stage, so leave it out.")
def over_all(success, area, alone):
    backward, *others = transfer(success, area, alone)
    return backward * (len(success) - 1) / len(success), *others


@transfer.mistake("your zero-shot success is one *below* the diagonal: that is after training, one stage later.")
def below(success, area, alone):
    backward, _, forward = transfer(success, area, alone)
    return backward, np.diagonal(success, offset=-1).copy(), forward


@transfer.mistake("your forward transfer is the difference of areas; divide it by what there was to gain, 1 − alone.")
def difference(success, area, alone):
    backward, zero_shot, _ = transfer(success, area, alone)
    return backward, zero_shot, area - alone


@transfer.mistake("your forward transfer is divided by the area alone; divide by what there was to gain, 1 − alone.")
def relative(success, area, alone):
    backward, zero_shot, _ = transfer(success, area, alone)
    return backward, zero_shot, (area - alone) / alone


@exercise_5(
    "5.3", "The penalty of elastic weights", difficulty=3, importance=4, minutes=20, points=3, returns=("fisher", "penalty"),
    needs="5.1", gradient=True, draws={"strength": lambda dice, s: dice.uniform(2, 9)},
    formula=r"""From M gradients of log π (of the probability of what was done), one for each sample, the diagonal of the empirical Fisher
information; from it the price of moving away from where the old task left the weights, $\theta^*$:

$$F_p = \frac1M\sum_m g_{mp}^2\;[P]$$

$$\text{penalty} = \frac\lambda2 \sum_p F_p\,(\theta_p - \theta^*_p)^2$$""",
    hints=(
        "Square each sample's gradient first, then take the mean over samples.",
        "Every weight has its own stiffness: multiply before you sum over p.",
        "`strength / 2 * (fisher * (theta - anchor) ** 2).sum()`.",
    ),
)  # fmt: skip
def ewc_penalty(
    theta: Float[Tensor, "P"], anchor: Float[Tensor, "P"], gradients: Float[Tensor, "M P"], strength: float
) -> tuple[Float[Tensor, "P"], Float[Tensor, ""]]:
    """What a sample is in `fisher_diagonal` of the package is a span of steps; here it is a row."""
    fisher = gradients.square().mean(0)
    return fisher, quadratic_penalty(theta, anchor, fisher, strength)


@ewc_penalty.mistake("you square the mean gradient, which is near 0 where the old task is learnt; take the mean of the squares.")
def square_of_mean(theta, anchor, gradients, strength):
    fisher = gradients.mean(0).square()
    return fisher, strength / 2 * (fisher * (theta - anchor).square()).sum()


@ewc_penalty.mistake("your Fisher information is the sum over samples; take their mean, or the stiffness grows with M.")
def sum_of_squares(theta, anchor, gradients, strength):
    fisher = gradients.square().sum(0)
    return fisher, strength / 2 * (fisher * (theta - anchor).square()).sum()


@ewc_penalty.mistake("the factor ½ is missing from your penalty.")
def no_half(*args):
    fisher, penalty = ewc_penalty(*args)
    return fisher, 2 * penalty


@ewc_penalty.mistake("all weights are held back alike: the Fisher information is missing from your penalty.")
def not_weighed(theta, anchor, gradients, strength):
    fisher, _ = ewc_penalty(theta, anchor, gradients, strength)
    return fisher, strength / 2 * (theta - anchor).square().sum()


@ewc_penalty.mistake("your penalty pulls the weights to 0 instead of to where the old task left them.")
def to_zero(theta, anchor, gradients, strength):
    return ewc_penalty(theta, 0 * anchor, gradients, strength)


@exercise_5(
    "5.4", "Rehearsal", difficulty=2, importance=3, minutes=15, points=2, returns=("batch", "counted"), needs="indexing",
    sizes=({"B": 8, "M": 11}, {"B": 10, "M": 12}, {"B": 6, "M": 9}), tolerance=(0, 0),
    draws={
        "share": lambda dice, s: (dice.whole(1, s["B"] // 2 - 1) + dice.uniform(0.6, 0.9)) / s["B"],
        "order_new": lambda dice, s: dice.order(s["B"]),
        "order_old": lambda dice, s: dice.order(s["M"]),
    },
    formula=r"""A batch of the size B that it always has, in which a share comes from old tasks: r = share · B, rounded **down**. First the
B − r new rows that `order_new` names first, then the r old rows that `order_old` names first. Frames of old tasks were counted
when they were played: only the new ones count, so `counted` = B − r.""",
    hints=(
        "`int(share * B)` rounds down.",
        "`new[order_new[: B - r]]` takes rows in a random order.",
        "`torch.cat([new_rows, old_rows])`, and the number of new rows.",
    ),
)  # fmt: skip
def rehearse(
    new: Float[Tensor, "B D"], old: Float[Tensor, "M D"], share: float,
    order_new: Int[Tensor, "B"], order_old: Int[Tensor, "M"],
) -> tuple[Float[Tensor, "B D"], int]:  # fmt: skip
    r = rehearsed(share, len(new))
    kept = len(new) - r
    return torch.cat([new[order_new[:kept]], old[order_old[:r]]]), kept


@rehearse.mistake("r is rounded to the nearest whole number; round it down.")
def nearest(new, old, share, order_new, order_old):
    return rehearse(new, old, (round(share * len(new)) + 0.5) / len(new), order_new, order_old)


@rehearse.mistake("new and old have exchanged their shares: `share` is that of the old tasks.")
def shares_exchanged(new, old, share, order_new, order_old):
    r = len(new) - int(share * len(new))
    return torch.cat([new[order_new[: len(new) - r]], old[order_old[:r]]]), len(new) - r


@rehearse.mistake("you take old rows in the order in which they lie there; `order_old` says which, or the first task is rehearsed alone.")
def no_order(new, old, share, order_new, order_old):
    return rehearse(new, old, share, order_new, torch.arange(len(old)))


@rehearse.mistake("the old rows come first in your batch; put them behind the new ones.")
def old_first(new, old, share, order_new, order_old):
    batch, counted = rehearse(new, old, share, order_new, order_old)
    return batch.roll(len(new) - counted, 0), counted


@rehearse.mistake("you count all B frames; those of old tasks were counted when they were played.")
def all_counted(new, old, share, order_new, order_old):
    return rehearse(new, old, share, order_new, order_old)[0], len(new)
