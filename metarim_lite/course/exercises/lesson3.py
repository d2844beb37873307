"""Lesson 03, attention bottlenecks: who reads the input. (The other exercises of the lesson: lesson3_competition.py.)

Letters: h [B,N,H] states of N modules, x [B,D] the input, W_q [N,H,d_k] a query for each module, W_e [D,d_k] and
W_v [D,d_v] keys and values that all modules share. Elements of the input attention are (null, input), in this order.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from ..declaring import exercise

exercise_3 = partial(exercise, lesson="03_attention_bottlenecks")


def describe_attention(index, inputs, results):
    """What is visibly wrong with an answer that equals no known mistake."""
    weights = results[0]
    if index == 1:
        return "your weights are right, but the read-out is not the sum over {null, input} of weight times value."
    if (weights < 0).any() or (weights > 1).any():
        return "your weights are not between 0 and 1; they should come out of a softmax over {null, input}."
    if not torch.allclose(weights.sum(-1), torch.ones_like(weights[..., 0]), atol=1e-4):
        return "your weights do not sum to 1 over {null, input}."
    return "your weights sum to 1 over {null, input}, but the scores under them differ from qᵀk / √d_k."


@exercise_3(
    "3.1", "Attention over null and input", difficulty=2, importance=5, minutes=20, points=3, returns=("weights", "read_out"),
    needs='"The null slot" in lesson 03; `torch.einsum` or `@`, `softmax`',
    # all sizes differ within a case; the second has d_k = d_v, so that keys may pass for values; the third one world
    sizes=(
        dict(B=5, N=6, H=8, D=7, d_k=3, d_v=4),
        dict(B=2, N=4, H=6, D=7, d_k=5, d_v=5),
        dict(B=1, N=3, H=5, D=4, d_k=2, d_v=6),
    ),
    extreme={"h": 1e4}, gradient=True, describe=describe_attention,
    formula=r"""N modules attend to two elements: null, a row of zeros, and the input.

$$X = \begin{pmatrix} 0 \\ x \end{pmatrix}\,[B,2,D]$$

$$K = X W^e\,[B,2,d_k]$$

$$V = X W^v\,[B,2,d_v]$$

$$Q_n = h_n W^q_n\,[B,N,d_k]$$

$$\text{weights} = \mathrm{softmax}\big(Q K^\top / \sqrt{d_k}\big)\,[B,N,2]$$

$$\text{read-out} = \text{weights}\;V\,[B,N,d_v]$$

The softmax runs over {null, input}.""",
    hints=(
        """Build X first: `torch.zeros_like(x)` and `x`, stacked along a new axis between B and D. Everything else follows
from the lines of mathematics, from top to bottom.""",
        """Each module its own query: `W_q` has a module axis, `W_e` and `W_v` do not. In `torch.einsum`, an axis that stays
keeps its letter on the right, and one that is summed away loses it: h is `bnh`, W_q is `nhk`, and Q should be `bnk`.""",
        """`Q @ K.transpose(1, 2)` is [B, N, d_k] @ [B, d_k, 2], so it has shape [B, N, 2]. Divide by `d_k ** 0.5`, take the
