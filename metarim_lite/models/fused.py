"""The same RIM, differentiated by hand: what `rim.py` runs when a span is of the paper's default form.

Autograd records some forty small operations a step and replays each one backward; here a step is one
function forward and one backward. `step` is `RIM.step` for LSTM modules, one input element and one input head;
`step_backward` is its derivative, line by line from the bottom up. Two things make it fast: backward adds
the gradient of every weight in place, where autograd would add up T whole copies of it; and the two
functions hold no autograd, so that `torch.compile` can fuse each of them.

Letters and shapes as in `rim.py`: h, c [N,B,H]; k [B,d_k] (over √d_k) the key of the input, v [N,B,4H] its
value times the input weights; P = 2·d_k + d_v, query, key and value of one communication head one below the
other. Communication keeps the batch innermost, [N,A,d,B]: a matrix of N x N numbers per head and sequence is too
small for a batched product, while sums of products along rows of B numbers are fast, eagerly and compiled. The
products before and after take and give either layout, so nothing is ever transposed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..compiling import OrEager
from .attention import choose_active
from .by_hand import ByHand, cleared, walk
from .controller import Diagnostics

GATHERED = {"cpu": 1, "cuda": 20}  # steps whose share of the gradients of weights is computed in one product
AT_ONCE = 2**23  # numbers made of the inputs of a span that nobody learns from, at most: 32 MB
sigmoid_backward = torch.ops.aten.sigmoid_backward  # (gradient, σ(x)) -> gradient of x
tanh_backward = torch.ops.aten.tanh_backward


class Weights(NamedTuple):
    """W, b: gates and query from h. C_qkv, C_out: communication; C_out with C_gate beside it, if there is one. Each
    [N,in,out]."""

    W: Tensor
    b: Tensor
    C_qkv: Tensor
    C_out: Tensor


class Sizes(NamedTuple):
    active: int  # k
    heads: int  # A
    comm_key: int  # d_k of communication
    output_gate: str  # of messages: "none", "gated" or "bounded"
    cell_clip: float | None  # bound of |c|


class Kept(NamedTuple):
    """What backward needs of a step."""

    q: Tensor  # [N,B,d_k]
    alpha: Tensor  # [N,B,1], attention on the input
    ifo: Tensor  # [N,B,3H], the three gates
    g: Tensor  # [N,B,H]
    tanh_c: Tensor  # [N,B,H]
    active: Tensor  # [N,B,1], 1 or 0
    offered: Tensor  # [N,B,H], what each module shows to the others
    qkv: Tensor  # [N,A·P,B]
    attention: Tensor  # [N,N,A,B], reader first
    read: Tensor  # [N,A·d_v,B]
    tanh_w: Tensor  # [N,B,H], of a message tanh(w) or σ(g)·tanh(w); else empty
    gate: Tensor  # [N,B,H], σ(g); else empty


NUM_KEPT = 2 + len(Kept._fields)  # h, c and the rest


def tanh(x: Tensor) -> Tensor:
    """tanh x = 2σ(2x) - 1, exact to 1e-7 in float32, in less than half the time of `torch.tanh` on a CPU."""
    return (2 * x).sigmoid() * 2 - 1


def split_heads(qkv: Tensor, sizes: Sizes) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key [N,A,d_k,B] and value [N,A,d_v,B]."""
    x, d_k = qkv.unflatten(1, (sizes.heads, -1)), sizes.comm_key  # [N,A·P,B] -> [N,A,P,B]
    return x[:, :, :d_k], x[:, :, d_k : 2 * d_k], x[:, :, 2 * d_k :]


