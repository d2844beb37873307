"""Exercises of lessons 3 and 4 another way: attention, competition, and the step of a RIM."""

import math

import torch
from another_way import right


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


@right("active_set")
def by_stable_sort(weights, k):
    order = weights[..., 0].argsort(dim=1, stable=True)[:, :k]
    return torch.zeros(weights.shape[:2], dtype=torch.bool).scatter(1, order, True)


@right("active_set")
def sorted_in_python(weights, k):
    active = torch.zeros(weights.shape[:2]).bool()
    for b, row in enumerate(weights[..., 0].tolist()):
        for n in sorted(range(len(row)), key=lambda n: (row[n], n))[:k]:  # noqa: B023
            active[b, n] = True
    return active


@right("gradient_paths")
def by_the_rule(active):
    columns = [active, active, active, torch.ones_like(active), active]
    return torch.stack(columns, dim=1)


@right("gradient_paths")
def row_by_row(active):
    return torch.tensor([[a, a, a, True, a] for a in active.tolist()])


@right("communicate")
def reader_by_reader(h, active, C_q, C_k, C_v, C_out):
    worlds = []
    for b in range(h.shape[0]):
        rows = []
        for n in range(h.shape[1]):
            if not active[b, n]:
                rows.append(h[b, n])
                continue
            scores = torch.stack([(h[b, n] @ C_q[n]) @ (h[b, m] @ C_k[m]) for m in range(h.shape[1])])
            weights = torch.softmax(scores / math.sqrt(C_q.shape[-1]), 0)
            heard = sum(weights[m] * (h[b, m] @ C_v[m]) for m in range(h.shape[1]))
            rows.append(h[b, n] + heard @ C_out[n])
        worlds.append(torch.stack(rows))
    return torch.stack(worlds)


@right("communicate")
def library_communication(h, active, C_q, C_k, C_v, C_out):
    own = [torch.bmm(h.transpose(0, 1), C).transpose(0, 1) for C in (C_q, C_k, C_v)]
    heard = torch.nn.functional.scaled_dot_product_attention(*own)
    return h + active.unsqueeze(-1).float() * torch.einsum("bnk,nkh->bnh", heard, C_out)


def four_lines(h, c, x, k, W_q, W_e, W_v, W_in, W_h, b, C_q, C_k, C_v, C_out, cell):
    weights, read = one_sigmoid_in_loops(h, x, W_q, W_e, W_v)
    active = by_stable_sort(weights, k)
    new_h, new_c = cell(read, h, c, W_in, W_h, b)
    h, c = (torch.where(active.unsqueeze(-1), new, old) for new, old in ((new_h, h), (new_c, c)))
    return library_communication(h, active, C_q, C_k, C_v, C_out), c


@right("rim_step")
def with_torch_cells(*args):
    def cell(read, h, c, W_in, W_h, b):
        order, H, made = [0, 1, 3, 2], h.shape[-1], []
        for n in range(h.shape[1]):  # PyTorch's order is i, f, g, o
            parts = [torch.cat([W.split(H, -1)[i] for i in order], -1) for W in (W_in[n], W_h[n], b[n])]
            made.append(
                torch.lstm_cell(read[:, n], (h[:, n], c[:, n]), parts[0].t(), parts[1].t(), parts[2], 0 * parts[2])
            )
        return tuple(torch.stack(s, 1) for s in zip(*made, strict=True))

    return four_lines(*args, cell)


@right("rim_step")
def with_einsum(*args):
    def cell(read, h, c, W_in, W_h, b):
        z = torch.einsum("bnx,nxg->bng", torch.cat([read, h], -1), torch.cat([W_in, W_h], 1)) + b
        i, f, o, g = z.chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    return four_lines(*args, cell)


@right("count_parameters")
def by_formula(N, H, D, d_k, d_v, d_c):
    attention = N * (H + 1) * d_k + D * (d_k + d_v)
    return attention + N * 4 * H * (d_v + H + 1) + 4 * N * H * d_c, 4 * N * H * (D + N * H + 2)


@right("count_parameters")
def by_shapes(N, H, D, d_k, d_v, d_c):
    shapes = [(N, H, d_k), (N, 1, d_k), (D, d_k), (D, d_v), (N, d_v, 4 * H), (N, H, 4 * H), (N, 4 * H)]
    shapes += [(N, H, 3 * d_c), (N, d_c, H)]
    return float(sum(map(math.prod, shapes))), sum(p.numel() for p in torch.nn.LSTM(D, N * H).parameters())


@right("find_the_bug")
def after_the_softmax(scores, k, h, c, candidate_h, candidate_c):
    active = by_stable_sort(scores.double().softmax(-1), k)
    on = active[..., None].float()
    return active, torch.lerp(h, candidate_h, on), torch.lerp(c, candidate_c, on)


@right("find_the_bug")
def by_differences(scores, k, h, c, candidate_h, candidate_c):
    best = (scores[..., 1] - scores[..., 0]).topk(k, dim=1).indices
    active = torch.zeros(h.shape[:2], dtype=torch.bool)
    active[torch.arange(len(h))[:, None], best] = True
    shown, new_c = h.clone(), c.clone()
    shown[active], new_c[active] = candidate_h[active], candidate_c[active]
    return active, shown, new_c


@right("transplant")
def on_copies(h, c, n, donor, receiver):
    new_h, new_c = h.clone(), c.clone()
    new_h[receiver, n], new_c[receiver, n] = h[donor, n], c[donor, n]
    return new_h, new_c


@right("transplant")
def world_by_world(h, c, n, donor, receiver):
    def moved(s):
        rows = list(s)
        rows[receiver] = torch.cat([s[receiver, :n], s[donor, n : n + 1], s[receiver, n + 1 :]])
        return torch.stack(rows)

    return [moved(h), moved(c)]


@right("blocks")
def block_by_block(h, W):
    return torch.stack([h[:, n] @ W[n] for n in range(len(W))], dim=1)


@right("blocks")
def by_einsum(h, W):
    return torch.einsum("bni,nij->bnj", h, W)
