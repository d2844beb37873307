"""Lesson 06, what the slow update of the paper's algorithm is, and how far a slow clock goes beside a low rate."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .lesson6 import exercise_6


@exercise_6(
    "6.4", "Whose rate?", difficulty=2, importance=4, minutes=15, points=2, returns=("right", "printed", "too_far"), needs="6.3",
    sizes=({"I": 4}, {"I": 3}, {"I": 5}),
    draws={"alpha": lambda dice, s: dice.uniform(0.05, 0.1), "beta": lambda dice, s: dice.uniform(0.005, 0.02)},
    formula=r"""The last line of the paper's algorithm, as printed: $\theta_A \leftarrow \theta_A - \alpha \nabla \sum_i L_i(\theta_M^i, \theta_A)$.
α is the rate of the *fast* loop, β that of the slow one. From the gradients of I tasks' losses, compute where the right line
ends, where the printed one ends, and how many times as far the printed one goes.

$$\text{gradients}\,[I,P] \to [P],\; [P],\; \text{one number}$$""",
    hints=(
        "Which of the two loops updates the attention?",
        "The gradient of a sum over tasks is the sum of the tasks' gradients.",
        "The same direction, another length: the factor does not depend on the gradients.",
    ),
)  # fmt: skip
def whose_rate(
    theta_A: Float[Tensor, "P"], gradients: Float[Tensor, "I P"], alpha: float, beta: float
) -> tuple[Float[Tensor, "P"], Float[Tensor, "P"], float]:
    total = gradients.sum(0)
    return theta_A - beta * total, theta_A - alpha * total, alpha / beta


@whose_rate.mistake("you have the two the wrong way round: the attention is on the slow loop, so β is right and α the misprint.")
def rates_exchanged(theta_A, gradients, alpha, beta):
    return whose_rate(theta_A, gradients, beta, alpha)


@whose_rate.mistake("you take the mean over tasks; the line has a sum.")
def mean_over_tasks(theta_A, gradients, alpha, beta):
    return whose_rate(theta_A, gradients / len(gradients), alpha, beta)


@whose_rate.mistake("you climb; a loss is descended.")
def ascended(theta_A, gradients, alpha, beta):
    return whose_rate(theta_A, -gradients, alpha, beta)


@whose_rate.mistake("your factor is the inverse: the printed line goes α/β times as far as the right one.")
def inverse(theta_A, gradients, alpha, beta):
    return *whose_rate(theta_A, gradients, alpha, beta)[:2], beta / alpha


@exercise_6(
    "6.5", "Through adaptation", difficulty=5, importance=5, minutes=35, points=5, returns=("through", "first_order"),
    needs="6.3; `torch.autograd.grad` with `create_graph=True`", tolerance=(1e-3, 1e-3),
    draws={"alpha": lambda dice, s: dice.uniform(0.02, 0.06)},
    formula=r"""A model in which a slow vector a scales the inputs of a fast one, w: $f(x) = x\,(a \odot w)$ (⊙: entry by entry), with the loss
$L = \operatorname{mean}\,(f(x) - y)^2$. The fast loop takes one step on the support, the slow loop is judged on the query:

$$w' = w - \alpha\, \nabla_w L_{\text{support}}(w, a)$$

