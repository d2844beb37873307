"""What is claimed of fast modules and slow attention, and by which rule a claim is supported, not supported, undecided.

Claims 1 to 12 are the papers', their authors' and their readers'; 13 is ours. All of it was written before the first
run: what is compared, in which condition, by which measure, how large a difference has to be to matter, the rule (in
words in analysis/verdicts.py), and that fewer than LEAST_RUNS runs decide nothing. `judge` lays it on the runs.

Many comparisons are made, each at 95 %: of thirty in which nothing differs, one or two will seem to. A claim of several
parts needs all of them, which makes it harder to support and not easier.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..analysis.comparison import FEW as LEAST_RUNS
from ..analysis.statistics import Estimate, interquartile_mean, probability_of_improvement, stratified_bootstrap
from ..analysis.verdicts import RULES, UNDECIDED, all_of, any_of, differs, explains, negative, no_less, verdict
from ..training.methods import METHODS
from .conditions import (
    CONDITIONS,
    FEWER,
    HELD_OUT,
    ON_THE_WAY,
    PARTS,
    POINTS,
    SEEDS,
    SETTINGS,
    TUNING_SEEDS,
    WORLDS,
    training_condition,
)

Line = dict[str, Any]
BESIDE = {"more": 0, "no less": 0, "differs": 0, "explains": 1, "gains more": 2}
"""How many settings each rule needs besides the two that are compared."""
DRAWS = 10_000  # resamplings for an interval
BOUND = 0.05  # the smallest difference that matters, where nothing else is said: 5 of 100 levels, 5 % of a training


@dataclass(frozen=True)
class Measure:
    """One number of a run; more is better."""

    about: str
    read: Callable[[Line], float]
    """Of what a run's line says of a condition."""
    worst: float = 0.0
    """What a run that diverged has where it has no number."""


def _early(line: Line) -> float:
    reached = line["frames_to"]["0.9"]
    return 0.0 if reached is None else max(0.0, 1 - reached / line["planned"])


MEASURES: dict[str, Measure] = {
    "area": Measure(
        "mean held-out success over the training (in shift, over the experience with the new level): the area under "
        "the curve, 0 after a divergence",
        lambda line: line["area"],
    ),
    "frames_to_90": Measure(
        "share of the training that is left when held-out success is first measured at 90 % or more; 0 if it never is",
        _early,
    ),
    "forgetting": Measure(
        "minus the mean forgetting of the tasks before the last (success after its own stage minus success at the end)",
        lambda line: -line["measures"]["forgetting"],
        worst=-1.0,
    ),
    "performance": Measure(
        "mean success on all tasks of the sequence at its end", lambda line: line["measures"]["average_performance"]
    ),
    "transfer": Measure("mean success on the harder levels, untrained on", lambda line: line["mean"]),
    "specialisation": Measure(
        "share of the entropy that the active set tells, mean over mission kind, phase of the episode and object "
        "ahead, less what it tells of permuted ones",
        lambda line: line["mean"],
    ),
}


@dataclass(frozen=True)
class Comparison:
    """A part of a claim that one number answers."""

    condition: str
    measure: str
    ours: str
    """A setting: A in the rule."""
    theirs: str | None
    """B. None: nothing, so that A itself is compared with 0."""
    rule: str = "more"
    beside: tuple[str, ...] = ()
    """C and D, where the rule has them."""
    smallest: float = BOUND

    @property
    def settings(self) -> tuple[str, ...]:
        return tuple(name for name in (self.ours, self.theirs, *self.beside) if name is not None)

    @property
    def in_words(self) -> str:
        """As in "rim − lstm"."""
        names = [self.ours, *([] if self.theirs is None else [self.theirs])]
        if self.rule == "gains more":
            names = [f"({name} − {base})" for name, base in zip(names, self.beside, strict=True)]
        return " − ".join(names)

    @property
    def rule_in_words(self) -> str:
        letters = ", ".join(f"{letter} {name}" for letter, name in zip("ABCD", self._lettered(), strict=False))
        return (
            f"{letters}. Number of a run: {MEASURES[self.measure].about}. Differences are between interquartile means "
            f"over runs, with 95 % intervals by a bootstrap inside each setting; fewer than {LEAST_RUNS} runs of a "
            f"setting decide nothing. {RULES[self.rule].format(smallest=self.smallest)}"
        )

    def _lettered(self) -> tuple[str, ...]:
        return (self.ours, self.theirs or "0", *self.beside)


