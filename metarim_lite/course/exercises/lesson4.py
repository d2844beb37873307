"""Lesson 04, recurrent independent mechanisms: a whole step, what it costs, what goes wrong in public code.

Letters as in lesson 03; the gates of a module's LSTM cell lie side by side in the order i, f, o, g.
"""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.func import functional_call

from ...models import LSTM, RIM
from ...models.attention import choose_active, eagerness
from ...models.controller import ControllerState
from ...models.controller import count_parameters as count
from ..declaring import exercise
from .lesson3 import input_attention
from .lesson3_competition import _said, active_set

exercise_4 = partial(exercise, lesson="04_recurrent_independent_mechanisms")


def some_of_N(dice, s):
    return dice.whole(1, s["N"] - 1)


@exercise_4(
    "4.1", "One step of a RIM", difficulty=4, importance=5, minutes=30, points=4, returns=("new_h", "new_c"),
    needs="3.1, 3.2, 3.4 and an LSTM's equations (2.1)",
    sizes=({"N": 5}, {"N": 4}, {"N": 6}), gradient=True, builds_on=("input_attention", "active_set", "communicate"),
    draws={"k": some_of_N},
    formula=r"""Four lines. **Read**: 3.1. **Compete**: 3.2. **Update**: each active module feeds what it read to a cell of its own,
$z_n = \text{read}_n W^{in}_n + h_n W^h_n + b_n$, in four parts i, f, o, g of H numbers:

$$c'_n = \sigma(f)\,c_n + \sigma(i)\tanh(g)$$

$$\tilde h_n = \sigma(o)\tanh(c'_n)$$

**Communicate**: 3.4, from the states $\tilde h$ of active and the old $h$ of inactive modules. An inactive module keeps h
and c to the bit.""",
    hints=(
        "Call your own functions of lesson 03: `input_attention`, `active_set`, `communicate`.",
        "`torch.einsum` with the letter n on both sides gives each module its own weights; "
        "`z.split(H, -1)` gives the four parts.",
        "`h = torch.where(active[..., None], candidate, h)` *before* `communicate`: nobody may hear the candidate of a "
        "module that lost.",
    ),
)  # fmt: skip
def rim_step(
    h: Float[Tensor, "B N H"], c: Float[Tensor, "B N H"], x: Float[Tensor, "B D"], k: int,
    W_q: Float[Tensor, "N H d_k"], W_e: Float[Tensor, "D d_k"], W_v: Float[Tensor, "D d_v"],
    W_in: Float[Tensor, "N d_v 4*H"], W_h: Float[Tensor, "N H 4*H"], b: Float[Tensor, "N 4*H"],
    C_q: Float[Tensor, "N H d_c"], C_k: Float[Tensor, "N H d_c"], C_v: Float[Tensor, "N H d_o"],
    C_out: Float[Tensor, "N d_o H"],
) -> tuple[Float[Tensor, "B N H"], Float[Tensor, "B N H"]]:  # fmt: skip
    """The package's RIM with these parameters, for a span of one step."""
    sizes = dict(key_size=W_e.shape[1], value_size=W_v.shape[1], comm_key_size=C_q.shape[-1], comm_value_size=C_v.shape[-1])
    with torch.device("meta"):
        rim = RIM(x.shape[-1], h.shape[-1], h.shape[1], k, comm_heads=1, kernel="plain", **sizes)
    weights = dict(W_q=W_q, b_q=torch.zeros_like(W_q[:, :1, :]), W_e=W_e, W_v=W_v, W_in=W_in, W_h=W_h, b=b.unsqueeze(1))
    weights |= dict(C_qkv=torch.cat([C_q, C_k, C_v], -1), C_out=C_out)
    _, state, _ = functional_call(rim, weights, (x.unsqueeze(0), ControllerState(h, c)))
    return state.h, state.c


