"""The bench compares like with like."""

import torch

from metarim_lite.bench.rim import DenseWeights, plain_loop
from metarim_lite.models import RIM

CLOSE = {"rtol": 1e-3, "atol": 1e-4}


def test_the_plain_loop_of_the_bench_computes_our_rim():
    torch.manual_seed(0)
    rim, x = RIM(7, 8, 6, 4), torch.randn(6, 5, 7)
    (outputs,) = plain_loop(rim, x)
    torch.testing.assert_close(outputs, rim(x)[0], rtol=1e-4, atol=1e-5)
    wanted = torch.autograd.grad(rim(x)[0].square().sum(), list(rim.parameters()))
    for ours, theirs in zip(wanted, torch.autograd.grad(outputs.square().sum(), list(rim.parameters())), strict=True):
        torch.testing.assert_close(theirs, ours, **CLOSE)


def test_so_does_the_dense_loop_and_blocks_between_modules_stay_out_of_it():
    torch.manual_seed(0)
    rim, x = RIM(7, 8, 6, 4), torch.randn(6, 5, 7)
    dense = DenseWeights(rim)
    dense.W_h.data += 1 - dense.own_h  # what an optimizer may leave there
    (outputs,) = plain_loop(rim, x, dense)
    torch.testing.assert_close(outputs, rim(x)[0], rtol=1e-4, atol=1e-5)
    wanted = torch.autograd.grad(rim(x)[0].square().sum(), [rim.W_in, rim.W_h])
    for ours, theirs in zip(wanted, torch.autograd.grad(outputs.square().sum(), [dense.W_in, dense.W_h]), strict=True):
        N, rows, columns = ours.shape
        blocks = theirs.view(N, rows, N, columns).diagonal(dim1=0, dim2=2).permute(2, 0, 1)  # [N,rows,columns]
        torch.testing.assert_close(blocks, ours, **CLOSE)
