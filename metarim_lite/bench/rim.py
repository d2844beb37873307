"""How near a RIM comes to `nn.LSTM`, PyTorch's fused kernel, of the same width, and how far it is from plain loops
in the style of public RIM code: `metarim bench rim`."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..machine import fit_threads_to_cores, keep_freed_memory
from ..models import RIM, fused
from . import alternate, row

N, ACTIVE = 6, 4
PLAIN_LOOP = "plain loop, like public code"
DENSE_LOOP = "dense loop, like the authors'"


class Case(NamedTuple):
    T: int
    B: int
    D: int
    H: int
    paper: bool  # the paper's sizes of the attentions, or ours for small agents

    def __str__(self) -> str:
        return f"T{self.T} B{self.B} {N}x{self.H}"

    @property
    def width(self) -> int:
        """Of the state: all modules together."""
        return N * self.H

    def rim(self) -> RIM:
        if self.paper:
            return RIM.as_in_paper(self.D, self.width, N, ACTIVE)
        return RIM(self.D, self.H, N, ACTIVE)


CASES = (Case(50, 64, 600, 100, True), Case(20, 1024, 128, 32, False), Case(40, 256, 128, 32, False))


def bench_rim(rounds: int = 7) -> list[dict[str, Any]]:
    """Steps per second (T·B over the time of a span), ours and `nn.LSTM`'s in turns, medians of `rounds`.

    Rows: "eager" and "compiled" are forward and backward, "eager forward" is forward alone without gradient.
    "compiled" is left out where `torch.compile` does not work. Both sides have memory that is kept. The last rows of
    a size compare ours, eager, with `plain_loop` on batched and on dense weights, forward and backward.
    """
    keep_freed_memory()
    fit_threads_to_cores()
    rows = []
    for case in CASES:
        torch.manual_seed(0)
        rim, lstm = case.rim(), nn.LSTM(case.D, case.width)
        x = torch.randn(case.T, case.B, case.D)
        for mode, kernel in (("eager", "fused"), ("compiled", "compiled"), ("eager forward", "fused")):
            rim.kernel = kernel
            pass_once = forward if mode == "eager forward" else forward_backward
            ours, theirs = speed(pass_once, run_rim(rim), rim, x), speed(pass_once, lstm, lstm, x)
            ours(), theirs()  # warm up, and compile
            if kernel == "compiled" and fused.STEP.works is False:
                continue
            rows.append(row("rim", str(case), mode, *_with_peer(alternate(ours, theirs, rounds))))
        rim.kernel = "fused"
        ours = speed(forward_backward, run_rim(rim), rim, x)
        for peer, dense in ((PLAIN_LOOP, None), (DENSE_LOOP, DenseWeights(rim))):
            loop = speed(forward_backward, functools.partial(plain_loop, rim, dense=dense), dense or rim, x)
            ours(), loop()
            speeds = alternate(ours, loop, max(2, rounds // 2))
            rows.append(row("rim", str(case), "eager", speeds[0], peer, speeds[1]))
    return rows


class DenseWeights(nn.Module):
    """The cells' weights of all modules in two dense matrices, the blocks between modules zeroed before each use: how
    the authors' code makes its recurrence block-diagonal."""

    def __init__(self, rim: RIM) -> None:
        super().__init__()
        self.W_in = nn.Parameter(torch.block_diag(*rim.W_in.detach()))  # [N·d_v,N·4H]
        self.W_h = nn.Parameter(torch.block_diag(*rim.W_h.detach()))  # [N·H,N·4H]
        self.register_buffer("own_in", torch.block_diag(*torch.ones_like(rim.W_in)))
        self.register_buffer("own_h", torch.block_diag(*torch.ones_like(rim.W_h)))

    def gates(self, read: Tensor, h: Tensor) -> Tensor:
        """read [B,N,d_v], h [B,N,H] -> pre-activations [B,N,4H] without bias."""
        self.W_in.data.mul_(self.own_in)
        self.W_h.data.mul_(self.own_h)
        return (read.flatten(1) @ self.W_in + h.flatten(1) @ self.W_h).unflatten(1, (h.shape[1], -1))


