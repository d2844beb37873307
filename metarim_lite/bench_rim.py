"""How near a RIM comes to `nn.LSTM`, PyTorch's fused kernel, of the same width: `metarim bench rim`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .bench import alternate, row
from .machine import fit_threads_to_cores, keep_freed_memory
from .models import RIM, fused

N, ACTIVE = 6, 4


class Case(NamedTuple):
    T: int
    B: int
    D: int
    H: int
    paper: bool  # the paper's sizes of the attentions, or ours for small agents

    def __str__(self) -> str:
        return f"T{self.T} B{self.B} {N}x{self.H}"

    def rim(self) -> RIM:
        if self.paper:
            return RIM.as_in_paper(self.D, N * self.H, N, ACTIVE)
        return RIM(self.D, self.H, N, ACTIVE)


CASES = (Case(50, 64, 600, 100, True), Case(20, 1024, 128, 32, False), Case(40, 256, 128, 32, False))


def bench_rim(rounds: int = 7) -> list[dict[str, Any]]:
    """Steps per second (T·B over the time of a span), ours and `nn.LSTM`'s in turns, medians of `rounds`.

    Rows: "eager" and "compiled" are forward and backward, "eager forward" is forward alone without gradient.
    "compiled" is left out where `torch.compile` does not work. Both sides have memory that is kept.
    """
    keep_freed_memory()
    fit_threads_to_cores()
    rows = []
    for case in CASES:
        torch.manual_seed(0)
        rim, lstm = case.rim(), nn.LSTM(case.D, N * case.H)
        x = torch.randn(case.T, case.B, case.D)
        for mode, kernel in (("eager", "fused"), ("compiled", "compiled"), ("eager forward", "fused")):
            rim.kernel = kernel
            pass_once = forward if mode == "eager forward" else forward_backward
            ours, theirs = speed(pass_once, run_rim(rim), rim, x), speed(pass_once, lstm, lstm, x)
            ours(), theirs()  # warm up, and compile
            if kernel == "compiled" and fused.STEP.fast is fused.STEP.function:
                continue
            rows.append(row("rim", str(case), mode, *_with_peer(alternate(ours, theirs, rounds))))
    return rows


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
