# %% [markdown] slideshow={"slide_type": "slide"}
# # 06 · Fast and slow: exercises
#
# For [lesson 06](../notebooks/06_fast_and_slow.ipynb). Write your code where it says
# `raise NotImplementedError`, run the cell, run the check. A check draws fresh inputs each time, compares with the
# package, and says what it thinks went wrong. *Run all* goes on below a check that fails: what comes next runs with
# your function once it passes, and with the package's until then.
#
# Six exercises, about 115 minutes; 6.5 is the hardest of the course. The letters stand on the
# [notation card](../notebooks/notation.ipynb).
#
# In 6.2 to 6.4 all parameters of a network are one row θ of P numbers, and a mask `[P]` says which of them are on a
# clock.

# %% slideshow={"slide_type": "skip"}
import torch

from metarim_lite import METHODS, Agent, AgentConfig
from metarim_lite.course import check, once_written, solved_or_reference

# %% tags=["exercise"] metarim={"exercise": "split_parameters", "role": "answer"}
def split_parameters(names, fast, slow):
    """On which clock each parameter is.

    Arguments:
        names: list of P names, such as "attention.C_out" or "modules.b".
        fast, slow: entries, each a group such as "attention", or a part of one, "attention.C_".

    Returns:
        clock: int64 [P]; 1 fast, 2 slow, 0 never updated.
    """
    # SOLUTION-BEGIN
    clock = torch.zeros(len(names), dtype=torch.int64)
    entries = [(entry, 1) for entry in fast] + [(entry, 2) for entry in slow]
    for parts in (False, True):  # whole groups first, then parts, which overrule their group
        for entry, number in entries:
            if ("." in entry) != parts:
                continue
            for i, name in enumerate(names):
                if name.startswith(entry) if parts else name.split(".")[0] == entry:
                    clock[i] = number
    return clock
    # SOLUTION-END

# %% [markdown]
# **A tiny example.** Communication, `"attention.C_"`, is slow; the rest of attention is on no clock: it stays as it
# was drawn.
#
# | name | clock |
# |---|---|
# | modules.W_in | 1 |
# | attention.W_q | 0 |
# | attention.C_out | 2 |

# %% metarim={"exercise": "split_parameters", "role": "example"}
with once_written(split_parameters):
    names = ["modules.W_in", "attention.W_q", "attention.C_out"]
    print(split_parameters(names, fast=["modules"], slow=["attention.C_"]).tolist())

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What it is good for
#
# Count what the methods of the course put on each clock of a real agent.

# %% metarim={"exercise": "split_parameters", "role": "next"}
split = solved_or_reference("split_parameters", split_parameters)

agent = Agent(AgentConfig(controller="rim"))
last = {id(p): name.rsplit(".", 1)[-1] for name, p in agent.named_parameters()}
named = [
    (f"{group}.{last[id(p)]}", p.numel())
    for group, ps in agent.parameter_groups().items()
    for p in ps
]
for method in ("rim", "meta-rim", "meta-rim-reversed", "rim-frozen-attention"):
    scales = METHODS[method].timescales
    clock = split([name for name, _ in named], list(scales.fast), list(scales.slow))
    counts = [
        sum(n for (_, n), c in zip(named, clock.tolist(), strict=True) if c == which)
        for which in (1, 2, 0)
    ]
    print(f"{method:22} fast {counts[0]:7,}   slow {counts[1]:7,}   never {counts[2]:7,}")

# %% tags=["exercise"] metarim={"exercise": "fast_update", "role": "answer"}
def fast_update(theta, gradient, m, v, is_fast, step, lr):
    """One step of Adam for the fast parameters; all else stays bit for bit.

    Arguments:
        theta, gradient: [P], parameters and their gradient.
        m, v: [P], Adam's running means of gradients and of their squares.
        is_fast: bool [P].
        step: number of this update, from 1 on.
        lr: the rate.

    Returns:
        new_theta, new_m, new_v: [P] each.
    """
    # SOLUTION-BEGIN
    moved_m = 0.9 * m + 0.1 * gradient
    moved_v = 0.999 * v + 0.001 * gradient**2
    mean, size = moved_m / (1 - 0.9**step), (moved_v / (1 - 0.999**step)).sqrt()
    moved = theta - lr * mean / (size + 1e-5)
    return tuple(
        torch.where(is_fast, new, old) for new, old in ((moved, theta), (moved_m, m), (moved_v, v))
    )
    # SOLUTION-END

