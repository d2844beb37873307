"""Answers to the exercise `input_attention`: a right one in loops, and the wrong ones with what is said of each."""

import torch
from torch import Tensor

from metarim_lite.course.exercises.lesson3 import input_attention as reference


def right(h, x, W_q, W_e, W_v):
    """An independent solution: one sigmoid for each module, in plain loops."""
    B, N = h.shape[:2]
    weights, reads = [], []
    for b in range(B):
        for n in range(N):
            score = (h[b, n] @ W_q[n]) @ (x[b] @ W_e) / W_q.shape[-1] ** 0.5
            on_input = torch.sigmoid(score)
            weights.append(torch.stack([1 - on_input, on_input]))
            reads.append(on_input * (x[b] @ W_v))
    return torch.stack(weights).view(B, N, 2), torch.stack(reads).view(B, N, -1)


def scores(h, x, W_q, W_e):
    """[B,N,2] over (null, input), scaled; what the wrong answers below start from."""
    s = torch.einsum("bnh,nhk,bk->bn", h, W_q, x @ W_e) / W_q.shape[-1] ** 0.5
    return torch.stack([torch.zeros_like(s), s], dim=-1)


def finish(weights: Tensor, x: Tensor, W_v: Tensor):
    return weights, weights[..., 1:] * (x @ W_v)[:, None]


def softmax_over_modules(h, x, W_q, W_e, W_v):
    return finish(scores(h, x, W_q, W_e).softmax(1), x, W_v)


def softmax_over_batch(h, x, W_q, W_e, W_v):
    return finish(scores(h, x, W_q, W_e).softmax(0), x, W_v)


def modules_share_the_input(h, x, W_q, W_e, W_v):
    on_input = scores(h, x, W_q, W_e)[..., 1].softmax(1)
    return finish(torch.stack([1 - on_input, on_input], -1), x, W_v)


def not_scaled(h, x, W_q, W_e, W_v):
    return finish((scores(h, x, W_q, W_e) * W_q.shape[-1] ** 0.5).softmax(-1), x, W_v)


def scaled_by_d_k(h, x, W_q, W_e, W_v):
    return finish((scores(h, x, W_q, W_e) / W_q.shape[-1] ** 0.5).softmax(-1), x, W_v)


def scaled_by_root_H(h, x, W_q, W_e, W_v):
    return finish((scores(h, x, W_q, W_e) * (W_q.shape[-1] / W_q.shape[1]) ** 0.5).softmax(-1), x, W_v)


def input_first(h, x, W_q, W_e, W_v):
    weights, read_out = reference(h, x, W_q, W_e, W_v)
    return weights.flip(-1), read_out


def no_softmax(h, x, W_q, W_e, W_v):
    return finish(scores(h, x, W_q, W_e), x, W_v)


def no_null(h, x, W_q, W_e, W_v):
    weights = scores(h, x, W_q, W_e)[..., 1:].softmax(-1)
    return finish(torch.cat([1 - weights, weights], -1), x, W_v)


def one_query_for_all(h, x, W_q, W_e, W_v):
    return reference(h, x, W_q[:1].repeat(W_q.shape[0], 1, 1), W_e, W_v)


def averaged_query(h, x, W_q, W_e, W_v):
    return reference(h, x, W_q.mean(0).expand_as(W_q), W_e, W_v)


def letters_not_tied(h, x, W_q, W_e, W_v):
    """What `torch.einsum("bnh,mhk->bnk", …)` gives."""
    queries = torch.einsum("bnh,mhk->bnk", h, W_q)
    on_input = ((queries * (x @ W_e)[:, None]).sum(-1) / W_q.shape[-1] ** 0.5).sigmoid()
    return finish(torch.stack([1 - on_input, on_input], -1), x, W_v)


def null_of_ones(h, x, W_q, W_e, W_v):
    X = torch.stack([torch.ones_like(x), x], 1)
    s = torch.einsum("bnh,nhk,bsk->bns", h, W_q, X @ W_e) / W_q.shape[-1] ** 0.5
    return s.softmax(-1), s.softmax(-1) @ X @ W_v


def hard_choice(h, x, W_q, W_e, W_v):
    s = scores(h, x, W_q, W_e)
    return finish((s == s.max(-1, keepdim=True).values).float(), x, W_v)


def sigmoid_of_each_score(h, x, W_q, W_e, W_v):
    return finish(scores(h, x, W_q, W_e).sigmoid(), x, W_v)


def read_out_not_weighted(h, x, W_q, W_e, W_v):
    weights, read_out = reference(h, x, W_q, W_e, W_v)
    return weights, (x @ W_v)[:, None].repeat(1, h.shape[1], 1)


