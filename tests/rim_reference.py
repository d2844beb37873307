"""A RIM written from the papers' equations with plain loops over steps, sequences and modules. It shares
nothing with `metarim_lite.models` but the names of the parameters it reads."""

import math

import torch
from torch import Tensor


def lstm_cell(H, a, h, c, W_in, W_h, b, bound):
    i, f, o, g = (a @ W_in + h @ W_h + b).split(H)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    c = torch.where(c.abs() > bound, bound * c.sign(), c)
    return torch.sigmoid(o) * torch.tanh(c), c


def gru_cell(H, a, h, c, W_in, W_h, b, _):
    from_input, from_state = (a @ W_in).split(H), (h @ W_h + b).split(H)
    r, z = (torch.sigmoid(x + y) for x, y in zip(from_input[:2], from_state[:2], strict=True))
    return (1 - z) * torch.tanh(from_input[2] + r * from_state[2]) + z * h, c


def reference_rim(rim, inputs: Tensor, h0: Tensor, c0: Tensor, resets: Tensor | None = None):
    """inputs [T,B,E,D], h0 and c0 [B,N,H] -> outputs [T,B,N·H], h, c, active, attention, communication."""
    N, H, k = rim.num_modules, rim.hidden_size, rim.active
    A_in, A, d_k, d_comm = rim.input_heads, rim.comm_heads, rim.key_size, rim.comm_key_size
    cell = lstm_cell if rim.cell == "lstm" else gru_cell
    bound = math.inf if rim.cell_clip is None else rim.cell_clip
    T, B, E, D = inputs.shape
    outputs, actives, attentions, comms = [], [], [], []
    h = [[h0[b, n] for n in range(N)] for b in range(B)]
    c = [[c0[b, n] for n in range(N)] for b in range(B)]
    for t in range(T):
        for b in range(B):
            if resets is not None and resets[t, b]:
                h[b] = [torch.zeros_like(x) for x in h[b]]
                c[b] = [torch.zeros_like(x) for x in c[b]]
            X = torch.cat((torch.zeros(1, D), inputs[t, b]))  # null joins the input before keys and values
            K, V = X @ rim.W_e, X @ rim.W_v  # [1+E, ...]
            scores = torch.zeros(N, A_in, 1 + E)
            for n in range(N):
                Q = h[b][n] @ rim.W_q[n] + rim.b_q[n, 0]
                for a, (K_a, Q_a) in enumerate(zip(K.chunk(A_in, 1), Q.chunk(A_in), strict=True)):
                    scores[n, a] = K_a @ Q_a / math.sqrt(d_k)
            if rim.softmax_over == "null":
                P = scores.softmax(-1)
                eager = [-P[n, :, 0].mean() for n in range(N)]
            else:
                P = torch.cat((torch.zeros(N, A_in, 1), scores[..., 1:].softmax(0)), -1)
                eager = [P[n, :, 1:].sum(-1).mean() for n in range(N)]
            active = sorted(range(N), key=lambda n: (-eager[n].item(), n))[:k]

            candidate, offered, new_h = {}, [], list(h[b])
            for n in range(N):
                read = torch.cat([p @ v for p, v in zip(P[n], V.chunk(A_in, 1), strict=True)])
                candidate[n] = cell(H, read, h[b][n], c[b][n], rim.W_in[n], rim.W_h[n], rim.b[n, 0], bound)
                shows = n in active or rim.inactive_offer == "candidate"
                offered.append(candidate[n][0] if shows else h[b][n])
            qkv = [(offered[m] @ rim.C_qkv[m]).view(A, -1) for m in range(N)]
            comm = torch.zeros(A, N, N)
            for n in active:
                heads = []
                for a in range(A):
                    query, keys = qkv[n][a, :d_comm], [qkv[m][a, d_comm : 2 * d_comm] for m in range(N)]
                    w = torch.stack([query @ key / math.sqrt(d_comm) for key in keys]).softmax(0)
                    heads.append(sum(w[m] * qkv[m][a, 2 * d_comm :] for m in range(N)))
                    comm[a, n] = w.detach()
                heads = torch.cat(heads)
                message = heads @ rim.C_out[n]
                if rim.output_gate == "gated":
                    message = torch.sigmoid(heads @ rim.C_gate[n]) * torch.tanh(message)
                elif rim.output_gate == "bounded":
                    message = torch.tanh(message)
                new_h[n], c[b][n] = candidate[n][0] + message, candidate[n][1]
            h[b] = new_h
            actives.append([n in active for n in range(N)])
            attentions.append(P[..., 1:].sum(-1).mean(1).detach())
            comms.append(comm)
        outputs.append(torch.stack([torch.cat(h[b]) for b in range(B)]))
    h, c = (torch.stack([torch.stack(row) for row in x]) for x in (h, c))
    return (
        torch.stack(outputs), h, c, torch.tensor(actives).view(T, B, N),
        torch.stack(attentions).view(T, B, N), torch.stack(comms).view(T, B, A, N, N),
    )  # fmt: skip
