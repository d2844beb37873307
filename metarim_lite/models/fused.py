"""The same RIM, differentiated by hand: what `rim.py` runs when a span is of the paper's default form.

Autograd records some forty small operations a step and replays each one backward; here a step is one
function forward and one backward. `step` is `RIM.step` for LSTM modules, one input element and one input head;
`step_backward` is its derivative, line by line from the bottom up. Two things make it fast: backward adds
the gradient of every weight in place, where autograd would add up T whole copies of it; and the two
functions hold no autograd, so that `torch.compile` can fuse each of them.

Letters and shapes as in `rim.py`: h, c [N,B,H]; k [B,d_k] (over √d_k) the key of the input; v its value, as it is,
[B,d_v], or `beforehand` times the input weights, [N,B,4H]; P = 2·d_k + d_v, query, key and value of one communication
head one below the other. Communication keeps the batch innermost, [N,A,d,B]: a matrix of N x N numbers per head and
sequence is too small for a batched product, while sums of products along rows of B numbers are fast, eagerly and
compiled. The products before and after take and give either layout, so nothing is ever transposed.

A module's read is one weight times one value, so values can be multiplied by the input weights beforehand, for all
steps at once: a few large products, which is what a GPU wants. But then every step reads N·B·4H numbers from memory,
and its way back reads and writes as many: on a CPU many products are faster, unless there are few sequences. (Never
by whether there is a gradient: who plays must round as who learns.)
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
MANY = 512  # sequences: from here on a CPU sums products up one after the other
AT_ONCE = 2**23  # numbers that are made beforehand on a CPU, at most: 32 MB
sigmoid_backward = torch.ops.aten.sigmoid_backward  # (gradient, σ(x)) -> gradient of x
tanh_backward = torch.ops.aten.tanh_backward


class Weights(NamedTuple):
    """W_h, b_h: the query from h, and beside it, if v comes times the input weights, the gates. Else W_z, b_z are the
    gates from h and what is read, side by side; they are empty otherwise. C_qkv, C_out: communication; queries in
    it over √d_k, C_out with C_gate beside it, if there is one. Each [N,in,out], C_qkv [N,out,in]."""

    W_h: Tensor
    b_h: Tensor
    W_z: Tensor
    b_z: Tensor
    C_qkv: Tensor
    C_out: Tensor


class Sizes(NamedTuple):
    active: int  # k
    heads: int  # A
    comm_key: int  # d_k of communication
    output_gate: str  # of messages: "none", "gated" or "bounded"
    cell_clip: float | None  # bound of |c|
    beforehand: bool  # v comes times the input weights


class Kept(NamedTuple):
    """What backward needs of a step."""

    q: Tensor  # [N,B,d_k]
    joined: Tensor  # [N,B,H+d_v], h and what is read; else empty
    alpha: Tensor  # [N,B,1], attention on the input
    ifo: Tensor  # [N,B,3H], the three gates
    g: Tensor  # [N,B,H]
    tanh_c: Tensor  # [N,B,H]
    active: Tensor  # [N,B,1], 1 or 0
    offered: Tensor  # [N,B,H], what each module shows to the others
    qkv: Tensor  # [N,A·P,B]
    attention: Tensor  # [N,N,A,B], reader first; 0 for inactive readers
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


def sum_of_products(x: Tensor, y: Tensor, axis: int) -> Tensor:
    """Σ x·y along an axis that both have, counted from the end. Of many sequences the products of all pairs of modules
    do not fit into a CPU's cache: one term after the other, then."""
    if x.shape[-1] < MANY or x.device.type != "cpu":
        return (x * y).sum(axis)
    (total, *xs), (first, *ys) = x.unbind(axis), y.unbind(axis)
    total = total * first
    for of_x, of_y in zip(xs, ys, strict=True):
        total = torch.addcmul(total, of_x, of_y)
    return total


