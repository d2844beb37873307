"""Lesson 06, fast and slow: who moves at a tick. (6.4 to 6.6: lesson6_adaptation.py.) θ is one row of P numbers here, and a
mask says which of them are on a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ...training.timescales import Clock, TimeScales, find_groups
from ..declaring import exercise

exercise_6 = partial(exercise, lesson="06_fast_and_slow")

FAST, SLOW = 1, 2
NAMES = (
    "encoder.embed", "modules.W_in", "modules.W_h", "modules.b", "attention.W_q", "attention.W_e", "attention.W_v",
    "attention.C_qkv", "attention.C_out", "heads.policy", "heads.value",
)  # fmt: skip
CLOCKS = (
    (("modules", "encoder", "heads"), ("attention",)),
    (("modules", "encoder", "heads"), ("attention.C_",)),
    (("attention", "encoder", "heads"), ("modules",)),
    (("modules", "attention.C_"), ("attention", "heads")),
    (("modules.W_in", "heads"), ("modules", "attention.W_q")),
)


def _names(dice, s):
    return [NAMES[i] for i in sorted(dice.order(len(NAMES))[: s["P"]].tolist())]


@exercise_6(
    "6.1", "Two clocks", difficulty=2, importance=5, minutes=10, points=2, returns="clock", needs="lesson 04",
    sizes=tuple({"P": len(NAMES), "i": i} for i in range(5)),
    draws={"names": _names, "fast": lambda dice, s: list(CLOCKS[s["i"]][0]), "slow": lambda dice, s: list(CLOCKS[s["i"]][1])},
    formula=r"""Every parameter is on one clock, or on none. Names are "group.name"; an entry of `fast` or `slow` is a whole group,
"attention", or a part of one, "attention.C_": those of its parameters whose names *begin* so. A part goes before its group.

$$\text{names}\,[P] \to \text{clock}\,[P]$$

The clock is 1 for fast, 2 for slow, 0 for never updated.""",
    hints=(
        "Two passes: first the entries with a dot, then those without, for what is left.",
        "`name.startswith(part)` for a part; `name.split(\".\")[0] == group` for a group.",
        "What no entry names stays 0: frozen. It does not fall to the slow clock.",
    ),
)  # fmt: skip
def split_parameters(names: list, fast: list, slow: list) -> Int[Tensor, "P"]:
    """By `find_groups`, which the trainer's clocks are made with."""
    parameters = [(name, nn.Parameter(torch.zeros(1))) for name in names]  # of an encoder's layers some are called alike
    groups: dict[str, list[nn.Parameter]] = {name.split(".")[0]: [] for name in NAMES}
    for name, p in parameters:
        groups[name.split(".")[0]].append(p)
    agent = SimpleNamespace(named_parameters=lambda: parameters, parameter_groups=lambda: groups)
    frozen = tuple(g for g in groups if g not in (*fast, *slow))
    found = find_groups(agent, TimeScales(fast=tuple(fast), slow=tuple(slow), frozen=frozen))
    clock = {id(p): FAST if g in fast else SLOW if g in slow else 0 for g, ps in found.items() for p in ps}
    return torch.tensor([clock[id(p)] for _, p in parameters])


def _by_rule(names: Sequence[str], fast: Sequence[str], slow: Sequence[str], rest: int = 0) -> Tensor:
    clock = []
    for name in names:
        entries = [e for e in (*fast, *slow) if name.startswith(e)]
        best = max(entries, key=len, default=None)
        clock.append(rest if best is None else FAST if best in fast else SLOW)
    return torch.tensor(clock)


@split_parameters.mistake("you put on the slow clock whatever is not fast; what no entry names is never updated, 0.")
def rest_is_slow(names, fast, slow):
    return _by_rule(names, fast, slow, rest=SLOW)


@split_parameters.mistake("you put on the fast clock whatever is not slow; what no entry names is never updated, 0.")
def rest_is_fast(names, fast, slow):
    return _by_rule(names, fast, slow, rest=FAST)


@split_parameters.mistake("you ignore parts such as \"attention.C_\"; they take their parameters out of the whole group.")
def no_parts(names, fast, slow):
    return _by_rule(names, [e for e in fast if "." not in e], [e for e in slow if "." not in e])


@split_parameters.mistake("a part such as \"attention.C_\" takes its whole group along; it names those that begin so.")
def parts_as_groups(names, fast, slow):
    return _by_rule(names, [e.split(".")[0] for e in fast], [e.split(".")[0] for e in slow])