@dataclass(frozen=True)
class Claim:
    """One sentence, and what has to hold for it."""

    number: int
    name: str
    sentence: str
    all_of: tuple[Comparison, ...]
    """In each condition, all of these."""
    any_of: tuple[Comparison, ...] = ()
    """And besides one of these, where there are any."""

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        return self.all_of + self.any_of

    @property
    def conditions(self) -> list[str]:
        return list(dict.fromkeys(c.condition for c in self.comparisons))


def _sooner(ours: str, theirs: str, conditions: Sequence[str], rule: str = "more") -> list[Comparison]:
    return [Comparison(condition, "area", ours, theirs, rule) for condition in conditions]


def _ladder(condition: str, measure: str) -> list[Comparison]:
    return [Comparison(condition, measure, "meta-rim", "rim"), Comparison(condition, measure, "rim", "lstm")]


def _explained(by: str, condition: str) -> Comparison:
    return Comparison(condition, "area", by, "meta-rim", "explains", ("rim",))


BOTH = ("mix", "local")
CLAIMS: tuple[Claim, ...] = (
    Claim(1, "fewer frames", "Meta-RIM needs fewer frames than a RIM with one clock, and a RIM fewer than an LSTM.",
          (*_ladder("mix", "area"), *_ladder("local", "frames_to_90"), *_ladder("shift", "area"),
           *_ladder("mix-long-memory", "area"), *_ladder("doors", "area"))),
    Claim(2, "roles", "With the roles reversed, attention fast and modules slow, agents learn worse.",
          tuple(_sooner("meta-rim", "meta-rim-reversed", BOTH))),
    Claim(3, "clock and rate", "A slow clock gives attention more than a low rate does, be the rate a tenth or the one "
          "that makes up for the number of updates.",
          (*_sooner("meta-rim", "rim-slow-lr", BOTH), *_sooner("meta-rim", "rim-slow-lr-matched", BOTH))),
    Claim(4, "attention learns", "Attention must learn at all: frozen as it was drawn, agents learn worse.",
          (*_sooner("rim", "rim-frozen-attention", BOTH), *_sooner("meta-rim", "rim-frozen-attention", BOTH))),
    Claim(5, "long span", "The long span alone explains what Meta-RIM gains over a RIM; the number of updates does "
          "not.",
          (*(_explained(by, on) for on in BOTH for by in ("rim-long-span", "rim-long-span-matched")),
           *_sooner("meta-rim", "rim-meta-updates", BOTH))),
    Claim(6, "modularity", "Modularity is needed: two clocks give a RIM more than they give an LSTM, and Meta-RIM is "
          "ahead of an LSTM on two clocks.",
          (*(Comparison(on, "area", "meta-rim", "meta-lstm", "gains more", ("rim", "lstm")) for on in BOTH),
           *_sooner("meta-rim", "meta-lstm", BOTH))),
    Claim(7, "k tuned", "With one k for all levels a RIM is behind an LSTM; with k tuned for the level it is ahead, "
          "also of an LSTM with as many parameters.",
          (*_sooner("lstm", "rim", BOTH), *_sooner("rim, k tuned", "lstm", BOTH),
           *_sooner("rim, k tuned", "lstm-matched", BOTH))),
    Claim(8, "forgetting", "Over a sequence of tasks Meta-RIM forgets less than a RIM with one clock and than an LSTM, "
          "and not because it learnt less.",
          (*(Comparison("sequence", "forgetting", "meta-rim", other) for other in ("rim", "lstm")),
           *(Comparison("sequence", "performance", "meta-rim", other, "no less") for other in ("rim", "lstm")))),
    Claim(9, "harder levels", "On harder levels, without training there, Meta-RIM is better than a RIM with one clock "
          "and than an LSTM.",
          tuple(Comparison("harder", "transfer", "meta-rim", other) for other in ("rim", "lstm"))),
    Claim(10, "specialisation", "Modules specialise, and more so on two clocks.",
          (Comparison("modules", "specialisation", "meta-rim", None),
           Comparison("modules", "specialisation", "meta-rim", "rim"))),
    Claim(11, "N and k", "Two thirds of six modules active are better than one, than a third and than all of them; and "
          "as wide in all, three or twelve modules make no difference.",
          (*(Comparison("mix", "area", "rim", f"rim, k = {k}") for k in (1, 2, 6)),
           *(Comparison("mix", "area", other, "rim", "no less") for other in ("rim, 2 of 3", "rim, 8 of 12")),
           *(Comparison("mix", "area", "rim", other, "no less") for other in ("rim, 2 of 3", "rim, 8 of 12")))),
    Claim(12, "ratio and span", "How seldom the slow clock ticks, or how long its spans are, decides what two clocks "
          "give.",
          (), tuple(Comparison("mix", "area", "meta-rim", other, "differs")
                    for other in ("meta-rim, 1 in 2", "meta-rim, 1 in 17", "meta-rim, span 20", "meta-rim, span 160"))),
    Claim(13, "which part", "Attention that learns as fast as modules does harm, and one of its parts alone does it: "
          "queries, keys, values or communication.",
          (Comparison("mix", "area", "attention slow", "attention fast"),),
          (*(Comparison("mix", "area", "attention slow", f"{part} fast") for part in PARTS),
           *(Comparison("mix", "area", f"{part} slow", "attention fast") for part in PARTS))),
)  # fmt: skip


