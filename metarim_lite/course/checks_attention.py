"""The exercises of lesson 03: reference, inputs, and the mistakes that are often made."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .exercise import Exercise, Mistake
from .probing import Case, Output


def input_attention(h: Tensor, x: Tensor, W_q: Tensor, W_e: Tensor, W_v: Tensor) -> tuple[Tensor, Tensor]:
    """The attention of N modules over {null, input}, as `RIM.read_input` has it, in the letters of the exercise.

    Args:
        h [B,N,H], x [B,D], W_q [N,H,d_k], W_e [D,d_k], W_v [D,d_v].

    Returns:
        weights [B,N,2] over (null, input), read-out [B,N,d_v].
    """
    weights = (_scores(h, x, W_q, W_e) / math.sqrt(W_e.shape[-1])).softmax(-1)
    return weights, weights @ _values(x, W_v)


def _scores(h: Tensor, x: Tensor, W_q: Tensor, W_e: Tensor) -> Tensor:
    queries = torch.einsum("bnh,nhk->bnk", h, W_q)
    return torch.einsum("bnk,bsk->bns", queries, _with_null(x) @ W_e)  # s: null, input


def _values(x: Tensor, W_v: Tensor) -> Tensor:
    return _with_null(x) @ W_v  # (B, 2, d_v)


def _with_null(x: Tensor) -> Tensor:
    return torch.stack([torch.zeros_like(x), x], dim=1)  # (B, 2, D)


# The wrong weights. Each takes every argument of the exercise, so that one loop can try them all.


def _over_modules(h, x, W_q, W_e, W_v):
    return torch.softmax(_scores(h, x, W_q, W_e) / math.sqrt(W_q.shape[-1]), dim=1)


def _over_batch(h, x, W_q, W_e, W_v):
    return torch.softmax(_scores(h, x, W_q, W_e) / math.sqrt(W_q.shape[-1]), dim=0)


def _input_over_modules(h, x, W_q, W_e, W_v):
    """The competition of the authors' Atari code: the modules share one unit of attention on the input."""
    on_input = torch.softmax(_scores(h, x, W_q, W_e)[..., 1] / math.sqrt(W_q.shape[-1]), dim=1)
    return torch.stack([1 - on_input, on_input], dim=-1)


def _unscaled(h, x, W_q, W_e, W_v):
    return torch.softmax(_scores(h, x, W_q, W_e), dim=-1)


def _scaled_by_d_k(h, x, W_q, W_e, W_v):
    return torch.softmax(_scores(h, x, W_q, W_e) / W_q.shape[-1], dim=-1)


def _scaled_by_hidden(h, x, W_q, W_e, W_v):
    return torch.softmax(_scores(h, x, W_q, W_e) / math.sqrt(W_q.shape[1]), dim=-1)


def _swapped(h, x, W_q, W_e, W_v):
    return input_attention(h, x, W_q, W_e, W_v)[0].flip(-1)


def _raw_scores(h, x, W_q, W_e, W_v):
    return _scores(h, x, W_q, W_e) / math.sqrt(W_q.shape[-1])


def _raw_unscaled_scores(h, x, W_q, W_e, W_v):
    return _scores(h, x, W_q, W_e)


def _no_null(h, x, W_q, W_e, W_v):
    shape = (*h.shape[:2], 1)
    return torch.cat([h.new_zeros(shape), h.new_ones(shape)], dim=-1)


def _shared_query(h, x, W_q, W_e, W_v):
    return input_attention(h, x, W_q[:1].expand_as(W_q), W_e, W_v)[0]


def _hard(h, x, W_q, W_e, W_v):
    weights = input_attention(h, x, W_q, W_e, W_v)[0]
    return torch.nn.functional.one_hot(weights.argmax(-1), 2).to(weights.dtype)


def _two_sigmoids(h, x, W_q, W_e, W_v):
    return torch.sigmoid(_scores(h, x, W_q, W_e) / math.sqrt(W_q.shape[-1]))


# The wrong read-outs, for answers whose weights are right.


def _value_not_weighted(h, x, W_q, W_e, W_v):
    return (x @ W_v)[:, None].expand(-1, h.shape[1], -1)


def _weighted_by_null(h, x, W_q, W_e, W_v):
    weights, _ = input_attention(h, x, W_q, W_e, W_v)
    return weights[..., :1] * (x @ W_v)[:, None]


def _keys_as_values(h, x, W_q, W_e, W_v):
    weights, _ = input_attention(h, x, W_q, W_e, W_v)
    return weights @ (_with_null(x) @ W_e)


def _shared_read_out(h, x, W_q, W_e, W_v):
    _, read_out = input_attention(h, x, W_q, W_e, W_v)
    return read_out.mean(1, keepdim=True).expand_as(read_out)


def _summed_read_out(h, x, W_q, W_e, W_v):
    _, read_out = input_attention(h, x, W_q, W_e, W_v)
    return read_out.sum(1, keepdim=True).expand_as(read_out)


