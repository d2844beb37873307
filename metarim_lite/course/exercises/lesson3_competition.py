"""Lesson 03, attention bottlenecks, continued: who is active, where gradient goes, who hears whom."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...models import RIM
from ...models import attention as package
from ...models.controller import ControllerState
from ...models.interventions import Interventions
from .lesson3 import exercise_3


def null_and_others(dice, s):
    """Weights over (null, S − 1 inputs) with few different values on null, so that there are ties."""
    on_null = dice.whole(1, 3, s["B"], s["N"], 1) / 4
    return torch.cat([on_null, (1 - on_null) * dice.normal(s["B"], s["N"], s["S"] - 1).softmax(-1)], -1)


@exercise_3(
    "3.2", "The active set", difficulty=2, importance=5, minutes=10, points=2, returns="active",
    needs="3.1; `argsort` or `topk`",
    sizes=(dict(B=8, N=6, S=3), dict(B=9, N=7, S=4), dict(B=7, N=5, S=2)),
    draws={"weights": null_and_others, "k": lambda dice, s: dice.whole(2, s["N"] - 2)},
    formula=r"""Attention weights over S elements, **null first**. In each world, the k modules with the *least* weight on null are
active. Of modules that tie, the one with the lower index goes first; so there are always exactly k.

$$\text{weights}\,[B,N,S] \;\to\; \text{active}\,[B,N]$$

It is true at k places of every row.""",
    hints=(
        "Only `weights[..., 0]` matters.",
        "`torch.argsort(..., stable=True)` keeps the order of what ties; `topk` promises nothing about ties.",
        "Sort the modules by weight on null, stably; the first k columns are indices of active modules. "
        "`zeros.scatter(1, indices, True)` makes a mask of them.",
    ),
)  # fmt: skip
def active_set(weights: Float[Tensor, "B N S"], k: int) -> Bool[Tensor, "B N"]:
    return package.choose_active(-weights[..., 0].t(), k).t()


def _first(order: Tensor, k: int) -> Tensor:
    return torch.zeros_like(order, dtype=torch.bool).scatter(1, order[:, :k], True)


@active_set.mistake("you take the modules with the most attention on null; null is what they attend to *instead*.")
def most_null(weights, k):
    return _first(weights[..., 0].argsort(dim=1, descending=True, stable=True), k)


@active_set.mistake(
    "you rank by the largest weight on a single input; a module may split its attention over several inputs, "
    "so rank by the weight on null."
)
def largest_input(weights, k):
    return _first(weights[..., 1:].amax(-1).argsort(dim=1, descending=True, stable=True), k)


@active_set.mistake("of modules that tie you take the one with the higher index; take the lower.")
def higher_index(weights, k):
    return package.choose_active(-weights[..., 0].flip(1).t(), k).t().flip(1)


@active_set.mistake("where modules tie at the k-th place you take them all; there must be exactly k.")
def all_that_tie(weights, k):
    return weights[..., 0] <= weights[..., 0].sort(1).values[:, k - 1 : k]


@active_set.mistake("you take all modules with more attention on their inputs than on null; it is the k best, whoever they are.")
def more_than_half(weights, k):
    return weights[..., 0] < 0.5


PARTS = ("W_q", "W_h", "C_q", "C_kv", "C_out")


@exercise_3(
    "3.3", "Where gradient flows", difficulty=3, importance=4, minutes=20, points=3, returns="receives",
    needs="3.2; `torch.autograd.grad`",
    sizes=(dict(N=5), dict(N=7), dict(N=4)),
    draws={"active": lambda dice, s: torch.zeros(s["N"], dtype=torch.bool).index_fill(0, dice.order(s["N"])[: dice.whole(1, s["N"] - 2)], True)},
    formula=r"""One step of a RIM from a state that is not zero, one world, given who was active. The loss is a sum over all
modules' new h. Which of module n's own parameters receive gradient? Columns: the input query `W_q`, the cell's `W_h`,
the communication's query `C_q`, its key and value `C_kv`, its way back `C_out`.

