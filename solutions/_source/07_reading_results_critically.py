# %% [markdown] slideshow={"slide_type": "slide"}
# # 07 · Reading results critically: exercises
#
# For [lesson 07](../notebooks/07_reading_results_critically.ipynb). Numpy this time. Write your code where it says
# `raise NotImplementedError`, run the cell, run the check. A check draws fresh inputs each time, compares with the
# package, and says what it thinks went wrong. *Run all* goes on below a check that fails: what comes next runs with
# your function once it passes, and with the package's until then.
#
# Five exercises, about 80 minutes.
#
# R is a number of runs, one for each seed.

# %% slideshow={"slide_type": "skip"}
import numpy as np

from metarim_lite.course import check, once_written, solved_or_reference
from metarim_lite.experiments.search import training_search

FRESH = [
    row for row in training_search() if row.series.startswith("chosen in round 2, fresh seeds")
]

# %% tags=["exercise"] metarim={"exercise": "interquartile_mean", "role": "answer"}
def interquartile_mean(scores):
    """Mean of the middle half of runs.

    Arguments:
        scores: [R].

    Returns:
        mean: one number.
    """
    # SOLUTION-BEGIN
    cut = len(scores) // 4
    return np.sort(scores)[cut : len(scores) - cut].mean()
    # SOLUTION-END

# %% [markdown]
# **A tiny example.** Runs of 0.1, 0.8, 0.9 and 0.7, the first of them failed. A quarter is one run: 0.1 and 0.9 go,
# and 0.75 is left. The mean is 0.62.

# %% metarim={"exercise": "interquartile_mean", "role": "example"}
with once_written(interquartile_mean):
    print(round(float(interquartile_mean(np.array([0.1, 0.8, 0.9, 0.7]))), 3))

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What it is good for
#
# Held-out success at the end, of real runs with six fresh seeds (`metarim_lite.experiments.search` says how they were
# made).

# %% metarim={"exercise": "interquartile_mean", "role": "next"}
middle = solved_or_reference("interquartile_mean", interquartile_mean)

for row in FRESH:
    scores = np.array(row.held_out)
    print(
        f"{row.method:9} mean {scores.mean():.2f}   middle {middle(scores):.2f}   worst run "
        f"{scores.min():.2f}"
    )

# %% tags=["exercise"] metarim={"exercise": "bootstrap_interval", "role": "answer"}
def bootstrap_interval(scores, picks):
    """A 95 % interval for the interquartile mean over L levels.

    Arguments:
        scores: [L, R], R runs on each of L levels.
        picks: int [K, L, R]; draw d takes the runs picks[d, l] of level l.

    Returns:
        low, high: one number each.
    """
    # SOLUTION-BEGIN
    L = len(scores)
    means = []
    for draw in picks:
        pooled = np.sort(np.concatenate([scores[level][draw[level]] for level in range(L)]))
        cut = len(pooled) // 4
        means.append(pooled[cut : len(pooled) - cut].mean())
    low, high = np.quantile(means, [0.025, 0.975])
    return low, high
    # SOLUTION-END

# %% [markdown]
# **A tiny example.** One level, four runs, two draws: one draws run 0 four times, the other run 3. The two means are
# 0 and 3; between their quantiles lies nearly all of it.

# %% metarim={"exercise": "bootstrap_interval", "role": "example"}
with once_written(bootstrap_interval):
    low, high = bootstrap_interval(
        np.array([[0.0, 1.0, 2.0, 3.0]]), np.array([[[0, 0, 0, 0]], [[3, 3, 3, 3]]])
    )
    print(f"[{low:.3f}, {high:.3f}]")

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What it is good for
#
# The same runs, now with their intervals.

# %% metarim={"exercise": "bootstrap_interval", "role": "next"}
interval = solved_or_reference("bootstrap_interval", bootstrap_interval)

dice = np.random.default_rng(0)
for row in FRESH:
    scores = np.array(row.area)[None]  # (L=1, R=6)
    low, high = interval(scores, dice.integers(6, size=(2000, 1, 6)))
    print(
        f"{row.method:9} area under the curve {scores.mean():.2f}   95 %: {low:.2f} to {high:.2f}"
    )

# %% tags=["exercise"] metarim={"exercise": "probability_of_improvement", "role": "answer"}
def probability_of_improvement(ours, theirs):
    """How likely a run of ours beats one of theirs; a tie counts half.

    Arguments:
        ours: [R].
        theirs: [Q].

    Returns:
        probability: one number.
    """
    # SOLUTION-BEGIN
    wins = ours[:, None] > theirs[None, :]  # (R, Q)
    ties = ours[:, None] == theirs[None, :]
    return (wins + 0.5 * ties).mean()
    # SOLUTION-END

# %% [markdown]
# **A tiny example.** Ours 0.5 and 1.0, theirs 0.5: one tie and one win, (0.5 + 1) / 2 = 0.75.