def judge(rows: Sequence[Line]) -> list[Line]:
    """A line for each comparison of each claim, and for each device that has runs for it.

    claim, name, sentence   of the claim
    condition, measure      where, and by which number of a run
    comparison              as in "rim − lstm"
    effect, low, high       its difference with a 95 % interval; null while a setting has fewer than 2 runs
    gain                    with the rule "explains", [value, low, high] of the gain that is to be explained
    better                  probability that a run of A has more than one of B: [value, low, high]
    seeds                   runs of the setting that has the fewest
    runs                    of each setting
    frames                  of training, of each run
    device                  on which the runs were made; null: there is none yet
    verdict                 of this comparison, with the reason where there are too few runs
    claim_verdict           of the claim in this condition, on this device
    rule                    in words
    command                 that makes the runs, or several with && between them, where not all have the same seeds

    Args:
        rows: lines of results: condition, setting, seed, device, planned and what was measured. Those of tuning seeds
            and of runs of another length than the condition's are left out.
    """
    found = []
    for claim in CLAIMS:
        for condition in claim.conditions:
            usable = _usable(rows, condition)
            needed = {name for c in claim.comparisons if c.condition == condition for name in c.settings}
            devices = list(dict.fromkeys(row["device"] for row in usable if row["setting"] in needed))
            for device in devices or [None]:
                of_device = [row for row in usable if row["device"] == device]
                parts = [[_line(claim, c, of_device, device) for c in group if c.condition == condition]
                         for group in (claim.all_of, claim.any_of)]  # fmt: skip
                verdicts = [[_plain(line) for line in group] for group in parts]
                together = all_of(verdicts[0] + ([any_of(verdicts[1])] if verdicts[1] else []))
                found += [line | {"claim_verdict": together} for group in parts for line in group]
    return found


def _usable(rows: Sequence[Line], condition: str) -> list[Line]:
    runs = training_condition(condition)
    planned = CONDITIONS[runs].frames
    return [
        row
        for row in rows
        if row["condition"] == runs and row["planned"] == planned and row["seed"] not in TUNING_SEEDS
    ]


def _plain(line: Line) -> str:
    return line["verdict"].split(":")[0]


def _line(claim: Claim, comparison: Comparison, rows: Sequence[Line], device: str | None) -> Line:
    groups = {name: _numbers(comparison, name, rows) for name in comparison.settings}
    counts = {name: len(group) for name, group in groups.items()}
    asked: dict[tuple[int, ...], list[str]] = {}  # seeds -> settings that have these; the planned ones where none ran
    for name in groups:
        seeds = tuple(sorted({row["seed"] for row in rows if row["setting"] == name})) or _seeds(claim, comparison)
        asked.setdefault(seeds, []).append(name)
    line = {"claim": claim.number, "name": claim.name, "sentence": claim.sentence}
    line |= {"condition": comparison.condition, "measure": comparison.measure, "comparison": comparison.in_words}
    line |= {"effect": None, "low": None, "high": None, **_judged(comparison, groups)}
    line |= {"seeds": min(counts.values()), "runs": counts}
    line |= {"frames": CONDITIONS[training_condition(comparison.condition)].frames}
    return line | {
        "device": device,
        "rule": comparison.rule_in_words,
        "command": " && ".join(command(comparison.condition, names, seeds, device) for seeds, names in asked.items()),
    }