def _wrong_step(h, c, x, k, W_q, W_e, W_v, W_in, W_h, b, C_q, C_k, C_v, C_out, *, bug=""):
    weights, read = input_attention(h, x, W_q, W_e, W_v)
    active = active_set(1 - weights if bug == "most null" else weights, h.shape[1] if bug == "all active" else k)[..., None]
    z = torch.einsum("bnv,nvg->bng", read, W_in) + torch.einsum("bnh,nhg->bng", h, W_h) + b
    i, f, o, g = z.split(h.shape[-1], -1)
    if bug == "order of gates":
        o, g = g, o
    new_c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    candidate = o.sigmoid() * new_c.tanh()
    offered = candidate if bug == "candidates heard" else torch.where(active, candidate, h)
    message = 0 if bug == "silent" else _said(offered, C_q, C_k, C_v, C_out)
    kept_c = new_c if bug == "cells move" else torch.where(active, new_c, c)
    return torch.where(active, candidate + message, h), kept_c


BUGS = {
    "cells move": "your inactive modules keep h, but their cell state c moves; they should keep both to the bit.",
    "candidates heard": "active modules hear the candidate states of modules that lost, so the input leaks past the bottleneck; "
    "an inactive module shows its old h.",
    "silent": "nobody communicates: the last of the four lines is missing.",
    "all active": "all N modules are active; only the k with the least attention on null should be.",
    "most null": "the modules with the *most* attention on null are active; take those with the least.",
    "order of gates": "the gates are in PyTorch's order i, f, g, o; here they lie in the order i, f, o, g.",
}  # fmt: skip
for _bug, _says in BUGS.items():
    rim_step.mistake(_says)(partial(_wrong_step, bug=_bug))


@exercise_4(
    "4.2", "Counting parameters", difficulty=2, importance=4, minutes=10, points=2, returns=("rim", "lstm"),
    needs="4.1", tolerance=(0, 0.1),
    draws={name: (lambda dice, s: dice.whole(2, 40)) for name in ("N", "H", "D", "d_k", "d_v", "d_c")},
    formula=r"""How many numbers does each learn? The RIM: input attention ($W^q$ and its bias $[N,1,d_k]$, $W^e$, $W^v$), N LSTM
cells with one bias each, communication with one head of size $d_c$ for query, key and value, and $C^o$. The LSTM: of the
same width N·H, on the same D inputs, with PyTorch's **two** biases.""",
    hints=(
        "Write down the shape of every tensor of 4.1; a parameter count is a sum of products.",
        "A cell: $d_v \\cdot 4H + H \\cdot 4H + 4H$, N times. Keys and values of the input exist once.",
        "The LSTM with W = N·H: $4W(D + W + 2)$. In it, N appears squared; in the RIM it does not.",
    ),
)  # fmt: skip
def count_parameters(N: int, H: int, D: int, d_k: int, d_v: int, d_c: int) -> tuple[int, int]:
    with torch.device("meta"):
        sizes = dict(key_size=d_k, value_size=d_v, comm_key_size=d_c, comm_value_size=d_c, comm_heads=1)
        return count(RIM(D, H, N, 1, **sizes)), count(LSTM(D, N * H))


@count_parameters.mistake("you count one cell for all modules; every module has its own.")
def one_cell(N, H, D, d_k, d_v, d_c):
    rim, lstm = count_parameters(N, H, D, d_k, d_v, d_c)
    return rim - (N - 1) * 4 * H * (d_v + H + 1), lstm


@count_parameters.mistake("you give the RIM a dense recurrence of (N·H)²; each module sees its own H numbers only.")
def dense(N, H, D, d_k, d_v, d_c):
    rim, lstm = count_parameters(N, H, D, d_k, d_v, d_c)
    return rim - N * H * 4 * H + 4 * (N * H) ** 2, lstm


@count_parameters.mistake("you count keys and values of the input once for each module; all modules share them.")
def own_keys(N, H, D, d_k, d_v, d_c):
    rim, lstm = count_parameters(N, H, D, d_k, d_v, d_c)
    return rim + (N - 1) * D * (d_k + d_v), lstm


@count_parameters.mistake("the RIM's communication is missing from your count.")
def no_communication(N, H, D, d_k, d_v, d_c):
    rim, lstm = count_parameters(N, H, D, d_k, d_v, d_c)
    return rim - 4 * N * H * d_c, lstm


@count_parameters.mistake("your LSTM has one bias; PyTorch's has two, b_ih and b_hh.")
def one_bias(N, H, D, d_k, d_v, d_c):
    rim, lstm = count_parameters(N, H, D, d_k, d_v, d_c)
    return rim, lstm - 4 * N * H