def step(h: Tensor, c: Tensor, k: Tensor, v: Tensor, weights: Weights, sizes: Sizes) -> tuple[Tensor, Tensor, Kept]:
    """One step: the new h and c, and what to keep for backward. Plain autograd can differentiate it too.

    An inactive module reads 0, and keeps its state to the bit: of two finite numbers `lerp` by 0 or 1 is exactly the
    one or the other, in a quarter of the time of `torch.where`.
    """
    H = h.shape[-1]
    product, d_k = torch.bmm(h, weights.W_h) + weights.b_h, k.shape[-1]
    q, recurrent = product[..., :d_k], product[..., d_k:]  # [N,B,d_k], [N,B,4H] or empty
    score = (q * k).sum(-1)  # [N,B]
    active = choose_active(score.detach(), sizes.active)
    alpha = score.sigmoid().unsqueeze(-1)  # [N,B,1]

    if sizes.beforehand:
        joined, z = h[..., :0], torch.addcmul(recurrent, alpha, v)  # [N,B,4H]
    else:
        joined = torch.cat((h, alpha * v), -1)  # [N,B,H+d_v]
        z = torch.bmm(joined, weights.W_z) + weights.b_z  # [N,B,4H]
    ifo, g = z[..., : 3 * H].sigmoid(), tanh(z[..., 3 * H :])
    i, f, o = ifo.split(H, -1)
    new_c = torch.addcmul(f * c, i, g)
    if sizes.cell_clip is not None:
        new_c = new_c.clamp(-sizes.cell_clip, sizes.cell_clip)
    tanh_c = tanh(new_c)
    on = active.unsqueeze(-1).to(h.dtype)  # [N,B,1], 1 or 0
    offered, c = torch.lerp(h, o * tanh_c, on), torch.lerp(c, new_c, on)

    qkv = torch.bmm(weights.C_qkv, offered.transpose(1, 2))  # [N,A·P,B]
    query, key, value = split_heads(qkv, sizes)
    attention = sum_of_products(query.unsqueeze(1), key, -2).softmax(1) * on.view(on.shape[0], 1, 1, -1)  # [N,N,A,B]
    read = sum_of_products(attention.unsqueeze(3), value, -4).flatten(1, 2)  # [N,N,A,1,B], [N,A,d_v,B] -> [N,A·d_v,B]
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
    return h, c, Kept(q, joined, alpha, ifo, g, tanh_c, on, offered, qkv, attention, read, tanh_w, gate)