@split_parameters.mistake("you have the two clocks the wrong way round: 1 is fast, 2 is slow.")
def clocks_exchanged(names, fast, slow):
    return _by_rule(names, slow, fast)


def _moments(inputs, dice):
    return inputs | {"v": inputs["v"].square() + 0.1, "is_fast": inputs["is_fast"] ^ (torch.arange(len(inputs["v"])) == 0)}


@exercise_6(
    "6.2", "A fast update", difficulty=2, importance=4, minutes=15, points=2, returns=("new_theta", "new_m", "new_v"), needs="6.1; Adam",
    sizes=({"P": 9}, {"P": 8}, {"P": 7}), prepare=_moments, tolerance=(1e-4, 1e-6),
    draws={"step": lambda dice, s: dice.whole(1, 4), "lr": lambda dice, s: dice.uniform(0.01, 0.1)},
    formula=r"""One step of Adam for the fast parameters alone. `step` counts this update, from 1 on; β₁ = 0.9, β₂ = 0.999, ε = 1e-5:

$$m' = \beta_1 m + (1-\beta_1) g$$

$$v' = \beta_2 v + (1-\beta_2) g^2$$

$$\theta' = \theta - \text{lr}\,\frac{m'/(1-\beta_1^{\text{step}})}{\sqrt{v'/(1-\beta_2^{\text{step}})} + \varepsilon}$$

Everything else stays bit for bit: θ, and the optimizer's m and v, too.""",
    hints=(
        "Compute the update for all P, then choose with `torch.where(is_fast, new, old)`.",
        "Choose three times: a clock that does not tick keeps its momentum as well.",
        "A gradient of zero is not the same as no update: m and v would still decay, and θ would follow m.",
    ),
)  # fmt: skip
def fast_update(
    theta: Float[Tensor, "P"], gradient: Float[Tensor, "P"], m: Float[Tensor, "P"], v: Float[Tensor, "P"],
    is_fast: Bool[Tensor, "P"], step: int, lr: float,
) -> tuple[Float[Tensor, "P"], Float[Tensor, "P"], Float[Tensor, "P"]]:  # fmt: skip
    """By torch's own Adam, as the package's clocks use it, on the fast parameters."""
    fast = nn.Parameter(theta[is_fast].clone())
    optimizer = torch.optim.Adam([fast], lr, eps=1e-5)
    memory = {"step": torch.tensor(step - 1.0), "exp_avg": m[is_fast].clone(), "exp_avg_sq": v[is_fast].clone()}
    optimizer.state[fast] = memory
    fast.grad = gradient[is_fast].clone()
    optimizer.step()
    moved = (fast.detach(), memory["exp_avg"], memory["exp_avg_sq"])
    return tuple(old.masked_scatter(is_fast, new) for old, new in zip((theta, m, v), moved, strict=True))


def _adam(theta, gradient, m, v, step, lr, corrected=True):
    m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient.square()
    first, second = (1 - 0.9**step, 1 - 0.999**step) if corrected else (1, 1)
    return theta - lr * (m / first) / ((v / second).sqrt() + 1e-5), m, v


@fast_update.mistake("you give the slow parameters a gradient of 0; Adam still moves them by their momentum. Leave them out of the update.")
def gradient_of_zero(theta, gradient, m, v, is_fast, step, lr):
    return _adam(theta, gradient * is_fast, m, v, step, lr)


@fast_update.mistake("you update all parameters; those of the slow clock must stay bit for bit.")
def all_move(theta, gradient, m, v, is_fast, step, lr):
    return _adam(theta, gradient, m, v, step, lr)


@fast_update.mistake("the slow θ stays, but the optimizer's m and v of the slow clock move; they must stay, too.")
def memory_moves(theta, gradient, m, v, is_fast, step, lr):
    new, m, v = _adam(theta, gradient, m, v, step, lr)
    return torch.where(is_fast, new, theta), m, v


@fast_update.mistake("m and v are not divided by 1 − β^step before the step: early updates come out too small or too large.")
def not_corrected(theta, gradient, m, v, is_fast, step, lr):
    new = _adam(theta, gradient, m, v, step, lr, corrected=False)
    return tuple(torch.where(is_fast, a, b) for a, b in zip(new, (theta, m, v), strict=True))


@fast_update.mistake("your θ descends the plain gradient; Adam divides the mean gradient by its size.")
def plain_descent(theta, gradient, m, v, is_fast, step, lr):
    _, m, v = fast_update(theta, gradient, m, v, is_fast, step, lr)
    return torch.where(is_fast, theta - lr * gradient, theta), m, v


