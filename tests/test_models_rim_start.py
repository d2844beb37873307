"""How a RIM's parameters start: their scales, and what that means for what flows through them."""

import math

import pytest
import torch

from metarim_lite.models import LSTM, RIM

D, H, N = 400, 60, 6


@pytest.fixture(scope="module", params=["lstm", "gru"])
def rim(request):
    torch.manual_seed(0)
    return RIM(
        D, H, N, 4, key_size=30, value_size=200, comm_key_size=20, comm_value_size=25, comm_heads=2,
        cell=request.param, output_gate="gated",
    )  # fmt: skip


def test_every_linear_map_keeps_the_variance_of_what_it_is_given(rim):
    """A weight of n inputs has the standard deviation 1/√n."""
    inputs = {"W_e": D, "W_v": D, "W_q": H, "W_in": 200, "W_h": H, "C_qkv": H, "C_out": 50, "C_gate": 50}
    for name, n in inputs.items():
        weight = getattr(rim, name).detach()
        assert weight.shape[-2] == n
        assert weight.std().item() * math.sqrt(n) == pytest.approx(1, rel=0.05), name
        assert abs(weight.mean().item()) * math.sqrt(n) < 0.06, name
    assert {name for name, _ in rim.named_parameters()} == {*inputs, "b", "b_q"}


def test_biases_start_at_zero_but_for_open_forget_gates_and_queries_of_unit_size(rim):
    b = rim.b.detach()[:, 0]  # [N,gates], an LSTM's in the order i, f, o, g
    if rim.cell == "lstm":
        assert (b[:, H : 2 * H] == 1).all()
        b = torch.cat((b[:, :H], b[:, 2 * H :]), -1)
    assert (b == 0).all()
    assert rim.b_q.std().item() == pytest.approx(1, rel=0.15)


def test_an_open_forget_gate_is_what_remembers():
    """Without any input the cell keeps σ(1) of itself at each step."""
    rim = RIM(3, 4, 2, 2, kernel="plain")
    with torch.no_grad():
        for p in (rim.W_in, rim.W_h, rim.C_out):
            p.zero_()
        state = rim.initial_state(1)
        state = state._replace(c=torch.full_like(state.c, 0.8))
        _, after, _ = rim(torch.zeros(3, 1, 3), state)
    expected = 0.8 * torch.tensor(1.0).sigmoid() ** 3
    torch.testing.assert_close(after.c, torch.full_like(after.c, expected.item()))


def test_the_same_generator_draws_the_same_rim():
    a, b = RIM(5, 4, 3, 2), RIM(5, 4, 3, 2)
    for rim in (a, b):
        rim.reset_parameters(torch.Generator().manual_seed(1))
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_the_lstm_is_pytorchs_own_with_both_biases():
    """Also where an episode begins inside a span, which takes another way."""
    lstm = LSTM(3, 5)
    x, resets = torch.randn(6, 2, 3), torch.zeros(6, 2, dtype=torch.bool)
    resets[3, 0] = True
    for given in (None, resets):
        outputs, _, _ = lstm(x, None, given)
        whole, _ = lstm.lstm(x)
        torch.testing.assert_close(outputs[:, 1], whole[:, 1])
        if given is not None:
            again, _ = lstm.lstm(x[3:, :1])
            torch.testing.assert_close(outputs[3:, :1], again)
    assert lstm.lstm.bias_ih_l0.abs().min() > 0 and lstm.lstm.bias_hh_l0.abs().min() > 0