def plain_loop(rim: RIM, x: Tensor, dense: DenseWeights | None = None) -> tuple[Tensor]:
    """The same RIM as public code writes it, on batch-first inputs and one step at a time: the input is indexed at
    every step and joined with a row of zeros, attention runs over both, the active modules are scattered into a
    mask, each small product is a batched one. Ours to write, nobody's to ship: a stand-in, not their code.

    Args:
        rim: LSTM modules, one input head, the paper's switches.  x: [T,B,D].
        dense: the cells' weights as dense matrices; None: one batched product for all modules.

    Returns:
        (outputs [T,B,N·H],)
    """
    x = x.transpose(0, 1)  # [T,B,D] -> [B,T,D]
    B, T, D = x.shape
    h, c = rim.initial_state(B)  # [B,N,H]
    A, d_k = rim.comm_heads, rim.comm_key_size

    def by_module(states: Tensor, weights: Tensor) -> Tensor:  # [B,N,in] x [N,in,out] -> [B,N,out]
        return torch.bmm(states.permute(1, 0, 2), weights).permute(1, 0, 2)

    trail = []
    for t in range(T):
        with_null = torch.cat((x[:, t].unsqueeze(1), torch.zeros(B, 1, D)), 1)  # [B,2,D]
        keys, values = with_null @ rim.W_e, with_null @ rim.W_v
        query = by_module(h, rim.W_q) + rim.b_q.squeeze(1)
        weights = (query @ keys.transpose(1, 2) / rim.key_size**0.5).softmax(-1)  # [B,N,2]
        winners = weights[..., 1].topk(rim.active, dim=1, largest=False).indices  # least attention on null
        mask = torch.zeros(B, rim.num_modules).scatter_(1, winners, 1.0).unsqueeze(-1)  # [B,N,1]
        read = weights @ values * mask

        driven = by_module(read, rim.W_in) + by_module(h, rim.W_h) if dense is None else dense.gates(read, h)
        gates = driven + rim.b.squeeze(1)
        i, f, o, g = gates.chunk(4, -1)
        new_c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        new_h = o.sigmoid() * new_c.tanh()
        new_h, c = mask * new_h + (1 - mask) * h, mask * new_c + (1 - mask) * c

        qkv = by_module(new_h, rim.C_qkv).view(B, rim.num_modules, A, -1).transpose(1, 2)  # [B,A,N,P]
        query, key, value = qkv.split((d_k, d_k, rim.comm_value_size), -1)
        weights = (query @ key.transpose(2, 3) / d_k**0.5).softmax(-1)  # [B,A,N,N]
        heard = (weights @ value).transpose(1, 2).flatten(2)  # [B,N,A·d_v]
        h = new_h + mask * by_module(heard, rim.C_out)
        trail.append(h.flatten(1))
    return (torch.stack(trail),)


def _with_peer(speeds: tuple[float, float]) -> tuple[float, str, float]:
    return speeds[0], "nn.LSTM", speeds[1]


def run_rim(rim: RIM) -> Callable[[Tensor], tuple]:
    return lambda x: rim(x, record=False)


def forward(run: Callable[[Tensor], tuple], module: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        run(x)


def forward_backward(run: Callable[[Tensor], tuple], module: nn.Module, x: Tensor) -> None:
    """With the gradient of the inputs too, as in an agent, whose encoder lies below."""
    module.zero_grad()
    run(x.requires_grad_())[0].sum().backward()
    x.grad = None


def speed(pass_once: Callable, run: Callable, module: nn.Module, x: Tensor) -> Callable[[], float]:
    def measure() -> float:
        start = time.perf_counter()
        pass_once(run, module, x)
        return x.shape[0] * x.shape[1] / (time.perf_counter() - start)

    return measure