softmax over the **last** axis, and multiply by V with `@`.""",
    ),
)  # fmt: skip
def input_attention(
    h: Float[Tensor, "B N H"], x: Float[Tensor, "B D"],
    W_q: Float[Tensor, "N H d_k"], W_e: Float[Tensor, "D d_k"], W_v: Float[Tensor, "D d_v"],
) -> tuple[Float[Tensor, "B N 2"], Float[Tensor, "B N d_v"]]:  # fmt: skip
    """As `RIM.read_input` has it, in the letters of the exercise."""
    return _reading(_scaled(h, x, W_q, W_e).softmax(-1), x, W_v)


def _pair(x: Tensor) -> Tensor:
    return torch.stack([torch.zeros_like(x), x], dim=1)  # (B, 2, D)


def _match(queries: Tensor, keys: Tensor) -> Tensor:
    return torch.einsum("bnk,bsk->bns", queries, keys)  # s: null, input


def _scores(h: Tensor, x: Tensor, W_q: Tensor, W_e: Tensor) -> Tensor:
    return _match(torch.einsum("bnh,nhk->bnk", h, W_q), _pair(x) @ W_e)


def _scaled(h: Tensor, x: Tensor, W_q: Tensor, W_e: Tensor) -> Tensor:
    return _scores(h, x, W_q, W_e) / math.sqrt(W_e.shape[-1])


def _reading(weights: Tensor, x: Tensor, W_v: Tensor) -> tuple[Tensor, Tensor]:
    return weights, weights @ (_pair(x) @ W_v)


@input_attention.mistake(
    "your weights sum to 1 over the modules; they should sum to 1 over {null, input}, for each module by itself "
    "(look at the `dim` of your softmax)."
)
def over_modules(h, x, W_q, W_e, W_v):
    return _reading(_scaled(h, x, W_q, W_e).softmax(1), x, W_v)


@input_attention.mistake(
    "your weights on the input sum to 1 over the modules, as if the modules shared one unit of attention; "
    "each module should weigh the input against null by itself."
)
def input_over_modules(h, x, W_q, W_e, W_v):
    on_input = _scaled(h, x, W_q, W_e)[..., 1].softmax(1)  # the competition of the authors' Atari code
    return _reading(torch.stack([1 - on_input, on_input], -1), x, W_v)


@input_attention.mistake(
    "your weights sum to 1 over the batch; worlds of a batch must not know of each other "
    "(look at the `dim` of your softmax)."
)
def over_batch(h, x, W_q, W_e, W_v):
    return _reading(_scaled(h, x, W_q, W_e).softmax(0), x, W_v)


@input_attention.mistake("your scores are not divided by √d_k before the softmax.")
def unscaled(h, x, W_q, W_e, W_v):
    return _reading(_scores(h, x, W_q, W_e).softmax(-1), x, W_v)


@input_attention.mistake("your scores are divided by d_k; divide them by its square root.")
def scaled_by_d_k(h, x, W_q, W_e, W_v):
    return _reading((_scores(h, x, W_q, W_e) / W_q.shape[-1]).softmax(-1), x, W_v)


@input_attention.mistake("your scores are divided by √H; the keys and queries have d_k entries, so divide by √d_k.")
def scaled_by_hidden(h, x, W_q, W_e, W_v):
    return _reading((_scores(h, x, W_q, W_e) / math.sqrt(W_q.shape[1])).softmax(-1), x, W_v)


@input_attention.mistake(
    "your weights are in the order (input, null), or your scores have the wrong sign; the order should be "
    "(null, input)."
)
def input_first(h, x, W_q, W_e, W_v):
    return _reading(_scaled(h, x, W_q, W_e).softmax(-1).flip(-1), x, W_v)


@input_attention.mistake("your weights are the scores themselves; the softmax is missing.")
def no_softmax(h, x, W_q, W_e, W_v):
    return _reading(_scaled(h, x, W_q, W_e), x, W_v)


@input_attention.mistake("your weights are the scores themselves, not even scaled; the softmax is missing.")
def raw_scores(h, x, W_q, W_e, W_v):
    return _reading(_scores(h, x, W_q, W_e), x, W_v)


@input_attention.mistake(
    "every module puts all its weight on the input; the null element, a row of zeros beside x, is missing "
    "from your softmax."
)
def no_null(h, x, W_q, W_e, W_v):
    on_input = torch.ones_like(h[..., :1])
    return _reading(torch.cat([0 * on_input, on_input], -1), x, W_v)


@input_attention.mistake("your null element is a row of ones; it should be a row of zeros, which says nothing.")
def ones_for_null(h, x, W_q, W_e, W_v):
    X = torch.stack([torch.ones_like(x), x], dim=1)
    weights = (_match(torch.einsum("bnh,nhk->bnk", h, W_q), X @ W_e) / math.sqrt(W_e.shape[-1])).softmax(-1)
    return weights, weights @ (X @ W_v)


@input_attention.mistake("all modules use the query weights of module 0; module n has its own, W_q[n].")
def first_query(h, x, W_q, W_e, W_v):
    return input_attention(h, x, W_q[:1].expand_as(W_q), W_e, W_v)


@input_attention.mistake("all modules use the same query weights, the mean of W_q; module n has its own, W_q[n].")
def averaged_query(h, x, W_q, W_e, W_v):
    return input_attention(h, x, W_q.mean(0, keepdim=True).expand_as(W_q), W_e, W_v)


@input_attention.mistake(
    "every module's state goes through the query weights of all modules, added up: the n of W_q is not tied to the n "
    "of h (in einsum, both letters must be the same: `bnh,nhk->bnk`)."
)
def summed_query(h, x, W_q, W_e, W_v):
    return input_attention(h, x, W_q.sum(0, keepdim=True).expand_as(W_q), W_e, W_v)


@input_attention.mistake("your weights are all 0 or 1; attention is soft here, no module is switched off yet.")
def hard(h, x, W_q, W_e, W_v):
    scores = _scaled(h, x, W_q, W_e)
    return _reading(torch.nn.functional.one_hot(scores.argmax(-1), 2).to(scores.dtype), x, W_v)


@input_attention.mistake("your weights are two sigmoids that do not sum to 1; take one softmax over the two scores.")
def two_sigmoids(h, x, W_q, W_e, W_v):
    return _reading(_scaled(h, x, W_q, W_e).sigmoid(), x, W_v)


@input_attention.mistake(
    "your weights are right, but the read-out ignores them: it is the input's value W_v x for every module."
)
def not_weighted(h, x, W_q, W_e, W_v):
    return input_attention(h, x, W_q, W_e, W_v)[0], (x @ W_v)[:, None].expand(-1, h.shape[1], -1)


@input_attention.mistake("your weights are right, but the read-out weighs the input's value with the weight on null.")
def weighted_by_null(h, x, W_q, W_e, W_v):
    weights, _ = input_attention(h, x, W_q, W_e, W_v)
    return weights, weights[..., :1] * (x @ W_v)[:, None]


@input_attention.mistake("your weights are right, but the read-out mixes keys (W_e) where it should mix values (W_v).")
def keys_as_values(h, x, W_q, W_e, W_v):
    if W_e.shape != W_v.shape:
        return None
    return input_attention(h, x, W_q, W_e, W_e)


@input_attention.mistake("your weights are right, but all modules get the same read-out, the mean over modules.")
def averaged_reading(h, x, W_q, W_e, W_v):
    weights, read_out = input_attention(h, x, W_q, W_e, W_v)
    return weights, read_out.mean(1, keepdim=True).expand_as(read_out)


@input_attention.mistake("your weights are right, but all modules get the same read-out, the sum over modules.")
def summed_reading(h, x, W_q, W_e, W_v):
    weights, read_out = input_attention(h, x, W_q, W_e, W_v)
    return weights, read_out.sum(1, keepdim=True).expand_as(read_out)
