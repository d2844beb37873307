"""Every form of the RIM equals a plain loop written from the equations: values, diagnostics and gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rim_reference import reference_rim

from metarim_lite.models import RIM, fused

sizes = st.integers(1, 4)
forms = st.fixed_dictionaries(
    {
        "cell": st.sampled_from(["lstm", "gru"]),
        "inactive_offer": st.sampled_from(["old", "candidate"]),
        "output_gate": st.sampled_from(["none", "gated", "bounded"]),
        "softmax_over": st.sampled_from(["null", "modules"]),
        "input_heads": st.integers(1, 3),
    }
)


def compare(rim, T, B, E, with_resets):
    """Raises AssertionError unless values differ by < 1e-10 and gradients too."""
    inputs = torch.randn(T, B, E, rim.input_size, requires_grad=True)
    zero = rim.initial_state(B)
    h0, c0 = (torch.randn_like(x).requires_grad_() for x in zero)
    resets = torch.rand(T, B) < 0.4 if with_resets else None
    probe = torch.randn(T, B, rim.output_size), torch.randn_like(h0), torch.randn_like(c0)
    leaves = [inputs, h0, c0, *rim.parameters()]

    def run(result):
        outputs, h, c = result[:3]
        loss = (outputs * probe[0]).sum() + (h * probe[1]).sum() + (c * probe[2]).sum()
        return result, torch.autograd.grad(loss, leaves, allow_unused=True)

    def ours():
        outputs, state, diagnostics = rim(inputs[:, :, 0] if E == 1 else inputs, type(zero)(h0, c0), resets)
        return (outputs, *state, *diagnostics)

    (values, grads), (wanted, wanted_grads) = run(ours()), run(reference_rim(rim, inputs, h0, c0, resets))
    names = "outputs h c active input_attention communication".split()
    for name, x, y in zip(names, values, wanted, strict=True):
        assert x.shape == y.shape, name
        assert not x.numel() or (x.double() - y.double()).abs().max() < 1e-10, name
    for name, x, y in zip(["inputs", "h0", "c0", *dict(rim.named_parameters())], grads, wanted_grads, strict=True):
        x, y = (0 if z is None else z for z in (x, y))
        error = x - y
        assert isinstance(error, int) or not error.numel() or error.abs().max() < 1e-10, f"gradient of {name}"


# More than there are sequences, or fewer: they are multiplied by the input weights beforehand, or at each step.
VALUES = pytest.mark.parametrize("value_size", [64, 2], ids=["beforehand", "at each step"])


@pytest.fixture(autouse=True)
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(params=[1, fused.MANY], ids=["one after the other", "at once"])
def sums(request, monkeypatch):
    """How products of pairs of modules are summed up: as of many sequences, and as of few."""
    monkeypatch.setattr(fused, "MANY", request.param)


BOTH_SUMS = pytest.mark.usefixtures("sums")


@settings(max_examples=40)
@given(
    st.data(), st.integers(0, 10**6), st.sampled_from(["plain", "fused"]),
    st.sampled_from(["none", "gated", "bounded"]),
    st.booleans(), st.sampled_from([None, 0.5]),
)  # fmt: skip
def test_the_papers_form_with_and_without_the_authors_gate_equals_the_equations(
    data, seed, kernel, gate, with_resets, cell_clip
):
    torch.manual_seed(seed)
    D, H, N, T, B, d_k, d_v, A, c_k, c_v = (data.draw(sizes) for _ in range(10))
    rim = RIM(
        D, H, N, data.draw(st.integers(1, N)), key_size=d_k, value_size=d_v, comm_heads=A, comm_key_size=c_k,
        comm_value_size=c_v, kernel=kernel, output_gate=gate, cell_clip=cell_clip,
    )  # fmt: skip
    compare(rim, T, B, 1, with_resets)


@settings(max_examples=40)
@given(st.data(), forms, st.integers(0, 10**6), st.integers(1, 3), st.booleans())
def test_every_variant_equals_the_equations(data, form, seed, E, with_resets):
    torch.manual_seed(seed)
    D, H, N, T, B, d_k, d_v, A, c_k, c_v = (data.draw(sizes) for _ in range(10))
    rim = RIM(
        D, H, N, data.draw(st.integers(1, N)), key_size=d_k, value_size=d_v, comm_heads=A, comm_key_size=c_k,
        comm_value_size=c_v, **form,
    )  # fmt: skip
    compare(rim, T, B, E, with_resets)


@pytest.mark.parametrize("kernel", ["plain", "fused"])
@VALUES
@BOTH_SUMS
def test_a_longer_span_of_the_usual_sizes_equals_the_equations(value_size, kernel):
    compare(RIM(9, 8, 6, 4, kernel=kernel, value_size=value_size), T=12, B=3, E=1, with_resets=True)


@pytest.mark.parametrize("gathered", [5, 12, 100])
@pytest.mark.parametrize("output_gate", ["none", "gated", "bounded"])
@VALUES
@BOTH_SUMS
def test_gradients_of_weights_gathered_over_steps_are_those_of_the_steps(
    value_size, gathered, output_gate, monkeypatch
):
    monkeypatch.setitem(fused.GATHERED, "cpu", gathered)
    compare(RIM(9, 8, 6, 4, output_gate=output_gate, value_size=value_size), T=12, B=3, E=1, with_resets=True)


@VALUES
@BOTH_SUMS
def test_the_derivative_by_hand_can_be_differentiated_again(value_size):
    rim, x, resets = (
        RIM(3, 4, 4, 2, value_size=value_size),
        torch.randn(5, 2, 3, requires_grad=True),
        torch.rand(5, 2) < 0.3,
    )
    leaves = [x, *rim.parameters()]
    seconds = []
    for kernel in ("plain", "fused"):
        rim.kernel = kernel
        first = torch.autograd.grad(rim(x, None, resets)[0].square().sum(), leaves, create_graph=True)
        seconds.append(torch.autograd.grad(sum(g.square().sum() for g in first), leaves))
    for a, b in zip(*seconds, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@VALUES
@BOTH_SUMS
def test_task_batched_parameters_work_under_torch_func(value_size):
    rim, x = RIM(3, 4, 4, 2, value_size=value_size), torch.randn(2, 5, 2, 3)
    parameters = {name: torch.stack((p.detach(), 1.1 * p.detach())) for name, p in rim.named_parameters()}

    def loss(p, x):
        return torch.func.functional_call(rim, p, (x,))[0].square().sum()

    batched = torch.func.vmap(torch.func.grad(loss))(parameters, x)
    for task in range(2):
        with torch.no_grad():
            for name, p in rim.named_parameters():
                p.copy_(parameters[name][task])
        rim.zero_grad()
        rim(x[task])[0].square().sum().backward()
        for name, p in rim.named_parameters():
            torch.testing.assert_close(batched[name][task], p.grad)