MISTAKES = (
    Mistake(
        "weights",
        _over_modules,
        "your weights sum to 1 over the modules; they should sum to 1 over {null, input}, for each module "
        "by itself (look at the `dim` of your softmax).",
    ),
    Mistake(
        "weights",
        _input_over_modules,
        "your weights on the input sum to 1 over the modules, as if the modules shared one unit of attention; "
        "each module should weigh the input against null by itself.",
    ),
    Mistake(
        "weights",
        _over_batch,
        "your weights sum to 1 over the batch; worlds of a batch must not know of each other "
        "(look at the `dim` of your softmax).",
    ),
    Mistake("weights", _unscaled, "your scores are not divided by √d_k before the softmax."),
    Mistake("weights", _scaled_by_d_k, "your scores are divided by d_k; divide them by its square root."),
    Mistake(
        "weights",
        _scaled_by_hidden,
        "your scores are divided by √H; the keys and queries have d_k entries, so divide by √d_k.",
    ),
    Mistake(
        "weights",
        _swapped,
        "your weights are in the order (input, null), or your scores have the wrong sign; the order should be "
        "(null, input).",
    ),
    Mistake("weights", _raw_scores, "your weights are the scores themselves; the softmax is missing."),
    Mistake("weights", _raw_unscaled_scores, "your weights are the scores themselves; the softmax is missing."),
    Mistake(
        "weights",
        _no_null,
        "every module puts all its weight on the input; the null element, a row of zeros beside x, is missing "
        "from your softmax.",
    ),
    Mistake(
        "weights",
        _shared_query,
        "all modules use the query weights of module 0; module n has its own, W_q[n].",
    ),
    Mistake("weights", _hard, "your weights are all 0 or 1; attention is soft here, no module is switched off yet."),
    Mistake(
        "weights",
        _two_sigmoids,
        "your weights are two sigmoids that do not sum to 1; take one softmax over the two scores.",
    ),
    Mistake(
        "read_out",
        _value_not_weighted,
        "your weights are right, but the read-out ignores them: it is the input's value W_v x for every module.",
    ),
    Mistake(
        "read_out",
        _weighted_by_null,
        "your weights are right, but the read-out weighs the input's value with the weight on null.",
    ),
    Mistake(
        "read_out",
        _keys_as_values,
        "your weights are right, but the read-out mixes keys (W_e) where it should mix values (W_v).",
    ),
    Mistake(
        "read_out",
        _shared_read_out,
        "your weights are right, but all modules get the same read-out, the mean over modules.",
    ),
    Mistake(
        "read_out",
        _summed_read_out,
        "your weights are right, but all modules get the same read-out, the sum over modules.",
    ),
)


def describe(output: str, inputs: dict[str, Tensor], results: tuple[Tensor, ...]) -> str | None:
    """A sentence on what is visibly wrong with an answer that equals no known mistake."""
    weights = results[0]
    if output == "read_out":
        return "your weights are right, but the read-out is not the sum over {null, input} of weight times value."
    if (weights < 0).any() or (weights > 1).any():
        return "your weights are not between 0 and 1; they should come out of a softmax over {null, input}."
    if not torch.allclose(weights.sum(-1), torch.ones_like(weights[..., 0]), atol=1e-4):
        return "your weights do not sum to 1 over {null, input}."
    return "your weights sum to 1 over {null, input}, but the scores under them differ from qᵀk / √d_k."


# (B, N, H, D, d_k, d_v), all different within a case, so that no mixed-up axis can fit by accident;
# the second has d_k = d_v, which lets keys pass for values; the third has a batch of one.
SIZES = ((5, 6, 8, 7, 3, 4), (2, 4, 6, 7, 5, 5), (1, 3, 5, 4, 2, 6))


def cases(generator: torch.Generator) -> list[Case]:
    """Fresh inputs of three sizes, then the first size with scores too large for a naive exponential."""
    drawn = [_case(sizes, 1.0, generator) for sizes in SIZES]
    return [*drawn, _case(SIZES[0], 1e4, generator)._replace(extreme=True)]


def _case(sizes: tuple[int, ...], scale: float, generator: torch.Generator) -> Case:
    B, N, H, D, d_k, d_v = sizes

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float32)

    inputs = {
        "h": normal(B, N, H) * scale,
        "x": normal(B, D) * 0.5,
        "W_q": normal(N, H, d_k) * 0.5,
        "W_e": normal(D, d_k) * 0.5,
        "W_v": normal(D, d_v),
    }
    return Case({"B": B, "N": N, "H": H, "D": D, "d_k": d_k, "d_v": d_v}, inputs)


INPUT_ATTENTION = Exercise(
    name="input_attention",
    lesson="03_attention_bottlenecks",
    points=3,
    outputs=(Output("weights", ("B", "N", "2")), Output("read_out", ("B", "N", "d_v"))),
    reference=input_attention,
    cases=cases,
    mistakes=MISTAKES,
    describe=describe,
)