# %% [markdown]
# **A tiny example.** Two parameters at 0 with gradient 1, m = v = 0, the first update at the rate 0.1. The fast one
# moves by the whole rate, to −0.1 (Adam divides the gradient by its own size); the slow one does not move, and
# neither do its m and v.

# %% metarim={"exercise": "fast_update", "role": "example"}
with once_written(fast_update):
    zero, one = torch.zeros(2), torch.ones(2)
    for name, value in zip(
        "θmv", fast_update(zero, one, zero, zero, torch.tensor([True, False]), 1, 0.1), strict=True
    ):
        print(name, [round(x, 4) for x in value.tolist()])

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Why m and v, too?
#
# "I set the slow gradient to zero" looks like the same thing. Let a parameter learn for ten updates, and then see
# what Adam does with five gradients of 0.

# %% metarim={"exercise": "fast_update", "role": "next"}
step_of = solved_or_reference("fast_update", fast_update)

theta, m, v = torch.zeros(1), torch.zeros(1), torch.zeros(1)
for step in range(1, 16):
    gradient = torch.ones(1) if step <= 10 else torch.zeros(1)
    theta, m, v = step_of(theta, gradient, m, v, torch.tensor([True]), step, 0.1)
    if step in (10, 11, 15):
        print(f"after update {step:2}: θ = {theta.item():.2f}")
print("A gradient of zero is no standstill: momentum carries on.")

# %% tags=["exercise"] metarim={"exercise": "slow_update", "role": "answer"}
def slow_update(theta, gradients, is_slow, fresh, span, slow_span, max_norm, beta):
    """One slow update from E pieces of experience.

    Arguments:
        theta: [P].
        gradients: [E, P], one for each piece.
        is_slow: bool [P].
        fresh: bool [E], played with the adapted modules.
        span: int64 [E], steps of each piece.
        slow_span: the long span.
        max_norm: largest norm of the gradient that moves the slow parameters.
        beta: β, the rate.

    Returns:
        new_theta: [P].
    """
    # SOLUTION-BEGIN
    gradient = gradients[fresh & (span == slow_span)].mean(0) * is_slow
    scale = min(1.0, max_norm / gradient.norm().item())
    return theta - beta * scale * gradient
    # SOLUTION-END

# %% [markdown]
# **A tiny example.** Three pieces, two parameters, the second one slow; β = 1, and a norm of at most 1. Only the
# first piece is fresh and long. Its slow entry is 4, scaled down to 1: θ goes from (0, 0) to (0, −1).

# %% metarim={"exercise": "slow_update", "role": "example"}
with once_written(slow_update):
    pieces = torch.tensor([[3.0, 4.0], [9.0, 9.0], [9.0, 9.0]])
    moved = slow_update(
        torch.zeros(2), pieces, torch.tensor([False, True]), torch.tensor([True, False, True]),
        torch.tensor([80, 80, 20]), 80, 1.0, 1.0,
    )  # fmt: skip
    print([round(x, 3) for x in moved.tolist()])

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What it is good for
#
# Public code has cleared the gradients of one group and clipped by the norm of *all*. Here is what that costs: the
# same slow gradient beside a fast one that grows.

# %% metarim={"exercise": "slow_update", "role": "next"}
slow_step = solved_or_reference("slow_update", slow_update)

