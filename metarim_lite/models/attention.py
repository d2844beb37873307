"""The two attentions of a RIM, as pure functions: who reads the input, and who reads whom.

Shapes are written with the module axis first, as the time loop of `rim.py` keeps them: N modules, B
sequences, E input elements, A heads, d_k and d_v numbers per head. Attention weights never mix
sequences. Source: Goyal et al., Recurrent Independent Mechanisms, arXiv 1909.10893, section 2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import UserError, unknown

SOFTMAX_OVER = ("null", "modules")


def input_scores(query: Tensor, keys: Tensor) -> Tensor:
    """How well each module's query fits each input element: Q_n Kᵀ.

    Divide the keys by √d_k beforehand: once for all steps, not once a step.

    Args:
        query: [N,B,A,d_k], one query per module and head.
        keys: [B,E,A,d_k], one key per input element and head, shared by all modules.

    Returns:
        Scores [N,B,A,E].
    """
    if keys.shape[1] == 1:
        return (query * keys.transpose(1, 2).squeeze(2)).sum(-1, keepdim=True)  # [N,B,A,d_k] -> [N,B,A,1]
    return torch.einsum("nbad,bead->nbae", query, keys)


def input_attention(scores: Tensor, over: str = "null") -> tuple[Tensor, Tensor]:
    """Attention weights on the real input elements, and how much each module wants the input.

    The null element is a row of zeros. Keys have no bias, so its key is zero and its score is 0 for every
    module. (A bias b would add Q_n·b to *all* scores of module n, null included, and cancel in the softmax:
    that is why we have none, and why ranking by raw scores, where it would not cancel, is a bug.)

    Args:
        scores: [N,B,A,E].
        over: "null" (the paper): each module shares its attention between null and the E elements.
            "modules" (the authors' Atari code): the modules share out each element, and there is no null.

    Returns:
        weights: [N,B,A,E] on the real elements. With "null" the rest, 1 - Σ_e, lies on null.
        preference: [N,B], larger = more eager. With "null" it falls strictly with the attention on null
            (mean over heads), so that the k most eager are the k with the least attention on null.
    """
    if over not in SOFTMAX_OVER:
        raise unknown("softmax_over", over, SOFTMAX_OVER)
    heads, elements = scores.shape[2:]
    if over == "modules":
        weights = scores.softmax(0)
        return weights, weights.mean(2).sum(-1)  # [N,B,A,E] -> [N,B]
    if elements == 1:
        weights = scores.sigmoid()  # softmax of (0, s) is (1 - sigmoid(s), sigmoid(s))
        odds = scores[..., 0]
    else:
        with_null = torch.cat((torch.zeros_like(scores[..., :1]), scores), -1)  # [N,B,A,E] -> [N,B,A,1+E]
        weights = with_null.softmax(-1)[..., 1:]
        odds = scores.logsumexp(-1)  # log of (attention on the input / attention on null)
    if heads == 1:
        return weights, odds[:, :, 0]  # the same order as -null, and it never rounds to a tie
    # The odds of the means over heads, in logarithms, which do not round to a tie where -null would.
    on_input, on_null = nn.functional.logsigmoid(odds), nn.functional.logsigmoid(-odds)  # [N,B,A]
    return weights, on_input.logsumexp(-1) - on_null.logsumexp(-1)  # [N,B]


def choose_active(preference: Tensor, k: int) -> Tensor:
    """The k most eager modules of each sequence: bool [N,B] from preference [N,B].

    Exactly k are chosen, always: of modules that tie, the one with the lower index goes first, and one whose
    preference is NaN goes last.

    Raises:
        UserError: preference is no matrix, or k is not in 1 … N.

    >>> choose_active(torch.tensor([[1.0], [3.0], [3.0], [2.0]]), 2).flatten().tolist()
    [False, True, True, False]
    >>> choose_active(torch.zeros(4, 1), 2).flatten().tolist()
    [True, True, False, False]
    """
    if preference.dim() != 2 or not 1 <= k <= len(preference):
        raise UserError(f"k={k} of preferences {list(preference.shape)}; expected [N,B] and k from 1 to N")
    n = len(preference)
    preference = preference.nan_to_num(-torch.inf, torch.inf, -torch.inf)
    mine, other = preference.unsqueeze(1), preference.unsqueeze(0)  # [N,1,B], [1,N,B]
    lower_index = torch.ones(n, n, dtype=torch.bool, device=preference.device).tril_(-1).unsqueeze(-1)
    beaten_by = torch.where(lower_index, other >= mine, other > mine)  # [N,N,B]
    return beaten_by.sum(1) < k  # [N,B]


def communicate(query: Tensor, key: Tensor, value: Tensor, readable: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Every module reads the states of all modules (itself included): softmax(Q Kᵀ / √d_k) V.

    Args:
        query, key: [N,B,A,d_k].  value: [N,B,A,d_v].
        readable: bool [N]; nobody reads a module where it is false. None = all can be read.

    Returns:
        read: [N,B,A·d_v], heads side by side.
        weights: [B,A,N,N], reader on the second last axis, the module it reads on the last; rows sum to 1.
    """
    n, b, a, d_k = query.shape
    scores = torch.matmul(query.permute(1, 2, 0, 3), key.permute(1, 2, 3, 0))  # [B,A,N,d_k] x [B,A,d_k,N]
    if readable is not None:
        scores = scores.masked_fill(~readable, -torch.inf)
    weights = (scores / d_k**0.5).softmax(-1)  # [B,A,N,N]
    read = torch.matmul(weights, value.permute(1, 2, 0, 3))  # [B,A,N,N] x [B,A,N,d_v] -> [B,A,N,d_v]
    return read.permute(2, 0, 1, 3).reshape(n, b, -1), weights  # -> [N,B,A·d_v]
