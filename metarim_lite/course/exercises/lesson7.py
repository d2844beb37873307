"""Lesson 07, reading results critically: runs, intervals, comparisons, specialisation, verdicts (numpy arrays)."""

from __future__ import annotations

from functools import partial

import numpy as np
from jaxtyping import Bool, Float, Int

from ...analysis import statistics, verdicts
from ...analysis.specialisation import mutual_information
from ...analysis.statistics import Estimate
from ..declaring import exercise

exercise_7 = partial(exercise, lesson="07_reading_results_critically")


@exercise_7(
    "7.1", "The interquartile mean", difficulty=1, importance=4, minutes=10, points=1, returns="mean", needs="numpy",
    sizes=({"R": 9}, {"R": 14}, {"R": 11}), tolerance=(1e-6, 1e-9), draws={"scores": lambda dice, s: dice.normal(s["R"]).exp()},
    formula=r"""The mean of the middle half of R runs. A quarter of them, R/4 rounded **down**, is dropped at each end, so that a few lucky
or failed seeds do not decide it. $\text{scores}\,[R] \to$ one number.""",
    hints=("Sort first.", "`cut = len(scores) // 4`.", "`np.sort(scores)[cut : len(scores) - cut].mean()`."),
)  # fmt: skip
def interquartile_mean(scores: Float[np.ndarray, "R"]) -> float:
    return float(statistics.interquartile_mean(scores))


@interquartile_mean.mistake("this is the mean of all runs; drop a quarter at each end.")
def plain_mean(scores):
    return scores.mean()


@interquartile_mean.mistake("this is the median, the middle run alone; take the mean of the middle half.")
def median(scores):
    return np.median(scores)


@interquartile_mean.mistake("you cut without sorting: that drops the first and the last runs, not the lowest and the highest.")
def unsorted(scores):
    cut = len(scores) // 4
    return scores[cut : len(scores) - cut].mean()