for other in (0.0, 1.0, 10.0):
    piece, yes, length = torch.tensor([[other, 1.0]]), torch.tensor([True]), torch.tensor([80])
    right = slow_step(torch.zeros(2), piece, torch.tensor([False, True]), yes, length, 80, 0.5, 1.0)
    wrong = slow_step(torch.zeros(2), piece, torch.tensor([True, True]), yes, length, 80, 0.5, 1.0)
    print(
        f"fast gradient {other:4}: the slow parameter moves by {-right[1]:.3f}, clipped with all "
        f"by {-wrong[1]:.3f}"
    )

# %% tags=["exercise"] metarim={"exercise": "whose_rate", "role": "answer"}
def whose_rate(theta_A, gradients, alpha, beta):
    """The last line of the paper's algorithm, right and as printed.

    Arguments:
        theta_A: [P], attention.
        gradients: [I, P], of each task's loss by θ_A.
        alpha, beta: rates of the fast and of the slow loop.

    Returns:
        right: [P], where the right line ends.
        printed: [P], where the printed one ends.
        too_far: how many times as far the printed one goes.
    """
    # SOLUTION-BEGIN
    total = gradients.sum(0)
    return theta_A - beta * total, theta_A - alpha * total, alpha / beta
    # SOLUTION-END

# %% [markdown]
# **A tiny example.** Two tasks with gradients 1 and 2, α = 0.5, β = 0.1: the right line goes to −0.3, the printed one
# to −1.5, five times as far.

# %% metarim={"exercise": "whose_rate", "role": "example"}
with once_written(whose_rate):
    right, printed, too_far = whose_rate(torch.zeros(1), torch.tensor([[1.0], [2.0]]), 0.5, 0.1)
    print(f"right {right.item():.1f}, printed {printed.item():.1f}, {too_far:.0f} times as far")

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What it would do
#
# A loss (θ² / 2, one task) whose slow loop is meant to walk: α = 2.5, β = 0.1. Which of the two lines arrives?

# %% metarim={"exercise": "whose_rate", "role": "next"}
lines = solved_or_reference("whose_rate", whose_rate)

ends = {"right": torch.ones(1), "printed": torch.ones(1)}
for _ in range(20):
    ends["right"] = lines(ends["right"], ends["right"][None], 2.5, 0.1)[0]
    ends["printed"] = lines(ends["printed"], ends["printed"][None], 2.5, 0.1)[1]
print(f"after 20 updates: right {ends['right'].item():.2f}, printed {ends['printed'].item():,.0f}")
print("the minimum is at 0")

# %% tags=["exercise"] metarim={"exercise": "through_adaptation", "role": "answer"}
def through_adaptation(w, a, x, y, x_query, y_query, alpha):
    """The query's gradient by the slow vector, through an inner step of the fast one, and without.

    Arguments:
        w, a: [D], fast and slow; the model is f(x) = x (a ⊙ w).
        x, y: [K, D] and [K], the support.
        x_query, y_query: [Q, D] and [Q], the query.
        alpha: α, rate of the inner step.

    Returns:
        through: [D], dL_query(w'(a), a) / da.
        first_order: [D], the same with w' as a constant.
    """

    # SOLUTION-BEGIN
    def loss(w, a, x, y):
        return ((x @ (a * w) - y) ** 2).mean()

    w, a = w.clone().requires_grad_(), a.clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(w, a, x, y), w, create_graph=True)
    w_new = w - alpha * slope
    (through,) = torch.autograd.grad(loss(w_new, a, x_query, y_query), a)
    (first_order,) = torch.autograd.grad(loss(w_new.detach(), a, x_query, y_query), a)
    return through, first_order
    # SOLUTION-END

# %% [markdown]
# **A tiny example**, to be done by hand. D = 1, w = 0, a = 1, one example (x, y) = (1, 1) in support and query, α =
# 0.1. The inner step: ∇_w = 2(aw − 1)a = −2, so w′ = 0.2. The query's loss is (a w′ − 1)². With w′ as a constant its
# slope is 2(0.2 − 1)·0.2 = **−0.32**. But w′ = 0.2a here (∇_w = −2a at w = 0), so the loss is (0.2a² − 1)², with the
# slope 2(0.2 − 1)·0.4 = **−0.64**.