# %% metarim={"exercise": "probability_of_improvement", "role": "example"}
with once_written(probability_of_improvement):
    print(float(probability_of_improvement(np.array([0.5, 1.0]), np.array([0.5]))))

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What it is good for
#
# "Is 6 points better" says nothing of how often. Each setting of the search against the first of them, of one clock
# and of two (as many frames each).

# %% metarim={"exercise": "probability_of_improvement", "role": "next"}
improves = solved_or_reference("probability_of_improvement", probability_of_improvement)

compared = [row for row in FRESH if row.frames == FRESH[0].frames]
for row in compared[1:]:
    found = improves(np.array(row.area), np.array(compared[0].area))
    print(f"{row.method:9} beats the first in {found:.0%} of all pairs")

# %% tags=["exercise"] metarim={"exercise": "specialisation", "role": "answer"}
def specialisation(active, situation, orders):
    """What each module's being active tells of the situation, and how much more than chance.

    Arguments:
        active: bool [T, N].
        situation: int [T].
        orders: int [K, T], K other orders of the T steps.

    Returns:
        information: [N], mutual information in nats.
        excess: [N], minus its mean over the K orders.
    """

    # SOLUTION-BEGIN
    def information(active, situation):
        found = np.zeros(active.shape[1])
        for n in range(active.shape[1]):
            for a in (False, True):
                for s in np.unique(situation):
                    both = np.mean((active[:, n] == a) & (situation == s))
                    if both > 0:
                        found[n] += both * np.log(
                            both / (np.mean(active[:, n] == a) * np.mean(situation == s))
                        )
        return found

    found = information(active, situation)
    chance = np.mean([information(active, situation[order]) for order in orders], axis=0)
    return found, found - chance
    # SOLUTION-END

# %% [markdown]
# **A tiny example.** Four steps, two modules. Module 0 is active exactly in situation 1: knowing it tells everything,
# ln 2 = 0.69. Module 1 is active half of the time in each: 0. In the one other order (0, 2, 1, 3), module 0 tells
# nothing.

# %% metarim={"exercise": "specialisation", "role": "example"}
with once_written(specialisation):
    active = np.array([[False, True], [False, False], [True, True], [True, False]])
    information, excess = specialisation(active, np.array([0, 0, 1, 1]), np.array([[0, 2, 1, 3]]))
    print(
        "information", [round(float(x), 2) for x in information], "excess",
        [round(float(x), 2) for x in excess],
    )

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What it is good for
#
# Modules that are active at random specialise, if nobody takes chance off. The fewer steps, the more.

# %% metarim={"exercise": "specialisation", "role": "next"}
measure = solved_or_reference("specialisation", specialisation)

dice = np.random.default_rng(0)
for T in (30, 100, 300):
    # nothing to do with each other
    active, situation = dice.random((T, 6)) < 0.67, dice.integers(4, size=T)
    information, excess = measure(
        active, situation, np.array([dice.permutation(T) for _ in range(20)])
    )
    print(
        f"{T:3} steps: information {information.mean():.3f}, less chance {excess.mean() + 0.0:.2f}"
    )

# %% tags=["exercise"] metarim={"exercise": "verdict", "role": "answer"}
def verdict(value, low, high, smallest):
    """The rule that was written before the runs.

    Arguments:
        value, low, high: A − B with its 95 % interval.
        smallest: the smallest difference that matters, > 0.

    Returns:
        "supported", "not supported" or "undecided".
    """
    # SOLUTION-BEGIN
    there = low > 0 and value >= smallest
    excluded = high < smallest
    if there == excluded:
        return "undecided"
    return "supported" if there else "not supported"
    # SOLUTION-END

# %% [markdown]
# **A tiny example.** With `smallest` 0.05: 0.10 [0.02, 0.20] is supported, 0.01 [−0.02, 0.04] is not supported, and
# 0.10 [−0.05, 0.30] is undecided: that interval holds 0, and it holds 0.25 as well.

# %% metarim={"exercise": "verdict", "role": "example"}
with once_written(verdict):
    for numbers in ((0.10, 0.02, 0.20), (0.01, -0.02, 0.04), (0.10, -0.05, 0.30)):
        print(numbers, verdict(*numbers, 0.05))

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What it is good for
#
# Two clocks against one on the fresh seeds of the search, each by the setting that the search liked best. The rule is
# older than the numbers; not one of them may change it.

# %% metarim={"exercise": "verdict", "role": "next"}
says = solved_or_reference("verdict", verdict)

from metarim_lite.analysis.statistics import interquartile_mean as middle_of, stratified_bootstrap

two, one = (
    np.array(next(row for row in FRESH if row.method == method).area)
    for method in ("meta-rim", "rim")
)
found = stratified_bootstrap(
    lambda a, b: middle_of(a) - middle_of(b), two, one, rng=np.random.default_rng(0)
)
print(
    f"meta-rim − rim, six seeds each: {found.value:.2f} [{found.low:.2f}, {found.high:.2f}]: "
    f"{says(*found, 0.05)}"
)
