"""The bench compares like with like."""

import torch

from metarim_lite.bench_rim import plain_loop
from metarim_lite.models import RIM


def test_the_plain_loop_of_the_bench_computes_our_rim():
    torch.manual_seed(0)
    rim, x = RIM(7, 8, 6, 4), torch.randn(6, 5, 7)
    (outputs,) = plain_loop(rim, x)
    torch.testing.assert_close(outputs, rim(x)[0], rtol=1e-4, atol=1e-5)
    wanted = torch.autograd.grad(rim(x)[0].square().sum(), list(rim.parameters()))
    for ours, theirs in zip(wanted, torch.autograd.grad(outputs.square().sum(), list(rim.parameters())), strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-4)