@exercise_4(
    "4.3", "Find the bug", difficulty=4, importance=4, minutes=30, points=4, returns=("active", "shown", "new_c"),
    needs="4.1", sizes=({"B": 9, "N": 6}, {"B": 8, "N": 7}, {"B": 7, "N": 5}),
    draws={"k": lambda dice, s: dice.whole(2, s["N"] - 2)},
    formula=r"""Three lines of public implementations, each with a mistake that nobody notices while it trains:

```python
active = top_k(scores[..., 1], k)      # 1: scores [B,N,2] of (null, input), before the softmax; keys have a bias here
shown = candidate_h                    # 2: what the others read in communication
new_c = where(active, candidate_h, c)  # 3: the cell state after the step
```

Say what each does wrong, and write the three as they should be. (Nothing ties here.)""",
    hints=(
        "1: with a bias in the keys, the score of null is not 0. What does the softmax compare?",
        "2: who lost the competition should not let the input past. 3: an LSTM has two states; which is which?",
        "1: rank by `scores[..., 1] - scores[..., 0]`. 2: `where(active, candidate_h, h)`. 3: `candidate_c`.",
    ),
)  # fmt: skip
def find_the_bug(
    scores: Float[Tensor, "B N 2"], k: int, h: Float[Tensor, "B N H"], c: Float[Tensor, "B N H"],
    candidate_h: Float[Tensor, "B N H"], candidate_c: Float[Tensor, "B N H"],
) -> tuple[Bool[Tensor, "B N"], Float[Tensor, "B N H"], Float[Tensor, "B N H"]]:  # fmt: skip
    active = choose_active(eagerness(scores.transpose(0, 1).unsqueeze(2)), k).t()
    writes = active.unsqueeze(-1)
    return active, torch.where(writes, candidate_h, h), torch.where(writes, candidate_c, c)


def _mended(active, h, c, candidate_h, candidate_c):
    return active, torch.where(active[..., None], candidate_h, h), torch.where(active[..., None], candidate_c, c)


@find_the_bug.mistake("bug 1 is still there: you rank by the score of the input alone, and a bias in the keys moves that of null, too.")
def raw_score(scores, k, h, c, candidate_h, candidate_c):
    return _mended(choose_active(scores[..., 1].t(), k).t(), h, c, candidate_h, candidate_c)


@find_the_bug.mistake("for bug 1 you rank by the score of null alone; the least *attention* on null needs both scores.")
def null_score(scores, k, h, c, candidate_h, candidate_c):
    return _mended(choose_active(-scores[..., 0].t(), k).t(), h, c, candidate_h, candidate_c)


@find_the_bug.mistake("bug 2 is still there: modules that lost show their candidate state, so the input leaks past the bottleneck.")
def leak(scores, k, h, c, candidate_h, candidate_c):
    active, _, new_c = find_the_bug(scores, k, h, c, candidate_h, candidate_c)
    return active, candidate_h, new_c


@find_the_bug.mistake("for bug 2 you hide the inactive modules (or show old states only); they show the h they keep, the active ones their new h.")
def hidden(scores, k, h, c, candidate_h, candidate_c):
    active, shown, new_c = find_the_bug(scores, k, h, c, candidate_h, candidate_c)
    return active, shown * active[..., None], new_c


@find_the_bug.mistake("bug 3 is still there: the cell state of active modules is overwritten by their hidden state.")
def overwritten(scores, k, h, c, candidate_h, candidate_c):
    active, shown, _ = find_the_bug(scores, k, h, c, candidate_h, candidate_c)
    return active, shown, torch.where(active[..., None], candidate_h, c)


@find_the_bug.mistake("with bug 3 gone, all modules' cells move; an inactive one keeps its c.")
def all_cells(scores, k, h, c, candidate_h, candidate_c):
    active, shown, _ = find_the_bug(scores, k, h, c, candidate_h, candidate_c)
    return active, shown, candidate_c


def _a_module_and_two_worlds(inputs, dice):
    B, N = inputs["h"].shape[:2]
    donor, receiver = dice.order(B)[:2].tolist()
    return inputs | {"n": dice.whole(0, N - 1), "donor": donor, "receiver": receiver}


