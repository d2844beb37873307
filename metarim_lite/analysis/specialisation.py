"""Do modules specialise? What the active set tells of a label, in bits, beside what it would tell by chance.

Every step has an active set (which k of N modules were active) and labels: the kind of mission, the phase of the
episode, the object ahead. If modules specialise, knowing the set tells something of the label: their mutual
information I(S; L) = H(L) - H(L | S) is above 0. Counted from n steps it always is, since few steps fall into each set
by chance; so the same is counted with labels shuffled among the steps, which breaks every tie but keeps how often each
set and each label come up. That is the null.

Shuffling is fair only where steps are drawn independently of each other: neighbours in one episode are much alike, and
a thousand of them are worth as much as a few. `one_step_each` draws one from each episode.

What it cannot say: that a module does a job. Sets may also differ because the views do.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from ..errors import UserError

SHUFFLES = 200


class Told(NamedTuple):
    """What the active set tells of a label. All but `chance` are 0 where the label never changes."""

    bits: float
    """I(S; L), as counted."""
    null: float
    """The same with shuffled labels, in the mean."""
    entropy: float
    """H(L): the most that can be told."""
    excess: float
    """(bits - null) / entropy: 0 is chance, 1 means that the set gives the label away."""
    chance: float
    """Share of shufflings that tell at least as much, the sequence as it is counted among them."""


def told(
    active: Bool[np.ndarray, "n N"], label: Int[np.ndarray, "n"], *, rng: np.random.Generator, shuffles: int = SHUFFLES
) -> Told:
    """What active sets tell of a label, beside the null.

    Args:
        active: which modules were active at each of n steps, drawn independently of each other.
        label: of the same steps; any whole numbers.
        rng: the dice of the shufflings.

    Raises:
        UserError: no steps, or not one label for each.
    """
    active, label = np.asarray(active, bool), np.asarray(label)
    if active.ndim != 2 or label.shape != active.shape[:1] or not len(label):
        raise UserError(f"need a set and a label for each step, got shapes {active.shape} and {label.shape}")
    sets, labels = _numbered(active), _numbered(label)
    bits, most = mutual_information(sets, labels), entropy(labels)
    nulls = np.array([mutual_information(sets, rng.permutation(labels)) for _ in range(shuffles)])
    excess = (bits - nulls.mean()) / most if most > 0 else 0.0
    chance = (1 + (nulls >= bits - 1e-12).sum()) / (1 + shuffles)
    return Told(bits, float(nulls.mean()), most, float(excess), float(chance))


def mutual_information(x: Int[np.ndarray, "n"], y: Int[np.ndarray, "n"]) -> float:
    """I(X; Y) in bits, of pairs as they are counted (plug-in): Σ p(x, y) log2 (p(x, y) / (p(x) p(y))).

    Args:
        x, y: numbers from 0 on.
    """
    counts = np.zeros((x.max() + 1, y.max() + 1))
    np.add.at(counts, (x, y), 1)
    p = counts / counts.sum()
    apart = p.sum(axis=1, keepdims=True) * p.sum(
        axis=0, keepdims=True
    )  # as if x and y had nothing to do with each other
    there = p > 0
    return float(max(0.0, (p[there] * np.log2(p[there] / apart[there])).sum()))


def entropy(y: Int[np.ndarray, "n"]) -> float:
    """H(Y) in bits, as counted."""
    p = np.bincount(y) / len(y)
    return float(max(0.0, -(p[p > 0] * np.log2(p[p > 0])).sum()))


def one_step_each(
    playing: Bool[np.ndarray, "T n"], *, rng: np.random.Generator
) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
    """One step of each of n episodes, every step of an episode being as likely: (step, episode) [n].

    Args:
        playing: whether each step belongs to its episode, which begins at step 0.
    """
    lengths = playing.sum(axis=0)
    return np.floor(rng.random(len(lengths)) * lengths).astype(np.int64), np.arange(len(lengths))


def phase(step: Int[np.ndarray, "n"], length: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """0, 1 or 2: the first, second and last third of an episode of this length."""
    return np.minimum(2, 3 * step // length)


def _numbered(values: np.ndarray) -> Int[np.ndarray, "n"]:
    """Equal values, or rows, get equal numbers, from 0 on."""
    return np.unique(values, axis=0, return_inverse=True)[1].reshape(-1)