@interquartile_mean.mistake("you drop the lowest quarter only; that flatters. Drop the highest, too.")
def flattering(scores):
    return np.sort(scores)[len(scores) // 4 :].mean()


@interquartile_mean.mistake("your quarter is rounded up; round it down.")
def rounded_up(scores):
    cut = -(-len(scores) // 4)
    return np.sort(scores)[cut : len(scores) - cut].mean()


@exercise_7(
    "7.2", "A bootstrap interval", difficulty=3, importance=5, minutes=20, points=3, returns=("low", "high"), needs="7.1",
    sizes=({"K": 60, "L": 3, "R": 8}, {"K": 50, "L": 4, "R": 6}, {"K": 70, "L": 2, "R": 9}), tolerance=(1e-6, 1e-9),
    draws={
        "scores": lambda dice, s: 2.0 * dice.whole(0, 9, s["L"], 1) + dice.normal(s["L"], s["R"]),
        "picks": lambda dice, s: dice.whole(0, s["R"] - 1, s["K"], s["L"], s["R"]),
    },
    formula=r"""R runs on each of L levels. Resample runs with replacement **inside each level** (`picks[d, l]` are the R runs drawn for level
l in draw d), pool the levels, take the interquartile mean of each draw; the interval is from the 2.5 % to the 97.5 % quantile of
these K numbers.

$$\text{scores}\,[L,R],\; \text{picks}\,[K,L,R]$$

$$\to\; \text{low},\; \text{high}$$""",
    hints=(
        "One draw: `[scores[l][picks[d, l]] for l in range(L)]`, joined to one list of L·R numbers.",
        "Without a loop: `np.take_along_axis(scores[None], picks, axis=2)` is [K, L, R].",
        "`np.quantile(numbers, [0.025, 0.975])`.",
    ),
)  # fmt: skip
def bootstrap_interval(scores: Float[np.ndarray, "L R"], picks: Int[np.ndarray, "K L R"]) -> tuple[float, float]:
    return _interval(_draws(scores, picks))


def _draws(scores, picks):
    resampled = np.take_along_axis(scores[None], picks, axis=2)  # [K, L, R]
    return statistics.interquartile_mean(*resampled.transpose(1, 0, 2))


def _interval(numbers, low=0.025):
    return tuple(float(q) for q in np.quantile(numbers, [low, 1 - low]))


@bootstrap_interval.mistake("your resampling is not stratified: a draw takes runs from other levels. Level l keeps its own R runs.")
def not_stratified(scores, picks):
    L, R = scores.shape
    pooled = scores.ravel()[(picks * L + np.arange(L)[:, None]) % (L * R)]
    return _interval(statistics.interquartile_mean(pooled.reshape(len(picks), -1)))


@bootstrap_interval.mistake("you use the runs of level 0 for every level; level l has its own.")
def first_level(scores, picks):
    return _interval(_draws(np.broadcast_to(scores[:1], scores.shape), picks))


@bootstrap_interval.mistake("your interval holds 90 %; a 95 % interval goes from the 2.5 % to the 97.5 % quantile.")
def ninety(scores, picks):
    return _interval(_draws(scores, picks), 0.05)


@bootstrap_interval.mistake("you take the mean of each draw; take its interquartile mean.")
def of_means(scores, picks):
    return _interval(np.take_along_axis(scores[None], picks, axis=2).mean(axis=(1, 2)))


@bootstrap_interval.mistake("you take two standard deviations around the mean; take quantiles, which need no bell curve.")
def bell_curve(scores, picks):
    numbers = _draws(scores, picks)
    return numbers.mean() - 1.96 * numbers.std(), numbers.mean() + 1.96 * numbers.std()


@exercise_7(
    "7.3", "Probability of improvement", difficulty=2, importance=4, minutes=10, points=2, returns="probability", needs="7.1",
    sizes=({"R": 9, "Q": 7}, {"R": 8, "Q": 8}, {"R": 6, "Q": 10}), tolerance=(1e-6, 1e-9),
    draws={"ours": lambda dice, s: dice.whole(1, 6, s["R"]) / 8, "theirs": lambda dice, s: dice.whole(0, 5, s["Q"]) / 8},
    formula=r"""How likely does a run of ours beat a run of theirs? Over all pairs of one of ours and one of theirs: the share that ours
wins, a tie counting half. $[R],\,[Q] \to$ one number; 0.5 is no difference.""",
    hints=("There are R·Q pairs.", "`ours[:, None] > theirs[None, :]` is [R, Q].", "Add half of `ours[:, None] == theirs[None, :]`, then the mean."),
)  # fmt: skip
def probability_of_improvement(ours: Float[np.ndarray, "R"], theirs: Float[np.ndarray, "Q"]) -> float:
    rng = np.random.default_rng(0)  # for the interval, which is not asked for
    return statistics.probability_of_improvement([ours], [theirs], rng=rng, draws=1).value


@probability_of_improvement.mistake("a tie counts nothing for you; it should count half, or equal methods would look worse than each other.")
def ties_lose(ours, theirs):
    return (ours[:, None] > theirs).mean()


@probability_of_improvement.mistake("a tie counts as a win for you; it should count half.")
def ties_win(ours, theirs):
    return (ours[:, None] >= theirs).mean()


@probability_of_improvement.mistake("this is how likely *theirs* beats ours.")
def theirs_wins(ours, theirs):
    return probability_of_improvement(theirs, ours)


@probability_of_improvement.mistake("you pair run i with run i; seeds of two methods have nothing to do with each other, so take all pairs.")
def paired(ours, theirs):
    n = min(len(ours), len(theirs))
    return ((ours[:n] > theirs[:n]) + 0.5 * (ours[:n] == theirs[:n])).mean()


@probability_of_improvement.mistake("you compare every run of ours with the mean of theirs; compare it with every run.")
def with_mean(ours, theirs):
    return ((ours > theirs.mean()) + 0.5 * (ours == theirs.mean())).mean()


@exercise_7(
    "7.4", "Do modules specialise?", difficulty=4, importance=4, minutes=30, points=4, returns=("information", "excess"),
    needs="logarithms", sizes=({"T": 40, "N": 4, "K": 6}, {"T": 50, "N": 3, "K": 5}, {"T": 60, "N": 5, "K": 7}), tolerance=(1e-6, 1e-9),
    draws={
        "active": lambda dice, s: dice.flags(0.5, s["T"], s["N"]),
        "situation": lambda dice, s: dice.whole(0, 2, s["T"]),
        "orders": lambda dice, s: dice.uniform(0, 1, s["K"], s["T"]).argsort(dim=1),
    },
    prepare=lambda inputs, dice: inputs | {"active": inputs["active"] | (inputs["situation"][:, None] == np.arange(inputs["active"].shape[1]) % 3)},
    formula=r"""How much does module n's being active tell about the situation s (a whole number for each of T steps)? Mutual information, in
nats, from the shares p of steps:

$$I_n = \sum_{a \in \{0,1\}} \sum_s p(a,s) \ln \frac{p(a,s)}{p(a)\,p(s)} \quad [N]$$

(with $0 \ln 0 = 0$).

Chance alone gives more than 0. So also: $I_n$ *minus* the mean of what it is with the situations in K other orders
(`situation[orders[k]]`).""",
    hints=(
        "Count with loops over a and s: `np.mean((active[:, n] == a) & (situation == s))`.",
        "Leave out terms with p(a, s) = 0.",
        "Write a function of (active, situation) and call it 1 + K times.",
    ),
)  # fmt: skip
def specialisation(
    active: Bool[np.ndarray, "T N"], situation: Int[np.ndarray, "T"], orders: Int[np.ndarray, "K T"]
) -> tuple[Float[np.ndarray, "N"], Float[np.ndarray, "N"]]:
    found = _information(active, situation)
    return found, found - np.mean([_information(active, situation[order]) for order in orders], axis=0)


def _shares(active, situation):
    """p(a, s) [N, 2, S]."""
    on = np.stack([~active, active]).astype(float)  # [2, T, N]
    return np.einsum("atn,ts->nas", on, situation[:, None] == np.unique(situation)) / len(active)


def _information(active, situation):
    """The package's mutual information for each module, in nats."""
    _, numbers = np.unique(situation, return_inverse=True)
    return np.log(2) * np.array([mutual_information(module.astype(int), numbers) for module in active.T])


@specialisation.mistake("your information is in bits (log2); take the natural logarithm.")
def bits(active, situation, orders):
    return tuple(x / np.log(2) for x in specialisation(active, situation, orders))


@specialisation.mistake("this is the entropy of p(a, s) that the two have together; mutual information compares it with p(a) p(s).")
def joint_entropy(active, situation, orders):
    p = _shares(active, situation)
    found = -(p * np.log(np.where(p > 0, p, 1))).sum((1, 2))
    return found, specialisation(active, situation, orders)[1]


@specialisation.mistake("you sum over steps with the module active only; being inactive tells something, too.")
def active_only(active, situation, orders):
    p = _shares(active, situation)
    apart = p.sum(2, keepdims=True) * p.sum(1, keepdims=True)
    terms = p * np.log(np.where(p > 0, p, 1) / np.where(p > 0, apart, 1))
    return terms[:, 1].sum(1), specialisation(active, situation, orders)[1]


@specialisation.mistake("your information is right, but nothing is taken off it: chance alone gives more than 0.")
def no_null(active, situation, orders):
    found, _ = specialisation(active, situation, orders)
    return found, found


@specialisation.mistake("your information is right, but the excess is the mean over other orders itself; take it off.")
def null_alone(active, situation, orders):
    found, excess = specialisation(active, situation, orders)
    return found, found - excess


@specialisation.mistake("you take off the largest of the K values; take off their mean.")
def off_the_largest(active, situation, orders):
    found, _ = specialisation(active, situation, orders)
    return found, found - np.max([_information(active, situation[order]) for order in orders], axis=0)


KINDS = ((0.3, 0.1), (0.3, 0.4), (0.02, 0.01), (0.02, 0.2), (-0.3, 0.1), (0.0, 0.03), (0.1, 0.08), (0.05, 0.12))


def _estimates(inputs, dice):
    value, half = KINDS[inputs["low"]]
    value = value + dice.uniform(-0.005, 0.005)
    return {"value": value, "low": value - half, "high": value + half, "smallest": dice.uniform(0.045, 0.06)}


@exercise_7(
    "7.5", "A verdict", difficulty=2, importance=5, minutes=10, points=2, returns="verdict", needs="7.2",
    sizes=tuple({"i": i} for i in range(len(KINDS))), prepare=_estimates,
    draws={"value": lambda dice, s: 0.0, "low": lambda dice, s: s["i"], "high": lambda dice, s: 0.0, "smallest": lambda dice, s: 0.0},
    formula=r"""The rule, written before the runs. The claim: A is larger than B by something that matters. From A − B with its 95 % interval, and
`smallest`, the smallest difference that matters (> 0):

- "supported": the interval lies above 0, and A − B is at least `smallest`;
- "not supported": the interval lies below `smallest`;
- "undecided": everything else (and where both hold).""",
    hints=(
        "Two questions, each with yes or no: is it there? is it excluded?",
        "An interval that holds 0 does not show that there is nothing: it must lie below `smallest` for that.",
        "`there = low > 0 and value >= smallest`, `excluded = high < smallest`.",
    ),
)  # fmt: skip
def verdict(value: float, low: float, high: float, smallest: float) -> str:
    return verdicts.verdict(Estimate(value, low, high), smallest)


@verdict.mistake("you take an interval that holds 0 for a proof that there is nothing; it must lie below `smallest` for that.")
def holds_zero(value, low, high, smallest):
    return "not supported" if low <= 0 else verdict(value, low, high, smallest)


@verdict.mistake("you call a difference that is there, but too small to matter, supported: A − B must be at least `smallest`.")
def any_size(value, low, high, smallest):
    return "supported" if low > 0 else verdict(value, low, high, smallest)


@verdict.mistake("you look at the value alone; what its interval does not exclude may still be so.")
def value_alone(value, low, high, smallest):
    return "supported" if value >= smallest else "not supported"


@verdict.mistake("you ask that the whole interval lies above `smallest`; the rule asks that of the value, and of the interval to lie above 0.")
def stricter(value, low, high, smallest):
    return "undecided" if low < smallest and high >= smallest else verdict(value, low, high, smallest)


@verdict.mistake("you have no verdict against the claim: an interval below `smallest` excludes everything that matters.")
def never_against(value, low, high, smallest):
    found = verdict(value, low, high, smallest)
    return "undecided" if found == "not supported" else found
