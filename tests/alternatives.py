"""Right answers to the exercises, written another way: a loop, another library call, other intermediate layouts."""

import math

import torch

RIGHT = {}


def right(name):
    def keep(answer):
        RIGHT.setdefault(name, []).append(answer)
        return answer

    return keep


@right("input_attention")
def one_sigmoid_in_loops(h, x, W_q, W_e, W_v):
    B, N = h.shape[:2]
    weights, reads = [], []
    for b in range(B):
        for n in range(N):
            score = (h[b, n] @ W_q[n]) @ (x[b] @ W_e) / math.sqrt(W_q.shape[-1])
            on_input = torch.sigmoid(score)
            weights.append(torch.stack([1 - on_input, on_input]))
            reads.append(on_input * (x[b] @ W_v))
    return torch.stack(weights).view(B, N, 2), torch.stack(reads).view(B, N, -1)


@right("input_attention")
def library_attention(h, x, W_q, W_e, W_v):
    X = torch.stack([torch.zeros_like(x), x], 1)
    query, scale = (h.transpose(0, 1) @ W_q).transpose(0, 1), W_q.shape[-1] ** -0.5
    read = torch.nn.functional.scaled_dot_product_attention(query, X @ W_e, X @ W_v, scale=scale)
    return (torch.baddbmm(torch.zeros(1), query, (X @ W_e).mT) * scale).softmax(2), read
