"""The two attentions of a RIM, as pure functions: who reads the input, and who reads whom.

Shapes are written with the module axis first, as the time loop of `rim.py` keeps them: N modules, B
sequences, E input elements, A heads, d_k and d_v numbers per head. Attention weights never mix
sequences. Source: Goyal et al., Recurrent Independent Mechanisms, arXiv 1909.10893, section 2.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..errors import UserError


def eagerness(scores: Float[Tensor, "N B A 1+E"]) -> Float[Tensor, "N B"]:
    """How much each module wants the input: log of (attention on the input / attention on null), from scores, null's
    first. It falls strictly with the attention on null (mean over heads), so that the k most eager are the k with the
    least attention on null; unlike that attention it does not round to a tie where a module is sure.

    Do not rank by the score of the input alone: a bias b in the keys adds Q_n·b to *all* scores of module n, null
    included. In the softmax it cancels, and here; in the score it does not. (Our keys have no bias.)
    """
    odds = scores[..., 1:].logsumexp(-1) - scores[..., 0]  # [N,B,A]
    if odds.shape[-1] == 1:
        return odds[..., 0]
    # The odds of the means over heads, in logarithms: the means themselves would round.
    on_input, on_null = nn.functional.logsigmoid(odds), nn.functional.logsigmoid(-odds)  # [N,B,A]
    return on_input.logsumexp(-1) - on_null.logsumexp(-1)


def share_out(
    scores: Float[Tensor, "N B A 1+E"], alive: Bool[Tensor, "N"] | None = None
) -> tuple[Float[Tensor, "N B A 1+E"], Float[Tensor, "N B"]]:
    """The authors' Atari code in place of the softmax over {null, input}: the modules share out each element among
    themselves, and nothing lies on null. A module that is not alive takes no share.

    Returns:
        Weights, those on null 0, and how eager each module is: what it took.
    """
    if alive is not None:
        scores = scores.masked_fill(~alive[:, None, None, None], -torch.inf)
    weights = scores.softmax(0)
    weights = torch.cat((torch.zeros_like(weights[..., :1]), weights[..., 1:]), -1)
    return weights, weights.mean(2).sum(-1)


def choose_active(preference: Float[Tensor, "N B"], k: int) -> Bool[Tensor, "N B"]:
    """The k most eager modules of each sequence.

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


def communicate(
    query: Float[Tensor, "N B A d_k"], key: Float[Tensor, "N B A d_k"], value: Float[Tensor, "N B A d_v"],
    readable: Bool[Tensor, "N"] | None = None,
) -> tuple[Float[Tensor, "N B A*d_v"], Float[Tensor, "B A N N"]]:  # fmt: skip
    """Every module reads the states of all modules (itself included): softmax(Q Kᵀ / √d_k) V.

    Args:
        query, key, value: of each module and head.
        readable: nobody reads a module where it is false. None = all can be read.

    Returns:
        What was read, heads side by side, and weights: reader on the second last axis, the module it reads on the
        last; rows sum to 1.
    """
    n, b, _, d_k = query.shape
    scores = torch.matmul(query.permute(1, 2, 0, 3), key.permute(1, 2, 3, 0))  # [B,A,N,d_k] x [B,A,d_k,N]
    if readable is not None:
        scores = scores.masked_fill(~readable, -torch.inf)
    weights = (scores / d_k**0.5).softmax(-1)  # [B,A,N,N]
    read = torch.matmul(weights, value.permute(1, 2, 0, 3))  # [B,A,N,N] x [B,A,N,d_v] -> [B,A,N,d_v]
    return read.permute(2, 0, 1, 3).reshape(n, b, -1), weights  # -> [N,B,A·d_v]