$$\text{wanted: } \frac{d}{da} L_{\text{query}}(w'(a), a)\;[D]$$

w′ depends on a, too. `through` counts that; `first_order` takes w′ − w as a constant. Compare with finite differences!""",
    hints=(
        "Write `loss(w, a, x, y)` first. `w` and `a` need `requires_grad_()` on copies of your own (`.clone()`).",
        "`torch.autograd.grad(loss_support, w, create_graph=True)` keeps the graph of the gradient itself.",
        "For `first_order`, the same two lines with `w_new.detach()` in the query's loss.",
    ),
)  # fmt: skip
def through_adaptation(
    w: Float[Tensor, "D"], a: Float[Tensor, "D"], x: Float[Tensor, "K D"], y: Float[Tensor, "K"],
    x_query: Float[Tensor, "Q D"], y_query: Float[Tensor, "Q"], alpha: float,
) -> tuple[Float[Tensor, "D"], Float[Tensor, "D"]]:  # fmt: skip
    w, a = w.detach().clone().requires_grad_(), a.detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad(_loss(w, a, x, y), w, create_graph=True)
    moved = w - alpha * slope
    (through,) = torch.autograd.grad(_loss(moved, a, x_query, y_query), a)
    (first_order,) = torch.autograd.grad(_loss(moved.detach(), a, x_query, y_query), a)
    return through, first_order


def _loss(w, a, x, y):
    return (x @ (a * w) - y).square().mean()


@through_adaptation.mistake("your `through` is the first-order gradient: the graph of the inner step is cut (`create_graph=True`, no detach).")
def both_first_order(*args):
    _, first_order = through_adaptation(*args)
    return first_order, first_order


@through_adaptation.mistake("your query is judged at the old w: the fast loop has not adapted anything.")
def not_adapted(w, a, x, y, x_query, y_query, alpha):
    return through_adaptation(w, a, x, y, x_query, y_query, 0.0)


@through_adaptation.mistake("you return the gradient for the fast w; it is the slow a that learns here.")
def for_the_fast(w, a, x, y, x_query, y_query, alpha):
    through, first_order = through_adaptation(a, w, x, y, x_query, y_query, alpha)
    w, a = w.detach().clone().requires_grad_(), a.detach().clone()
    (slope,) = torch.autograd.grad(_loss(w, a, x, y), w, create_graph=True)
    moved = w - alpha * slope
    (through,) = torch.autograd.grad(_loss(moved, a, x_query, y_query), w, retain_graph=True)
    (first_order,) = torch.autograd.grad(_loss(moved, a, x_query, y_query), moved)
    return through, first_order


@through_adaptation.mistake("you judge on the support, which the fast loop has just seen; the slow loop is judged on the query.")
def on_support(w, a, x, y, x_query, y_query, alpha):
    return through_adaptation(w, a, x, y, x, y, alpha)


@through_adaptation.mistake("your `through` is right, but the `first_order` holds w fixed at its old value; take w' as it is, only without its graph.")
def first_order_at_old(w, a, x, y, x_query, y_query, alpha):
    return through_adaptation(w, a, x, y, x_query, y_query, alpha)[0], not_adapted(w, a, x, y, x_query, y_query, alpha)[1]


@exercise_6(
    "6.6", "Slow clock or low rate?", difficulty=3, importance=5, minutes=20, points=3, returns=("slow_clock", "low_rate"), needs="6.2",
    sizes=({"T": 12, "n": 3}, {"T": 12, "n": 4}, {"T": 10, "n": 5}), tolerance=(1e-3, 1e-6),
    draws={"lr": lambda dice, s: dice.uniform(0.05, 0.2), "every": lambda dice, s: s["n"]},
    formula=r"""Adam (β₁ = 0.9, β₂ = 0.999, ε = 1e-8) from θ = 0 over T gradients. How far from 0 does each parameter end, in absolute value,

- on a **slow clock**: only every n-th gradient is used (t = n − 1, 2n − 1, …), each with the full rate;
- at a **low rate**: every gradient is used, with the rate divided by n?

$$\text{gradients}\,[T,P] \to |\theta|\,[P],\; |\theta|\,[P]$$""",
    hints=(
        "`torch.optim.Adam([p], lr=…)`, `p.grad = g`, `.step()`: you need not write Adam again.",
        "`gradients[every - 1 :: every]` are those of the slow clock.",
        "Two optimizers, two parameters: on the slow clock, Adam has never seen the gradients between.",
    ),
)  # fmt: skip
def slow_or_low(
    gradients: Float[Tensor, "T P"], lr: float, every: int
) -> tuple[Float[Tensor, "P"], Float[Tensor, "P"]]:
    return _distance(gradients[every - 1 :: every], lr), _distance(gradients, lr / every)


def _distance(gradients, lr, keep=lambda t: True, kind=torch.optim.Adam):
    p = nn.Parameter(torch.zeros_like(gradients[0]))
    optimizer, end = kind([p], lr=lr), torch.zeros_like(gradients[0])
    for t, g in enumerate(gradients):
        before, p.grad = p.detach().clone(), g.clone()
        optimizer.step()
        end = end + (p.detach() - before) * keep(t)
    return end.abs()


@slow_or_low.mistake("your slow clock has the low rate besides; it ticks seldom, and then with the full rate.")
def both(gradients, lr, every):
    return _distance(gradients[every - 1 :: every], lr / every), slow_or_low(gradients, lr, every)[1]


@slow_or_low.mistake("on your slow clock Adam's averages have seen all gradients; between two ticks it should see none.")
def seen_all(gradients, lr, every):
    return _distance(gradients, lr, keep=lambda t: t % every == every - 1), slow_or_low(gradients, lr, every)[1]


@slow_or_low.mistake("your slow clock ticks at t = 0, n, 2n, …; it ticks at the end of each n steps, at n − 1, 2n − 1, ….")
def first_of_each(gradients, lr, every):
    return _distance(gradients[::every], lr), slow_or_low(gradients, lr, every)[1]


@slow_or_low.mistake("your low rate is the full one: divide it by n.")
def full_rate(gradients, lr, every):
    return slow_or_low(gradients, lr, every)[0], _distance(gradients, lr)


@slow_or_low.mistake("you descend the plain gradients; with Adam, how far a step goes hardly depends on their size.")
def plain(gradients, lr, every):
    sgd = torch.optim.SGD
    return _distance(gradients[every - 1 :: every], lr, kind=sgd), _distance(gradients, lr / every, kind=sgd)