def step_backward(
    dh: Tensor, dc: Tensor, c: Tensor, k: Tensor, v: Tensor, kept: Kept, weights: Weights, sizes: Sizes
) -> tuple[Tensor, ...]:
    """From the gradients of the new h and c to those of the old h and c, of k and v, and of the products with W_h, W_z,
    C_qkv and C_out, from which those of weights follow. If v came times the input weights its gradient is α times
    the gates' part of the first product: who has a place for it writes it there, at once."""
    q, _, alpha, ifo, g, tanh_c, on, _, qkv, attention, _, tanh_w, gate = kept
    H = dh.shape[-1]

    query, key, value = split_heads(qkv, sizes)
    dmessage = dh
    if sizes.output_gate == "bounded":
        dmessage = tanh_backward(dh, tanh_w)
    elif sizes.output_gate == "gated":
        dmessage = torch.cat((tanh_backward(dh * gate, tanh_w), sigmoid_backward(dh * tanh_w, gate)), -1)  # [N,B,2H]
    dread = torch.bmm(weights.C_out, dmessage.transpose(1, 2)).unflatten(1, (sizes.heads, -1)).unsqueeze(1)
    dvalue = sum_of_products(attention.unsqueeze(3), dread, -5)  # [N,A,d_v,B]
    dattention = sum_of_products(dread, value, -2)  # [N,1,A,d_v,B] * [N,A,d_v,B] -> [N,N,A,B]
    dscores = attention * (dattention - (dattention * attention).sum(1, keepdim=True))
    dscores = dscores.unsqueeze(3)  # [N,N,A,1,B]
    dquery = sum_of_products(dscores, key, -4)  # [N,A,d_k,B]
    dkey = sum_of_products(dscores, query.unsqueeze(1), -5)  # [N,A,d_k,B]
    dqkv = torch.cat((dquery, dkey, dvalue), 2).flatten(1, 2)  # [N,A·P,B]
    doffered = torch.baddbmm(dh, dqkv.transpose(1, 2), weights.C_qkv)

    dh_new, dc_new = doffered * on, dc * on
    dh_old, dc_old = doffered - dh_new, dc - dc_new
    i, f, o = ifo.split(H, -1)
    dc_new = dc_new + tanh_backward(dh_new * o, tanh_c)
    if sizes.cell_clip is not None:
        dc_new = dc_new * ((f * c + i * g).abs() <= sizes.cell_clip)
    di, df, do = (sigmoid_backward(d, x) for d, x in ((dc_new * g, i), (dc_new * c, f), (dh_new * tanh_c, o)))
    gates = di, df, do, tanh_backward(dc_new * i, g)
    dc_old = torch.addcmul(dc_old, dc_new, f)

    if sizes.beforehand:
        dz = dv = dh[..., :0]
        dalpha = sum(d * x for d, x in zip(gates, v.split(H, -1), strict=True)).sum(-1, keepdim=True)  # [N,B,1]
    else:
        dz = torch.cat(gates, -1)  # [N,B,4H]
        djoined = torch.bmm(dz, weights.W_z.transpose(1, 2))  # [N,B,H+d_v]
        dh_old, of_read = dh_old + djoined[..., :H], djoined[..., H:]
        dv, dalpha = (alpha * of_read).sum(0), (of_read * v).sum(-1, keepdim=True)  # [B,d_v], [N,B,1]
    dscore = sigmoid_backward(dalpha, alpha)
    dproduct = torch.cat((dscore * k, *gates), -1) if sizes.beforehand else dscore * k  # [N,B,d_k+4H] or [N,B,d_k]
    dh_old = torch.baddbmm(dh_old, dproduct, weights.W_h.transpose(1, 2))
    return dh_old, dc_old, (dscore * q).sum(0), dv, dproduct, dz, dqkv, dmessage


