"""Fast and slow in miniature: a world with two time scales, and a network whose parts are on clocks of the package.

The network is a RIM without memory. N modules look at D inputs; module n reads their mean, weighted by its attention,
and what it makes of that is one number:

    f(x) = Σ_n w_n Σ_d softmax(a_n)_d x_d        θ_M = w [N], what to do        θ_A = a [N, D], where to look

The world asks for y = Σ_d t_d x_d plus noise. Only R of the t_d are not 0. Tasks follow one another, each for as many
fast updates as there are between two slow ones, and with each new task something of t changes:

    "what"     which inputs matter stays for ever, their factors are new        (where to look is stationary)
    "where"    other inputs matter, the factors stay                            (what to do is stationary)
    "nothing"  there is one task

So the world is split as the Meta-RIM paper assumes that knowledge is split, in one of the two ways or in the other.
Everything here is ours. It is no evidence about RIMs in worlds; it shows what a slow clock can do, and when.

The table was made three times, always by RULE, always with seeds that nobody had looked at. First with a narrower grid,
seeds 31 to 38: the best points lay on its edge (middle scores in the world "what": .77 with a slow clock, .57 at a low
rate, .30 with one clock, .15 with frozen attention, .00 with reversed roles). Then with a wider grid, seeds 41 to 48:
.70 with a slow clock and .64 with a low rate, and the seeds of one way differed more than the two ways did. So at last
rates were chosen on 16 seeds in place of 4, and 32 others were run. That is the table which is shipped.

Seeds are rows of one batch: all of them learn at once, each from its own dice, and none knows of the others.

    >>> found = learn("slow clock", world="what", seeds=range(51, 83))
    >>> found.skill.shape, found.scores          # [seeds, tasks, ticks of a task], [seeds]
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import resources
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..analysis.statistics import Estimate, interquartile_mean, stratified_bootstrap
from ..analysis.verdicts import verdict
from ..config import bounded, check, from_dict
from ..errors import unknown
from ..machine import fixed_threads
from ..training.timescales import Clock, TimeScales, make_clocks

WORLDS = ("what", "where", "nothing")
REST = ("encoder", "modules", "heads")
TUNING_SEEDS, SEEDS = tuple(range(16)), tuple(range(51, 83))
SMALLEST = 0.1
DRAWS = 10_000
RULE = (
    "Number of a run: skill at the end of a task (1 - |f - t|² / |t|²: 1 is perfect, 0 is who always says 0), in the "
    "mean over all tasks. Rates of each way and world: the best of the grid in GRID, in the mean over seeds 0 to 15. "
    "Then, on seeds 51 to 82: a difference of interquartile means is there if its 95 % interval (bootstrap over seeds) "
    f"lies above 0 and it is at least {SMALLEST}; it is excluded if the interval lies below {SMALLEST}; else undecided."
)


@dataclass(frozen=True)
class Miniature:
    """Everything that decides a run, but its seed."""

    world: str = bounded("what", one_of=WORLDS)
    """What is new in a new task."""
    way: str = "slow clock"
    """One of WAYS: which part learns on which clock."""
    fast_lr: float = bounded(0.1, above=0)
    """α."""
    other_lr: float = bounded(0.2, above=0)
    """Rate of the part that the way treats otherwise: β on a slow clock, a low rate on the one clock."""
    updates: int = bounded(20, at_least=1)
    """Fast updates in a task, and between two slow ones."""
    early: int = bounded(0, at_least=0)
    """Ticks by which the slow clock is too early: 0, it ticks as a task is about to end; `updates`: as one begins."""
    tasks: int = bounded(100, at_least=1)
    inputs: int = bounded(6, at_least=1)
    """D."""
    matter: int = bounded(2, at_least=1)
    """R: inputs that matter."""
    modules: int = bounded(4, at_least=1)
    """N."""
    batch: int = bounded(16, at_least=1)
    """B: examples in an update."""
    noise: float = 0.3
    """Spread of what is added to y."""

    def __post_init__(self) -> None:
        check(self)
        if self.way not in WAYS:
            raise unknown("way", self.way, WAYS)

    @property
    def ahead(self) -> int:
        """Ticks by which the clocks are ahead of the world."""
        return self.updates if self.way == "slow clock, too early" else self.early

    def rate_of(self, part: str) -> float:
        """Of "modules" or "attention"."""
        other = {"one clock": None, "reversed roles": "modules"}.get(self.way, "attention")
        return self.other_lr if part == other else self.fast_lr

    @property
    def scales(self) -> TimeScales:
        """Its clocks."""
        return WAYS[self.way](self)


def _one(c: Miniature, **changes: Any) -> TimeScales:
    return TimeScales(fast_lr=c.fast_lr, **changes)


def _two(c: Miniature, slow: str = "attention", fast: str = "modules", every: int = 0) -> TimeScales:
    groups = ("encoder", fast, "heads")
    return TimeScales(groups, (slow,), fast_lr=c.fast_lr, slow_lr=c.other_lr, slow_every=every or c.updates)


WAYS = {
    "one clock": _one,
    "low rate": lambda c: _one(c, slower=(("attention", c.other_lr / c.fast_lr),)),
    "frozen attention": lambda c: TimeScales(REST, frozen=("attention",), fast_lr=c.fast_lr),
    "slow clock": _two,
    "reversed roles": lambda c: _two(c, slow="modules", fast="attention"),
    "slow clock, at any moment": lambda c: _two(c, every=max(1, c.updates - 1)),
    "slow clock, too early": _two,
}
"""The first five are `rim`, `rim-slow-lr`, `rim-frozen-attention`, `meta-rim` and `meta-rim-reversed` of METHODS, in
miniature. Of the last two, one clock ticks a tick sooner after each task, so that it comes by every moment of a task;
the other ticks just when a task has begun."""

FAST_RATES, SLOW_RATES, LOW_RATES = (0.05, 0.1, 0.2, 0.4), (0.1, 0.2, 0.4, 0.8), (0.003, 0.01, 0.03, 0.1)
GRID: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    way: (FAST_RATES, {"one clock": (1.0,), "frozen attention": (1.0,), "low rate": LOW_RATES}.get(way, SLOW_RATES))
    for way in WAYS
}
"""Rates that are tried for each way: of the fast clock, and of the part treated otherwise (where there is one)."""


class Stream(NamedTuple):
    """What all seeds will see, drawn before anybody learns: every way meets the same tasks and examples."""

    targets: Float[Tensor, "S tasks D"]
    x: Float[Tensor, "S ticks B D"]
    noise: Float[Tensor, "S ticks B"]


class Found(NamedTuple):
    """What came of some seeds."""

    skill: Float[np.ndarray, "S tasks ticks"]
    """Before each tick of a task, and (the last) at its end."""
    attention: Float[np.ndarray, "S N D"]
    """Where the modules look at the end."""
    targets: Float[np.ndarray, "S D"]
    """t of the last task."""

    @property
    def scores(self) -> Float[np.ndarray, "S"]:
        """Skill at the end of a task, in the mean over all tasks."""
        return self.skill[:, :, -1].mean(axis=1)


class Lookers(nn.Module):
    """S networks in miniature, side by side."""

    def __init__(self, w: Float[Tensor, "S N"], a: Float[Tensor, "S N D"]) -> None:
        super().__init__()
        self.w, self.a = nn.Parameter(w), nn.Parameter(a)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"encoder": [], "modules": [self.w], "attention": [self.a], "heads": []}

    def weights(self) -> Float[Tensor, "S D"]:
        """What stands before each x_d in f(x)."""
        return torch.einsum("sn,snd->sd", self.w, self.a.softmax(-1))


def learn(way: str | Miniature = "slow clock", *, seeds: Sequence[int] = SEEDS, **changes: Any) -> Found:
    """Let one network for each seed learn a stream of tasks.

    Args:
        way: one of WAYS; its rates are those that the shipped table found, unless `changes` says otherwise. Or
            everything, as a `Miniature`.
        changes: fields of `Miniature`.

    Raises:
        UserError: an unknown way or world, or a setting out of bounds.
    """
    c = replace(way, **changes) if isinstance(way, Miniature) else configured(way, **changes)
    return learn_all([c], seeds)[0]


@fixed_threads(1)  # as small as these networks are, several threads would only wait for each other
def learn_all(settings: Sequence[Miniature], seeds: Sequence[int]) -> list[Found]:
    """`learn` for settings that differ in their rates alone, side by side: as many rows as settings times seeds."""
    c, S = settings[0], len(seeds)
    drawn = [_draw(c, seed) for seed in seeds]
    stream, start = (
        [torch.cat([torch.stack(rows)] * len(settings)) for rows in zip(*half, strict=True)]
        for half in zip(*drawn, strict=True)
    )
    stream, agent = Stream(*stream), Lookers(*start)
    scales, ticks, skill = c.scales, c.updates + 1, []
    clocks = make_clocks(agent, scales, partial(_RowClock, settings=settings) if len(settings) > 1 else Clock)
    for tick in range(c.tasks * ticks):
        target, weights = stream.targets[:, tick // ticks], agent.weights()  # (rows, D) each
        skill.append(_skill(weights, target))
        y = torch.einsum("sbd,sd->sb", stream.x[:, tick], target) + stream.noise[:, tick]
        loss = (torch.einsum("sbd,sd->sb", stream.x[:, tick], weights) - y).square().mean(1).sum()
        clocks[scales.clock_of_tick(tick + c.ahead)].descend(loss, math.inf)  # unclipped: rows share nothing
        if tick % ticks == c.updates:
            skill.append(_skill(agent.weights(), target))
    seen = torch.stack(skill, 1).unflatten(1, (c.tasks, ticks + 1))
    parts = (part.split(S) for part in (seen, agent.a.detach().softmax(-1), target))
    return [Found(*(part.numpy() for part in one)) for one in zip(*parts, strict=True)]


class _RowClock(Clock):
    """A clock that moves the rows of each setting at that setting's own rates."""

    def __init__(self, by_group: Any, scales: TimeScales, name: str, settings: Sequence[Miniature]) -> None:
        super().__init__(by_group, scales, name)
        for group in self.optimizer.param_groups:
            rows = len(group["params"][0]) // len(settings)
            kind = "modules" if group["params"][0].ndim == 2 else "attention"
            factors = torch.tensor([c.rate_of(kind) / group["lr"] for c in settings]).repeat_interleave(rows)
            group["factors"] = factors.reshape(-1, *[1] * (group["params"][0].ndim - 1))
        self.optimizer.register_step_pre_hook(self._remember)
        self.optimizer.register_step_post_hook(self._scale)

    def _remember(self, *_: Any) -> None:
        self.before = [group["params"][0].detach().clone() for group in self.optimizer.param_groups]

    @torch.no_grad()
    def _scale(self, *_: Any) -> None:
        for group, before in zip(self.optimizer.param_groups, self.before, strict=True):
            group["params"][0].copy_(before + group["factors"] * (group["params"][0] - before))


