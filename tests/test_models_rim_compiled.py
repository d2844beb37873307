"""`kernel="compiled"` changes speed, not results, and gives way where no compiler works."""

import logging
import shutil

import pytest
import torch

from metarim_lite import compiling
from metarim_lite.compiling import OrEager, can_compile
from metarim_lite.models import RIM, fused


def both_kernels(kernel, **switches):
    torch.manual_seed(0)
    rim, x = RIM(5, 4, 3, 2, kernel=kernel, **switches), torch.randn(4, 3, 5)
    outputs, state, seen = rim(x, None, torch.rand(4, 3) < 0.3)
    outputs.square().sum().backward()
    return [outputs, *state, seen.input_attention, seen.communication, *(p.grad for p in rim.parameters())], seen.active


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler here")
@pytest.mark.parametrize(
    "switches",
    [{}, {"output_gate": "gated", "value_size": 2}, {"output_gate": "bounded"}, {"cell_clip": 0.2, "value_size": 2}],
)
def test_compiled_steps_equal_eager_steps(switches):
    (compiled, active), (eager, wanted) = both_kernels("compiled", **switches), both_kernels("fused", **switches)
    for step in (fused.STEP, fused.STEP_BACKWARD):
        assert step.works is not None, "it was never called"
        assert step.works, "it fell back to eager steps"
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
    step = OrEager(lambda x: x + 1)
    for _ in range(2):  # the second time, too: it was not taken for a reason to run eagerly
        with pytest.raises(torch.OutOfMemoryError):
            step(torch.ones(1))


def test_without_a_compiler_it_runs_eagerly_and_says_so_once(monkeypatch, caplog):
    def no_compiler(function, **_):
        def fails(*_):
            raise RuntimeError("no C++ compiler")

        return fails

    monkeypatch.setattr(torch, "compile", no_compiler)
    compiling.say_once.cache_clear()
    monkeypatch.setattr(fused, "STEP", OrEager(fused.step))
    monkeypatch.setattr(fused, "STEP_BACKWARD", OrEager(fused.step_backward))
    with caplog.at_level(logging.WARNING):
        (fallen_back, _), (eager, _) = both_kernels("compiled"), both_kernels("fused")
    assert [r.message for r in caplog.records] == [
        "torch.compile does not work here (RuntimeError): running eagerly, same results"
    ]
    for x, y in zip(fallen_back, eager, strict=True):
        assert torch.equal(x, y)


def test_each_number_of_sequences_is_compiled_once_and_more_than_pytorchs_limit_of_them(monkeypatch):
    """Dynamo alone would run the ninth eagerly. With its backend "eager", which needs no compiler."""
    compiled, real = torch._dynamo.utils.counters["stats"], torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **options: real(function, backend="eager", **options))
    double, before = OrEager(lambda x: 2 * x), compiled["unique_graphs"]
    for _ in range(2):
        for B in range(1, 13):
            assert double(torch.ones(B)).tolist() == [2.0] * B
    assert double.works and compiled["unique_graphs"] - before == 12


def test_beyond_so_many_shapes_further_ones_run_eagerly(monkeypatch):
    monkeypatch.setattr(compiling, "MOST", 2)
    monkeypatch.setattr(torch, "compile", lambda function, **_: lambda x: function(x) + 1)  # to be told apart
    step = OrEager(lambda x: x)
    assert [step(torch.zeros(B)).max().item() for B in (1, 2, 3, 1, 4)] == [1, 1, 0, 1, 0]


def test_a_machine_without_a_working_compiler_is_recognised_at_a_look(monkeypatch):
    def missing():
        raise RuntimeError("no compiler")

    for compiler in (missing, lambda: "false", lambda: "/no/such/g++"):
        can_compile.cache_clear()
        monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", compiler)
        assert can_compile() is False
    can_compile.cache_clear()


@pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler here")
def test_a_machine_with_a_compiler_is_recognised_and_one_without_triton_is_none_for_a_gpu(monkeypatch):
    monkeypatch.setattr("torch.utils._triton.has_triton", lambda: False)
    can_compile.cache_clear()
    assert can_compile("cpu") and not can_compile("cuda") and not can_compile("mps")
    can_compile.cache_clear()