def step(h: Tensor, c: Tensor, k: Tensor, v: Tensor, weights: Weights, sizes: Sizes) -> tuple[Tensor, Tensor, Kept]:
    """One step: the new h and c, and what to keep for backward. Plain autograd can differentiate it too."""
    H = h.shape[-1]
    product = torch.baddbmm(weights.b, h, weights.W)  # [N,B,4H+d_k]
    recurrent, q = product[..., : 4 * H], product[..., 4 * H :]
    score = (q * k).sum(-1)  # [N,B]
    active = choose_active(score.detach(), sizes.active)
    alpha = score.sigmoid().unsqueeze(-1)  # [N,B,1]

    z = torch.addcmul(recurrent, alpha, v)  # [N,B,4H]
    ifo, g = z[..., : 3 * H].sigmoid(), tanh(z[..., 3 * H :])
    i, f, o = ifo.split(H, -1)
    new_c = torch.addcmul(f * c, i, g)
    if sizes.cell_clip is not None:
        new_c = new_c.clamp(-sizes.cell_clip, sizes.cell_clip)
    tanh_c = tanh(new_c)
    on = active.unsqueeze(-1).to(h.dtype)  # [N,B,1], 1 or 0
    # Of finite numbers exactly the one or the other, in a quarter of the time of `torch.where`.
    offered, c = torch.lerp(h, o * tanh_c, on), torch.lerp(c, new_c, on)

    qkv = torch.bmm(weights.C_qkv.transpose(1, 2), offered.transpose(1, 2))  # [N,A·P,B]
    query, key, value = split_heads(qkv, sizes)
    query = query.unsqueeze(1) * sizes.comm_key**-0.5  # [N,1,A,d_k,B]
    attention = (query * key).sum(3).softmax(1)  # [N,N,A,B]
    read = (attention.unsqueeze(3) * value).sum(1)  # [N,N,A,1,B] * [N,A,d_v,B] -> [N,A,d_v,B]
    # An inactive module reads 0, and keeps its state to the bit.
    read = (read * on.view(on.shape[0], 1, 1, -1)).flatten(1, 2)  # [N,A·d_v,B]
    tanh_w = gate = offered.new_empty(0)
    if sizes.output_gate == "gated":
        message = torch.bmm(read.transpose(1, 2), weights.C_out)  # [N,B,2H]
        tanh_w, gate = tanh(message[..., :H]), message[..., H:].sigmoid()
        h = torch.addcmul(offered, gate, tanh_w)
    elif sizes.output_gate == "bounded":
        tanh_w = tanh(torch.bmm(read.transpose(1, 2), weights.C_out))  # [N,B,H]; exactly 0 where nothing was read
        h = offered + tanh_w
    else:
        h = torch.baddbmm(offered, read.transpose(1, 2), weights.C_out)
    return h, c, Kept(q, alpha, ifo, g, tanh_c, on, offered, qkv, attention, read, tanh_w, gate)