def configured(way: str, world: str = "what", **changes: Any) -> Miniature:
    """A way in a world, at the rates that were found for the two, but for the changes."""
    rates = next(
        ({"fast_lr": r.fast_lr, "other_lr": r.other_lr} for r in shipped() if (r.way, r.world) == (way, world)), {}
    )
    return Miniature(world, way, **{**rates, **changes})


def _draw(c: Miniature, seed: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, Tensor]]:
    """What one seed sees, as in `Stream`, and (w, a) as they begin."""
    dice = torch.Generator().manual_seed(seed)
    a = 0.1 * torch.randn(c.modules, c.inputs, generator=dice)
    w = 0.1 * torch.randn(c.modules, generator=dice)

    def places() -> Tensor:
        return torch.randperm(c.inputs, generator=dice)[: c.matter]

    def factors() -> Tensor:  # 0.5 to 1.5 in size
        return torch.randn(c.matter, generator=dice).sign() * (0.5 + torch.rand(c.matter, generator=dice))

    where, what, targets = places(), factors(), []
    for _ in range(c.tasks):
        where = places() if c.world == "where" else where
        what = factors() if c.world == "what" else what
        targets.append(torch.zeros(c.inputs).index_put((where,), what))
    ticks = c.tasks * (c.updates + 1)
    x = torch.randn(ticks, c.batch, c.inputs, generator=dice)
    noise = c.noise * torch.randn(ticks, c.batch, generator=dice)
    return (torch.stack(targets), x, noise), (w, a)