def _judged(comparison: Comparison, groups: dict[str, np.ndarray]) -> Line:
    """Effect and verdict, as far as there are runs."""
    fewest = min(map(len, groups.values()))
    if fewest < 2:
        return {"verdict": f"{UNDECIDED}: " + ("no runs yet" if not any(map(len, groups.values())) else "too few runs")}
    ordered = [groups[name] for name in comparison.settings]
    effect, verdict_of_it, besides = _effect(comparison, ordered)
    if comparison.theirs is not None:
        better = probability_of_improvement([ordered[0]], [ordered[1]], rng=np.random.default_rng(0), draws=DRAWS)
        besides |= {"better": list(better)}
    if fewest < LEAST_RUNS:
        verdict_of_it = f"{UNDECIDED}: {fewest} runs of {LEAST_RUNS}"
    return {"effect": effect.value, "low": effect.low, "high": effect.high, **besides, "verdict": verdict_of_it}


def _effect(comparison: Comparison, groups: Sequence[np.ndarray]) -> tuple[Estimate, str, Line]:
    smallest = comparison.smallest
    if comparison.theirs is None:
        effect = estimate(groups[:1], (1,))
        return effect, verdict(effect, smallest), {}
    if comparison.rule == "gains more":  # groups are A, B, C, D
        effect = estimate(groups, (1, -1, -1, 1))
        return effect, verdict(effect, smallest), {}
    effect = estimate(groups[:2], (1, -1))
    if comparison.rule == "explains":
        gain = estimate(groups[1:], (1, -1))
        return effect, explains(gain, negative(effect), smallest), {"gain": list(gain)}
    rule = {"more": verdict, "no less": no_less, "differs": differs}[comparison.rule]
    return effect, rule(effect, smallest), {}


def estimate(groups: Sequence[np.ndarray], signs: Sequence[int]) -> Estimate:
    """A sum of interquartile means with these signs, with its interval. The same dice each time."""

    def total(*drawn: np.ndarray) -> np.ndarray:
        return np.sum([sign * interquartile_mean(group) for sign, group in zip(signs, drawn, strict=True)], axis=0)

    return stratified_bootstrap(total, *groups, rng=np.random.default_rng(0), draws=DRAWS)


def _numbers(comparison: Comparison, name: str, rows: Sequence[Line]) -> np.ndarray:
    """The measure of every run of a setting [runs]."""
    measure, trained = MEASURES[comparison.measure], training_condition(comparison.condition) == comparison.condition
    numbers = []
    for row in (row for row in rows if row["setting"] == name):
        line = row if trained else row.get(comparison.condition)
        try:
            numbers.append(measure.read(line))
        except (KeyError, TypeError):  # the line has no such number
            if "diverged" in row:
                numbers.append(measure.worst)
    return np.array(numbers, dtype=np.float64)


def _seeds(claim: Claim, comparison: Comparison) -> tuple[int, ...]:
    return SEEDS if claim.number <= 6 and comparison.condition in BOTH else FEWER


def seeds_of(condition: str, name: str) -> tuple[int, ...]:
    """The seeds with which a setting is run in a condition that trains; none where no claim needs it."""
    asked = [
        _seeds(claim, c)
        for claim in CLAIMS
        for c in claim.comparisons
        if training_condition(c.condition) == condition and name in c.settings
    ]
    return max(asked, key=len, default=())


def command(condition: str, settings: Sequence[str], seeds: Sequence[int], device: str | None) -> str:
    """The command that makes these runs, on any device where none has made them yet."""
    names, numbers = " ".join(f"'{name}'" if " " in name else name for name in settings), " ".join(map(str, seeds))
    on = f" --device {device}" if device else ""
    return f"metarim study meta --conditions {condition} --methods {names} --seeds {numbers}{on}"


def rules_digest() -> str:
    """Of everything that decides what a verdict will be, but the numbers: it changes when any of it does."""
    words = [
        f"{claim.number} {claim.sentence} {kind} {c.condition} {c.in_words} {c.rule_in_words}"
        for claim in CLAIMS
        for kind, group in (("all", claim.all_of), ("any", claim.any_of))
        for c in group
    ]
    words += [f"{name} {c.levels} {c.frames} {c.kind} {c.of} {c.changes}" for name, c in CONDITIONS.items()]
    words += [f"{name} {s.method} {s.changes} {s.fixed_rates}" for name, s in SETTINGS.items() if name not in METHODS]
    words += [f"{SEEDS} {FEWER} {TUNING_SEEDS} {LEAST_RUNS} {WORLDS} {POINTS} {HELD_OUT} {ON_THE_WAY}"]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]