@exercise_4(
    "4.4", "Transplant a module", difficulty=3, importance=3, minutes=20, points=3, returns=("new_h", "new_c"),
    needs="4.1", prepare=_a_module_and_two_worlds, tolerance=(0, 0),
    draws={name: (lambda dice, s: 0) for name in ("n", "donor", "receiver")},
    formula=r"""Module n of world `receiver` gets the state that module n of world `donor` has, both h and c. Nothing else changes,
and the states that you are given stay as they are.""",
    hints=(
        "A state is two tensors; a transplant of one of them is half a module.",
        "Work on a copy: `h.clone()`.",
        "`new_h[receiver, n] = h[donor, n]`, and the same with c.",
    ),
)  # fmt: skip
def transplant(
    h: Float[Tensor, "B N H"], c: Float[Tensor, "B N H"], n: int, donor: int, receiver: int
) -> tuple[Float[Tensor, "B N H"], Float[Tensor, "B N H"]]:
    place = torch.zeros(h.shape[:2], dtype=torch.bool)
    place[receiver, n] = True
    return tuple(torch.where(place[..., None], s[donor].unsqueeze(0), s) for s in (h, c))


@transplant.mistake("h is transplanted, c is not: a module remembers with both.")
def only_h(h, c, n, donor, receiver):
    return transplant(h, c, n, donor, receiver)[0], c


@transplant.mistake("you have donor and receiver the wrong way round.")
def wrong_way(h, c, n, donor, receiver):
    return transplant(h, c, n, receiver, donor)


@transplant.mistake("you exchange the two modules; the donor should keep its own state.")
def exchanged(h, c, n, donor, receiver):
    there, back = transplant(h, c, n, donor, receiver), transplant(h, c, n, receiver, donor)
    rows = (torch.arange(len(h)) == donor)[:, None, None]
    return tuple(torch.where(rows, b, a) for a, b in zip(there, back, strict=True))


@transplant.mistake("you transplant all modules of the donor; only module n should move.")
def whole_state(h, c, n, donor, receiver):
    rows = (torch.arange(len(h)) == receiver)[:, None, None]
    return tuple(torch.where(rows, s[donor].unsqueeze(0), s) for s in (h, c))


@exercise_4(
    "4.5", "Blocks", difficulty=2, importance=3, minutes=15, points=2, returns="y", needs="`torch.bmm` or `einsum`", gradient=True,
    formula=r"""N modules, each with a recurrence of its own: as one matrix it is block-diagonal, with zeros between the blocks. Public
code makes the (N·H)² matrix and masks it; its dead entries then enter Adam and gradient clipping. Write it as *one*
batched product, with no zeros at all.

$$y_n = h_n W_n$$

$$h\,[B,N,H],\; W\,[N,H,H] \;\to\; y\,[B,N,H]$$""",
    hints=(
        "`torch.bmm` multiplies [N, B, H] with [N, H, H]; the module axis comes first in both.",
        "`h.transpose(0, 1)` puts it first; a `reshape` to that shape would mix worlds and modules.",
        "`torch.bmm(h.transpose(0, 1), W).transpose(0, 1)`.",
    ),
)  # fmt: skip
def blocks(h: Float[Tensor, "B N H"], W: Float[Tensor, "N H H"]) -> Float[Tensor, "B N H"]:
    return torch.bmm(h.transpose(0, 1), W).transpose(0, 1)


@blocks.mistake("your blocks are transposed: y_n = h_n W_n, with h_n a row.")
def transposed(h, W):
    return blocks(h, W.transpose(1, 2))


@blocks.mistake("all modules use the first block; module n has its own, W[n].")
def first_block(h, W):
    return h @ W[0]


@blocks.mistake("every module's state goes through all blocks, added up: tie the n of W to the n of h.")
def all_blocks(h, W):
    return h @ W.sum(0)


@blocks.mistake("a reshape has mixed worlds and modules; use `transpose` to bring the module axis to the front.")
def reshaped(h, W):
    return torch.bmm(h.reshape(h.shape[1], h.shape[0], -1), W).reshape(h.shape)