def run_span(
    rim: Any, x: Tensor, h: Tensor, c: Tensor, resets: Tensor | None, record: bool
) -> tuple[Tensor, Tensor, Tensor, Diagnostics | None]:
    """All steps of a span of a RIM: inputs x [T,B,D], h and c [N,B,H], resets bool [T,B] or None -> outputs [T,B,N·H],
    the last h and c, diagnostics if they are to be recorded."""
    (T, B, _), N = x.shape, rim.num_modules
    rows = x.reshape(T * B, -1)  # what does not depend on the state is computed once, for all T·B
    keys = (rows @ (rim.W_e / math.sqrt(rim.key_size))).view(T, B, -1)  # [T,B,d_k]
    beforehand = x.device.type != "cpu" or (B < rim.value_size and T * B * rim.W_in[:, 0].numel() <= AT_ONCE)
    if beforehand:
        # The input weights of all modules side by side; of the two orders of x·W_v·W_in the one with fewer products.
        W_in = rim.W_in.transpose(0, 1).flatten(1)  # [d_v,N·4H]
        values = rows @ (rim.W_v @ W_in) if rim.input_size < rim.value_size else (rows @ rim.W_v) @ W_in  # [T·B,N·4H]
        values = values.view(T, B, N, -1).transpose(1, 2)  # [T,N,B,4H]
        W_h, b_h = torch.cat((rim.W_q, rim.W_h), -1), torch.cat((rim.b_q, rim.b), -1)
        W_z, b_z = x.new_empty(N, 0, 0), x.new_empty(N, 1, 0)
    else:
        values, W_h, b_h = (rows @ rim.W_v).view(T, B, -1), rim.W_q, rim.b_q  # [T,B,d_v]
        W_z, b_z = torch.cat((rim.W_h, rim.W_in), 1), rim.b
    C_out = rim.C_out if rim.C_gate is None else torch.cat((rim.C_out, rim.C_gate), -1)
    sizes = Sizes(rim.active, rim.comm_heads, rim.comm_key_size, rim.output_gate, rim.cell_clip, beforehand)
    span = RIMSpan(sizes, rim.kernel == "compiled")
    scale = x.new_ones(sizes.heads, rim.C_qkv.shape[-1] // sizes.heads)  # [A,P]
    scale[:, : sizes.comm_key].fill_(1 / math.sqrt(sizes.comm_key))  # (an assignment would make a GPU wait)
    C_qkv = (rim.C_qkv * scale.flatten()).transpose(1, 2).contiguous()
    tensors = h, c, keys, values, W_h, b_h, W_z, b_z, C_qkv, C_out
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
        _, _, keys, values, *rest = tensors
        weights, back = Weights(*rest), STEP_BACKWARD if self.compiled else step_backward
        grads, terms = Weights(*(torch.zeros_like(w) for w in weights)), []
        dkeys, dvalues = torch.empty_like(keys), torch.empty_like(values)
        douts = douts.unflatten(-1, (len(dh), -1)).transpose(1, 2)  # [T,B,N·H] -> [T,N,B,H]
        per_step = list(zip(*(x.unbind(0) for x in (douts, keys, values, dkeys, dvalues)), strict=True))
        for t, (dout, k, v, dk, dv) in reversed(list(enumerate(per_step))):
            h, c, *kept = flat[t * NUM_KEPT : (t + 1) * NUM_KEPT]
            kept = Kept(*kept)
            dh, dc, new_dk, new_dv, *ends = back(dh + dout, dc, c, k, v, kept, weights, self.sizes)
            dproduct, dz, dqkv, dmessage = ends
            dk.copy_(new_dk)
            if self.sizes.beforehand:
                torch.mul(dproduct[..., k.shape[-1] :], kept.alpha, out=dv)
            else:
                dv.copy_(new_dv)
            of_z, of_messages = (kept.joined.transpose(1, 2), dz), (kept.read, dmessage)
            terms.append(((h.transpose(1, 2), dproduct), of_z, (dqkv, kept.offered), of_messages))
            if t % GATHERED.get(h.device.type, 1) == 0:
                add_to(grads, terms)
                terms = []
            dh, dc = cleared(dh, dc, resets, t)
        return dh, dc, dkeys, dvalues, *grads


def add_to(grads: Weights, terms: Sequence[tuple[tuple[Tensor, Tensor], ...]]) -> None:
    """Add what some steps say of the gradients of weights: of each of their four products two factors, [N,·,B] and
    [N,B,·], the second being the gradient of what the biases were added to."""
    to = (grads.W_h, grads.b_h), (grads.W_z, grads.b_z), (grads.C_qkv, None), (grads.C_out, None)
    for (W, b), factors in zip(to, zip(*terms, strict=True), strict=True):
        left, right = (side_by_side(x, axis) for x, axis in zip(zip(*factors, strict=True), (2, 1), strict=True))
        W.baddbmm_(left, right)
        if b is not None:
            b.add_(right.sum(1, keepdim=True))


def side_by_side(steps: Sequence[Tensor], axis: int) -> Tensor:
    return steps[0] if len(steps) == 1 else torch.cat(steps, axis)


def _seen(kept: Kept) -> Diagnostics:
    """What is recorded of a step, in tensors of its own: those of `kept` are large, and are to be freed."""
    communication = kept.attention.permute(3, 2, 0, 1).clone()  # [N,N,A,B] -> [B,A,N,N]
    return Diagnostics(kept.active[..., 0].t().bool(), kept.alpha[..., 0].t(), communication)


STEP, STEP_BACKWARD = OrEager(step), OrEager(step_backward)