@exercise_6(
    "6.3", "A slow update", difficulty=3, importance=5, minutes=20, points=3, returns="new_theta", needs="6.2",
    sizes=({"E": 9, "P": 7}, {"E": 8, "P": 6}, {"E": 10, "P": 5}),
    draws={
        "is_slow": lambda dice, s: (dice.order(s["P"]) < s["P"] // 2),
        "fresh": lambda dice, s: dice.order(s["E"]) < s["E"] // 2,
        "span": lambda dice, s: torch.where(dice.order(s["E"]) % 2 == 0, 80, 20),
        "slow_span": lambda dice, s: 80,
        "max_norm": lambda dice, s: dice.uniform(0.1, 0.2),
        "beta": lambda dice, s: dice.uniform(0.1, 0.5),
    },
    prepare=lambda inputs, dice: inputs
    | {"fresh": inputs["fresh"].index_fill(0, torch.tensor(0), True).index_fill(0, torch.tensor(1), True).index_fill(0, torch.tensor(2), False),
       "span": inputs["span"].index_fill(0, torch.tensor([0, 2]), 80).index_fill(0, torch.tensor(1), 20)},
    formula=r"""E pieces of experience, each with a gradient of its own. The slow update uses only what is **fresh** (played with the
adapted modules) *and* of the **long span**: the mean of those gradients, its **slow** entries alone, scaled down to the norm
`max_norm` if their own norm is larger. Then plain descent with the rate β.

$$\text{gradients}\,[E,P] \to \theta'\,[P]$$""",
    hints=(
        "`use = fresh & (span == slow_span)`; `gradients[use].mean(0)`.",
        "Take out the slow entries *before* you measure the norm: gradients of the other clock must not shrink your step.",
        "`scale = min(1, max_norm / norm)`.",
    ),
)  # fmt: skip
def slow_update(
    theta: Float[Tensor, "P"], gradients: Float[Tensor, "E P"], is_slow: Bool[Tensor, "P"], fresh: Bool[Tensor, "E"],
    span: Int[Tensor, "E"], slow_span: int, max_norm: float, beta: float,
) -> Float[Tensor, "P"]:  # fmt: skip
    return _slow(theta, gradients[fresh & (span == slow_span)].mean(0), is_slow, max_norm, beta)


class _Descent(Clock):
    """The package's clock, but for Adam: plain descent."""

    make_optimizer = staticmethod(torch.optim.SGD)


def _slow(theta, gradient, is_slow, max_norm, beta):
    """By the package's clock: it clips by the norm of what it moves, and leaves all else alone."""
    fast, slow = nn.Parameter(theta[~is_slow].clone()), nn.Parameter(theta[is_slow].clone())
    scales = TimeScales(fast=("encoder", "modules", "heads"), slow=("attention",), slow_lr=beta)
    clock = _Descent({"encoder": [], "modules": [fast], "attention": [slow], "heads": []}, scales, "slow")
    clock.descend((slow * gradient[is_slow]).sum(), max_norm)
    return theta.masked_scatter(is_slow, slow.detach())


@slow_update.mistake("you use stale experience, too: what was played before the modules adapted.")
def stale(theta, gradients, is_slow, fresh, span, slow_span, max_norm, beta):
    return _slow(theta, gradients[span == slow_span].mean(0), is_slow, max_norm, beta)


@slow_update.mistake("you use short spans, too; the slow clock learns from the long ones.")
def short(theta, gradients, is_slow, fresh, span, slow_span, max_norm, beta):
    return _slow(theta, gradients[fresh].mean(0), is_slow, max_norm, beta)


@slow_update.mistake("the norm that you clip by is that of all parameters; gradients of the fast clock shrink your slow step.")
def clipped_with_all(theta, gradients, is_slow, fresh, span, slow_span, max_norm, beta):
    moved = slow_update(theta, gradients, torch.ones_like(is_slow), fresh, span, slow_span, max_norm, beta)
    return torch.where(is_slow, moved, theta)


@slow_update.mistake("you move the fast parameters, too; on a slow tick they stay bit for bit.")
def moves_all(theta, gradients, is_slow, fresh, span, slow_span, max_norm, beta):
    return slow_update(theta, gradients, torch.ones_like(is_slow), fresh, span, slow_span, max_norm, beta)


@slow_update.mistake("your gradient is not clipped to `max_norm`.")
def not_clipped(theta, gradients, is_slow, fresh, span, slow_span, max_norm, beta):
    return slow_update(theta, gradients, is_slow, fresh, span, slow_span, 1e9, beta)