@torch.no_grad()
def _skill(weights: Float[Tensor, "S D"], target: Float[Tensor, "S D"]) -> Float[Tensor, "S"]:
    """1 - E (f - t·x)² / E (t·x)²: inputs are independent, so that no examples are needed."""
    return 1 - (weights - target).square().sum(1) / target.square().sum(1)


@dataclass(frozen=True)
class Row:
    """One way in one world."""

    world: str
    way: str
    fast_lr: float
    other_lr: float
    tried: tuple[tuple[float, float, float], ...]
    """(α, other rate, mean score of the tuning seeds) of every point of the grid."""
    scores: tuple[float, ...]
    """Of SEEDS, in order."""
    curve: tuple[tuple[float, ...], ...]
    """For each of SEEDS: skill at the end of a task, in the mean over tasks 1 to 10, 11 to 20, …"""


def _rounded(numbers: Any) -> Any:
    """Nested lists as nested tuples, to four digits: what is shipped."""
    return round(numbers, 4) if isinstance(numbers, float) else tuple(map(_rounded, numbers))


def make_table() -> list[Row]:
    """Search the rates on TUNING_SEEDS, then run SEEDS once: about two minutes."""
    rows = []
    for world, way in [("what", way) for way in WAYS] + [("where", way) for way in list(WAYS)[:5]]:
        settings = [Miniature(world, way, *rates) for rates in product(*GRID[way])]
        searched = [float(found.scores.mean()) for found in learn_all(settings, TUNING_SEEDS)]
        tried = [(c.fast_lr, c.other_lr, score) for c, score in zip(settings, searched, strict=True)]
        alpha, other, _ = max(tried, key=lambda point: point[2])
        found = learn(Miniature(world, way, alpha, other), seeds=SEEDS)
        tens = found.skill[:, :, -1].reshape(len(SEEDS), -1, 10).mean(axis=2)  # (S, tasks) -> (S, tasks / 10)
        numbers = (tried, found.scores.tolist(), tens.tolist())
        rows.append(Row(world, way, alpha, other, *(_rounded(part) for part in numbers)))
        print(f"{world:6} {way:26} {alpha:5} {other:5}  {middle(found.scores)}", flush=True)
    return rows