def step_backward(
    dh: Tensor, dc: Tensor, c: Tensor, k: Tensor, v: Tensor, kept: Kept, weights: Weights, sizes: Sizes
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """From the gradients of the new h and c to those of the old h and c, of k, and of the three products
    [N,B,4H+d_k], [N,A·P,B] and [N,B,H or 2H], from which those of weights follow. That of v is α times the first 4H
    columns of the first product: who has a place for it writes it there, at once."""
    q, alpha, ifo, g, tanh_c, on, _, qkv, attention, _, tanh_w, gate = kept
    H, asks = dh.shape[-1], on.view(on.shape[0], 1, 1, -1)  # [N,B,1] -> [N,1,1,B]

    query, key, value = split_heads(qkv, sizes)
    dmessage = dh
    if sizes.output_gate == "bounded":
        dmessage = tanh_backward(dh, tanh_w)
    elif sizes.output_gate == "gated":
        dmessage = torch.cat((tanh_backward(dh * gate, tanh_w), sigmoid_backward(dh * tanh_w, gate)), -1)  # [N,B,2H]
    dread = torch.bmm(weights.C_out, dmessage.transpose(1, 2)).unflatten(1, (sizes.heads, -1))  # [N,A,d_v,B]
    dread = (dread * asks).unsqueeze(1)
    dvalue = (attention.unsqueeze(3) * dread).sum(0)
    dattention = (dread * value).sum(3)  # [N,1,A,d_v,B] * [N,A,d_v,B] -> [N,N,A,B]
    dscores = attention * (dattention - (dattention * attention).sum(1, keepdim=True)) * sizes.comm_key**-0.5
    dscores = dscores.unsqueeze(3)  # [N,N,A,1,B]
    dquery, dkey = (dscores * key).sum(1), (dscores * query.unsqueeze(1)).sum(0)
    dqkv = torch.cat((dquery, dkey, dvalue), 2).flatten(1, 2)  # [N,A·P,B]
    doffered = torch.baddbmm(dh, dqkv.transpose(1, 2), weights.C_qkv.transpose(1, 2))

    dh_new, dc_new = doffered * on, dc * on
    dh_old, dc_old = doffered - dh_new, dc - dc_new
    i, f, o = ifo.split(H, -1)
    dc_new = dc_new + tanh_backward(dh_new * o, tanh_c)
    if sizes.cell_clip is not None:
        dc_new = dc_new * ((f * c + i * g).abs() <= sizes.cell_clip)
    di, df = sigmoid_backward(dc_new * g, i), sigmoid_backward(dc_new * c, f)
    do, dg = sigmoid_backward(dh_new * tanh_c, o), tanh_backward(dc_new * i, g)
    dc_old = torch.addcmul(dc_old, dc_new, f)

    i_v, f_v, o_v, g_v = v.split(H, -1)
    dalpha = (di * i_v + df * f_v + do * o_v + dg * g_v).sum(-1, keepdim=True)  # [N,B,1]
    dscore = sigmoid_backward(dalpha, alpha)
    dproduct = torch.cat((di, df, do, dg, dscore * k), -1)  # [N,B,4H+d_k]
    dh_old = torch.baddbmm(dh_old, dproduct, weights.W.transpose(1, 2))
    return dh_old, dc_old, (dscore * q).sum(0), dproduct, dqkv, dmessage


def run_span(
    rim: Any, x: Tensor, h: Tensor, c: Tensor, resets: Tensor | None, record: bool
) -> tuple[Tensor, Tensor, Tensor, Diagnostics | None]:
    """All steps of a span of a RIM: inputs x [T,B,D], h and c [N,B,H], resets bool [T,B] or None -> outputs [T,B,N·H],
    the last h and c, diagnostics if they are to be recorded."""
    T, B, _ = x.shape
    most = max(1, AT_ONCE // (B * rim.num_modules * rim.W_in.shape[-1]))
    if T > most and not torch.is_grad_enabled():
        pieces = []  # since what is computed beforehand is much larger than what is asked for
        for some in (slice(t, t + most) for t in range(0, T, most)):
            *piece, h, c, seen = run_span(rim, x[some], h, c, None if resets is None else resets[some], record)
            pieces.append((*piece, *(seen or ())))
        outputs, *seen = map(torch.cat, zip(*pieces, strict=True))
        return outputs, h, c, Diagnostics(*seen) if record else None
    rows = x.reshape(T * B, -1)  # what does not depend on the state is computed once, for all T·B
    keys = (rows @ (rim.W_e / math.sqrt(rim.key_size))).view(T, B, -1)  # [T,B,d_k]
    # A module's read is one weight times one value, so the value can be multiplied by the input weights beforehand,
    # those of all modules side by side; of the two orders of x·W_v·W_in the one with fewer products.
    W_in = rim.W_in.transpose(0, 1).flatten(1)  # [d_v,N·4H]
    values = rows @ (rim.W_v @ W_in) if rim.input_size < rim.value_size else (rows @ rim.W_v) @ W_in  # [T·B,N·4H]
    values = values.view(T, B, rim.num_modules, -1).transpose(1, 2)  # [T,N,B,4H]
    W, b = torch.cat((rim.W_h, rim.W_q), -1), torch.cat((rim.b, rim.b_q), -1)
    C_out = rim.C_out if rim.C_gate is None else torch.cat((rim.C_out, rim.C_gate), -1)
    sizes = Sizes(rim.active, rim.comm_heads, rim.comm_key_size, rim.output_gate, rim.cell_clip)
    span, tensors = RIMSpan(sizes, rim.kernel == "compiled"), (h, c, keys, values, W, b, rim.C_qkv, C_out)
    outputs, h, c, seen = ByHand.run(span, resets, record, *tensors)
    return outputs, h, c, Diagnostics(*seen) if record else None


class RIMSpan(NamedTuple):
    """`step` T times, and the way back: see `ByHand`."""

    sizes: Sizes
    compiled: bool

    def run(self, resets: Tensor | None, keep: bool, record: bool, *tensors: Tensor) -> tuple:
        h, c, keys, values, *rest = tensors
        # One layout for all spans, so that one compilation serves them; that of keys and values is the same anyway.
        h, c, weights = h.contiguous(), c.contiguous(), Weights(*(w.contiguous() for w in rest))
        advance_by = STEP if self.compiled else step

        def advance(h: Tensor, c: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, tuple[tuple, tuple]]:
            new_h, new_c, kept = advance_by(h, c, k, v, weights, self.sizes)
            return new_h, new_c, ((h, c, *kept) if keep else (), _seen(kept) if record else ())

        trail, h, c, said = walk(advance, h, c, (keys, values), resets, keep or record)
        outputs = torch.stack([h.transpose(0, 1) for h in trail]).flatten(2)  # [T,B,N,H] -> [T,B,N·H]
        kept = [x for for_backward, _ in said for x in for_backward]
        return outputs, h, c, kept, Diagnostics.of_steps(seen for _, seen in said) if record else ()

    def backward(
        self, resets: Tensor | None, tensors: list[Tensor], flat: list[Tensor], douts: Tensor, dh: Tensor, dc: Tensor
    ) -> tuple[Tensor, ...]:
        h0, _, keys, values, *rest = tensors
        weights, back = Weights(*rest), STEP_BACKWARD if self.compiled else step_backward
        grads, terms = Weights(*(torch.zeros_like(w) for w in weights)), []
        dkeys, dvalues = torch.empty_like(keys), torch.empty_like(values)
        N, _, H = h0.shape
        douts = douts.unflatten(-1, (N, H)).transpose(1, 2)  # [T,B,N·H] -> [T,N,B,H]
        per_step = list(zip(*(x.unbind(0) for x in (douts, keys, values, dkeys, dvalues)), strict=True))
        for t, (dout, k, v, dk, dv) in reversed(list(enumerate(per_step))):
            h, c, *kept = flat[t * NUM_KEPT : (t + 1) * NUM_KEPT]
            kept = Kept(*kept)
            dh, dc, new_dk, dproduct, dqkv, dmessage = back(dh + dout, dc, c, k, v, kept, weights, self.sizes)
            dk.copy_(new_dk)
            torch.mul(dproduct[..., : 4 * H], kept.alpha, out=dv)
            terms.append((h, dproduct, kept.offered, dqkv, kept.read, dmessage))
            if t % GATHERED.get(h.device.type, 1) == 0:
                add_to(grads, terms)
                terms = []
            dh, dc = cleared(dh, dc, resets, t)
        return dh, dc, dkeys, dvalues, *grads


def add_to(grads: Weights, terms: Sequence[tuple[Tensor, ...]]) -> None:
    """Add what some steps say of the gradients of weights: (h, dproduct, offered, dqkv, read, dmessage) of each."""
    with_axis_b = zip(zip(*terms, strict=True), (1, 1, 1, 2, 2, 1), strict=True)
    h, dproduct, offered, dqkv, read, dmessage = (x[0] if len(x) == 1 else torch.cat(x, b) for x, b in with_axis_b)
    grads.W.baddbmm_(h.transpose(1, 2), dproduct)
    grads.b.add_(dproduct.sum(1, keepdim=True))
    grads.C_qkv.baddbmm_(offered.transpose(1, 2), dqkv.transpose(1, 2))
    grads.C_out.baddbmm_(read, dmessage)


def _seen(kept: Kept) -> Diagnostics:
    """What is recorded of a step, in tensors of its own: those of `kept` are large, and are to be freed."""
    active = kept.active[..., 0].t()  # [B,N]
    communication = (kept.attention * active.t()[:, None, None]).permute(3, 2, 0, 1)  # [N,N,A,B] -> [B,A,N,N]
    return Diagnostics(active.bool(), kept.alpha[..., 0].t(), communication)


STEP, STEP_BACKWARD = OrEager(step), OrEager(step_backward)