# %% metarim={"exercise": "through_adaptation", "role": "example"}
with once_written(through_adaptation):
    one = torch.ones(1)
    through, first_order = through_adaptation(0 * one, one, one[None], one, one[None], one, 0.1)
    print(f"through {through.item():.2f}, first order {first_order.item():.2f}")

# %% [markdown] tags=["solution-only"]
# **About this solution.** `torch.func.grad` of a function that makes the inner step itself gives the same; so does
# the closed form, since the model is linear in w. Finite differences of the whole, inner step included, are
# `through`; of the query's loss with w′ held fixed they are `first_order`.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What it is good for
#
# The angle between the two gradients, as the inner step grows. With α = 0 nothing adapts and they are the same. The longer
# the step, the more depends on where *a* sends it, which first order does not see.

# %% metarim={"exercise": "through_adaptation", "role": "next"}
gradients_of = solved_or_reference("through_adaptation", through_adaptation)

dice = torch.Generator().manual_seed(0)
w, a, t = (torch.randn(5, generator=dice) for _ in range(3))
x, x_query = torch.randn(40, 5, generator=dice), torch.randn(40, 5, generator=dice)
for alpha in (0.0, 0.05, 0.1, 0.2):
    through, first_order = gradients_of(w, a, x, x @ t, x_query, x_query @ t, alpha)
    cosine = torch.nn.functional.cosine_similarity(through, first_order, dim=0)
    print(f"α = {alpha:4}: cosine of the angle between the two {cosine:.2f}")

# %% tags=["exercise"] metarim={"exercise": "slow_or_low", "role": "answer"}
def slow_or_low(gradients, lr, every):
    """How far Adam moves parameters on a slow clock, and at a low rate.

    Arguments:
        gradients: [T, P].
        lr: the full rate.
        every: n, beat of the slow clock.

    Returns:
        slow_clock, low_rate: [P] each, |θ| at the end, from θ = 0.
    """
    # SOLUTION-BEGIN
    def distance(gradients, lr):
        theta = torch.nn.Parameter(torch.zeros_like(gradients[0]))
        adam = torch.optim.Adam([theta], lr=lr)
        for gradient in gradients:
            theta.grad = gradient.clone()
            adam.step()
        return theta.detach().abs()

    return distance(gradients[every - 1 :: every], lr), distance(gradients, lr / every)
    # SOLUTION-END

# %% [markdown]
# **A tiny example.** Six gradients of 1, the rate 0.1, n = 3. The slow clock makes 2 steps of 0.1, the low rate 6
# steps of 0.033: both end at 0.2. With gradients that always agree there is no difference.

# %% metarim={"exercise": "slow_or_low", "role": "example"}
with once_written(slow_or_low):
    slow_clock, low_rate = slow_or_low(torch.ones(6, 1), 0.1, 3)
    print(f"slow clock {slow_clock.item():.2f}, low rate {low_rate.item():.2f}")

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What it is good for
#
# Now gradients that do not agree: a new task begins after every five of them, and only the last gradient of a task,
# when the modules have adapted, always points the same way. The four before it point anywhere.

# %% metarim={"exercise": "slow_or_low", "role": "next"}
moved_by = solved_or_reference("slow_or_low", slow_or_low)

dice = torch.Generator().manual_seed(0)
confused = torch.randn(100, 200, generator=dice)  # [T, P]
confused[4::5] = 1.0
slow_clock, low_rate = moved_by(confused, 0.01, 5)
print(
    f"slow clock {slow_clock.mean():.2f}, low rate {low_rate.mean():.2f}, in the mean over 200 "
    "parameters"
)

# %% [markdown]
# Neither can go further than 0.2: the slow clock in 20 steps of 0.01, the low rate in 100 of 0.002. The slow clock
# gets there, since it looks only when the gradients agree. A clock can choose *when* to look. A rate cannot.