$$\text{active}\,[N] \;\to\; \text{receives}\,[N, 5]$$""",
    hints=(
        "Being active is a yes or no: no gradient flows through the choice itself.",
        "An inactive module keeps its state. Of what it owns, what do the *others* still use?",
        "Active modules read the states of all modules. So keys and values of all modules are used; everything else of "
        "an inactive module is not.",
    ),
)  # fmt: skip
def gradient_paths(active: Bool[Tensor, "N"]) -> Bool[Tensor, "N 5"]:
    """Not by a rule: one step of the package's RIM, these modules forced to be active, and autograd."""
    N, k = len(active), int(active.sum())
    rim = RIM(3, 4, N, k, comm_key_size=2, comm_value_size=3, comm_heads=1, kernel="plain")
    rim.reset_parameters(torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    h, c, x = (torch.randn(shape, generator=generator) for shape in ((1, N, 4), (1, N, 4), (1, 1, 3)))
    chosen = Interventions(forced=tuple(active.nonzero()[:, 0].tolist()))
    outputs, _, _ = rim(x, ControllerState(h, c), interventions=chosen)
    W_q, W_h, C_qkv, C_out = torch.autograd.grad(outputs.square().sum(), [rim.W_q, rim.W_h, rim.C_qkv, rim.C_out])
    parts = (W_q, W_h, C_qkv[..., :2], C_qkv[..., 2:], C_out)
    return torch.stack([part.flatten(1).abs().sum(1) > 0 for part in parts], 1)


def _received(active: Tensor, *parts: str) -> Tensor:
    """All parts of active modules, and these of all."""
    return active[:, None] | torch.tensor([part in parts for part in PARTS])


@gradient_paths.mistake("you say that an inactive module receives nothing; the active ones still read its state, through its C_kv.")
def nothing(active):
    return _received(active)


@gradient_paths.mistake("gradient does not flow through the choice of the k: the W_q of an inactive module receives none.")
def through_the_choice(active):
    return _received(active, "C_kv", "W_q")


@gradient_paths.mistake("an inactive module asks nobody: its C_q receives no gradient. Others read it, through its C_kv only.")
def inactive_asks(active):
    return _received(active, "C_kv", "C_q")


@gradient_paths.mistake("you say that the cell of an inactive module learns; its candidate state was thrown away, so its W_h receives nothing.")
def cell_learns(active):
    return _received(active, "C_kv", "W_h")


@gradient_paths.mistake("you have active and inactive modules the wrong way round.")
def reversed_roles(active):
    return _received(~active, "C_kv")


@exercise_3(
    "3.4", "Communication", difficulty=3, importance=5, minutes=20, points=3, returns="new_h",
    needs="3.1, 3.2",
    draws={"active": lambda dice, s: dice.flags(0.5, s["B"], s["N"]) ^ (torch.arange(s["N"]) == 0)},
    gradient=True,
    formula=r"""Every module offers a key and a value, $K_n = h_n C^k_n$, $V_n = h_n C^v_n$; every module asks $Q_n = h_n C^q_n$. An
**active** module reads from *all* modules, itself too, and adds what it heard to its state. An inactive one keeps its
state to the bit.

$$m_n = \mathrm{softmax}\big(Q_n K^\top / \sqrt{d_k}\big)\, V$$

$$h_n \leftarrow h_n + m_n\, C^{o}_n \quad [B,N,H]$$

where module n is active; elsewhere $h_n$ stays. ($C^o$ is `C_out`.)""",
    hints=(
        "Q, K and V all need a product of each module's own: `torch.einsum(\"bnh,nhk->bnk\", h, C_q)`.",
        "Scores are [B, N, N]: reader n on the first N, the module that is read on the second. The softmax is over the last.",
        "`torch.where(active[..., None], h + message, h)`.",
    ),
)  # fmt: skip
def communicate(
    h: Float[Tensor, "B N H"], active: Bool[Tensor, "B N"], C_q: Float[Tensor, "N H d_k"],
    C_k: Float[Tensor, "N H d_k"], C_v: Float[Tensor, "N H d_v"], C_out: Float[Tensor, "N d_v H"],
) -> Float[Tensor, "B N H"]:  # fmt: skip
    states = h.transpose(0, 1)  # (N, B, H), as the package has it, with A = 1 head
    heard, _ = package.communicate(*((states @ C).unsqueeze(2) for C in (C_q, C_k, C_v)))
    return torch.where(active.unsqueeze(-1), h + (heard @ C_out).transpose(0, 1), h)


def _said(h, C_q, C_k, C_v, C_out, dim=-1, scale=True, readable=None):
    """What every module would add to its state."""
    Q, K, V = (torch.einsum("bnh,nhk->bnk", h, C) for C in (C_q, C_k, C_v))
    scores = Q @ K.transpose(1, 2) / (Q.shape[-1] ** 0.5 if scale else 1)
    if readable is not None:
        scores = scores.masked_fill(~readable, -torch.inf)
    return torch.einsum("bnk,nkh->bnh", scores.softmax(dim) @ V, C_out)


@communicate.mistake("inactive modules hear, too; they should keep their state to the bit.")
def all_hear(h, active, C_q, C_k, C_v, C_out):
    return h + _said(h, C_q, C_k, C_v, C_out)


@communicate.mistake("active modules replace their state by what they heard; they should add it to their state.")
def replaced(h, active, C_q, C_k, C_v, C_out):
    return torch.where(active.unsqueeze(-1), _said(h, C_q, C_k, C_v, C_out), h)


@communicate.mistake("active modules read active modules only; they should read the states of all.")
def only_active_read(h, active, C_q, C_k, C_v, C_out):
    readable = active.unsqueeze(1) | ~active.any(1)[:, None, None]
    return torch.where(active.unsqueeze(-1), h + _said(h, C_q, C_k, C_v, C_out, readable=readable), h)


@communicate.mistake("your scores are not divided by √d_k before the softmax.")
def unscaled_scores(h, active, C_q, C_k, C_v, C_out):
    return torch.where(active.unsqueeze(-1), h + _said(h, C_q, C_k, C_v, C_out, scale=False), h)


@communicate.mistake("your weights sum to 1 over the readers; each reader shares out one unit over the modules that it reads.")
def over_readers(h, active, C_q, C_k, C_v, C_out):
    return torch.where(active.unsqueeze(-1), h + _said(h, C_q, C_k, C_v, C_out, dim=1), h)


@communicate.mistake("modules do not read themselves; they should read all, themselves included.")
def not_itself(h, active, C_q, C_k, C_v, C_out):
    others = ~torch.eye(h.shape[1], dtype=torch.bool)
    return torch.where(active.unsqueeze(-1), h + _said(h, C_q, C_k, C_v, C_out, readable=others), h)