def read_out_weighted_by_null(h, x, W_q, W_e, W_v):
    weights, _ = reference(h, x, W_q, W_e, W_v)
    return weights, weights[..., 0, None] * (x @ W_v)[:, None]


def read_out_averaged(h, x, W_q, W_e, W_v):
    weights, read_out = reference(h, x, W_q, W_e, W_v)
    return weights, read_out.mean(1, keepdim=True).repeat(1, h.shape[1], 1)


def read_out_of_keys(h, x, W_q, W_e, W_v):
    weights, _ = reference(h, x, W_q, W_e, W_v)
    return weights, weights[..., 1:] * (x @ W_e)[:, None]


def odd_temperature(h, x, W_q, W_e, W_v):
    return finish((0.3 * scores(h, x, W_q, W_e)).softmax(-1), x, W_v)


def naive_exponential(h, x, W_q, W_e, W_v):
    e = scores(h, x, W_q, W_e).exp()
    return finish(e / e.sum(-1, keepdim=True), x, W_v)


def changes_h(h, x, W_q, W_e, W_v):
    answer = reference(h, x, W_q, W_e, W_v)
    h *= 0.5
    return answer


def detached_weights(h, x, W_q, W_e, W_v):
    return finish(reference(h, x, W_q, W_e, W_v)[0].detach(), x, W_v)


def detached_query(h, x, W_q, W_e, W_v):
    return reference(h.detach(), x, W_q, W_e, W_v)


def through_numpy(h, x, W_q, W_e, W_v):
    weights, read_out = reference(h, x, W_q, W_e, W_v)
    return torch.from_numpy(weights.numpy()), torch.from_numpy(read_out.numpy())


def arrays(h, x, W_q, W_e, W_v):
    return tuple(t.detach().numpy() for t in reference(h, x, W_q, W_e, W_v))


def doubles(h, x, W_q, W_e, W_v):
    return tuple(t.double() for t in reference(h, x, W_q, W_e, W_v))


def one_weight(h, x, W_q, W_e, W_v):
    weights, read_out = reference(h, x, W_q, W_e, W_v)
    return weights[..., 1], read_out


def squeezed(h, x, W_q, W_e, W_v):
    return tuple(t.squeeze() for t in reference(h, x, W_q, W_e, W_v))


def wrong_order(h, x, W_q, W_e, W_v):
    return reference(h, x, W_q, W_e, W_v)[::-1]


def only_weights(h, x, W_q, W_e, W_v):
    return reference(h, x, W_q, W_e, W_v)[0]


def nothing(h, x, W_q, W_e, W_v):
    reference(h, x, W_q, W_e, W_v)


def not_a_number(h, x, W_q, W_e, W_v):
    weights, read_out = reference(h, x, W_q, W_e, W_v)
    return weights / 0 * 0, read_out


def misspelt(h, x, W_q, W_e, W_v):
    return torch.sofmax(h, dim=-1)


WRONG = {
    softmax_over_modules: "sum to 1 over the modules; they should sum to 1 over {null, input}",
    softmax_over_batch: "sum to 1 over the batch",
    modules_share_the_input: "as if the modules shared one unit of attention",
    not_scaled: "not divided by √d_k",
    scaled_by_d_k: "divided by d_k; divide them by its square root",
    scaled_by_root_H: "divided by √H",
    input_first: "in the order (input, null)",
    no_softmax: "the softmax is missing",
    no_null: "the null element, a row of zeros beside x, is missing",
    one_query_for_all: "the query weights of module 0",
    averaged_query: "the mean of W_q",
    letters_not_tied: "the n of W_q is not tied to the n of h",
    null_of_ones: "your null element is a row of ones",
    hard_choice: "all 0 or 1",
    sigmoid_of_each_score: "two sigmoids",
    read_out_not_weighted: "the read-out ignores them",
    read_out_weighted_by_null: "with the weight on null",
    read_out_averaged: "the mean over modules",
    odd_temperature: "the scores under them differ",
    naive_exponential: "does your softmax overflow",
    changes_h: "changes its argument `h` in place",
    detached_weights: "no gradient flows back from `weights`",
    detached_query: "does not reach `h`",
    through_numpy: "goes through numpy",
    arrays: "is a ndarray; it should be a torch.Tensor",
    doubles: "is torch.float64",
    one_weight: "`weights` has shape [5, 6]; it should be [B, N, 2] = [5, 6, 2]",
    squeezed: "`weights` has shape [3, 2]; it should be [B, N, 2] = [1, 3, 2]",
    wrong_order: "in the wrong order",
    only_weights: "returns one Tensor; it should return the 2 tensors",
    nothing: "Is the `return` missing?",
    not_a_number: "contains NaN or infinity.",
    misspelt: "has no attribute 'sofmax'",
}