def shipped() -> list[Row]:
    """The table that comes with the package; `python -m metarim_lite.experiments.miniature` makes it again."""
    file = resources.files("metarim_lite.data").joinpath("miniature.json")
    return (
        [from_dict(Row, row) for row in json.loads(file.read_text(encoding="utf-8"))["rows"]] if file.is_file() else []
    )


def middle(scores: Sequence[float]) -> Estimate:
    """Interquartile mean over seeds, with a 95 % interval."""
    return stratified_bootstrap(interquartile_mean, np.array(scores), rng=np.random.default_rng(0), draws=DRAWS)


def difference(ours: Sequence[float], theirs: Sequence[float], smallest: float = SMALLEST) -> tuple[Estimate, str]:
    """Ours - theirs, interquartile means over seeds, with a 95 % interval; and the verdict by RULE."""

    def minus(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return interquartile_mean(x) - interquartile_mean(y)

    found = stratified_bootstrap(minus, np.array(ours), np.array(theirs), rng=np.random.default_rng(0), draws=DRAWS)
    return found, verdict(found, smallest)


if __name__ == "__main__":
    from pathlib import Path

    from ..files import write_json

    path = Path(__file__).parents[1] / "data" / "miniature.json"
    about = {"command": "python -m metarim_lite.experiments.miniature", "rule": RULE, "seeds": SEEDS}
    write_json(path, about | {"rows": [asdict(row) for row in make_table()]})
