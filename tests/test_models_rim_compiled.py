"""`kernel="compiled"` changes speed, not results, and gives way where no compiler works."""

import logging
import shutil

import pytest
import torch

from metarim_lite.models import RIM, fused


def both_kernels(kernel, **switches):
    torch.manual_seed(0)
    rim, x = RIM(5, 4, 3, 2, kernel=kernel, **switches), torch.randn(4, 3, 5)
    outputs, state, seen = rim(x, None, torch.rand(4, 3) < 0.3)
    outputs.square().sum().backward()
    return [outputs, *state, seen.input_attention, seen.communication, *(p.grad for p in rim.parameters())], seen.active


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler here")
@pytest.mark.parametrize("switches", [{}, {"output_gate": "gated"}, {"output_gate": "bounded"}, {"cell_clip": 0.2}])
def test_compiled_steps_equal_eager_steps(switches):
    (compiled, active), (eager, wanted) = both_kernels("compiled", **switches), both_kernels("fused", **switches)
    for step in (fused.STEP, fused.STEP_BACKWARD):
        assert step.fast is not None, "it was never called"
        assert step.fast is not step.function, "it fell back to eager steps"
    assert torch.equal(active, wanted)
    for x, y in zip(compiled, eager, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler here")
def test_spans_of_another_length_are_not_compiled_again():
    compiled = torch._dynamo.utils.counters["stats"]
    rim = RIM(5, 4, 3, 2, kernel="compiled")
    counts = []
    for T in (3, 4, 7):
        outputs, _, _ = rim(torch.randn(T, 6, 5))
        outputs.sum().backward()
        counts.append(compiled["unique_graphs"])
    assert counts[0] == counts[1] == counts[2] > 0


def test_an_exhausted_memory_is_no_missing_compiler(monkeypatch):
    def out_of_memory(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "compile", lambda function, **_: out_of_memory)
    step = fused.OrEager(lambda x: x + 1)
    with pytest.raises(torch.OutOfMemoryError):
        step(1)
    assert step.fast is out_of_memory


def test_without_a_compiler_it_runs_eagerly_and_says_so_once(monkeypatch, caplog):
    def no_compiler(function, **_):
        def fails(*_):
            raise RuntimeError("no C++ compiler")

        return fails

    monkeypatch.setattr(torch, "compile", no_compiler)
    fused.say_once.cache_clear()
    monkeypatch.setattr(fused, "STEP", fused.OrEager(fused.step))
    monkeypatch.setattr(fused, "STEP_BACKWARD", fused.OrEager(fused.step_backward))
    with caplog.at_level(logging.WARNING):
        (fallen_back, _), (eager, _) = both_kernels("compiled"), both_kernels("fused")
    assert [r.message for r in caplog.records] == [
        "torch.compile does not work here (RuntimeError): running eagerly, same results"
    ]
    for x, y in zip(fallen_back, eager, strict=True):
        assert torch.equal(x, y)
