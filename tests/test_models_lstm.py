"""The LSTM baseline: PyTorch's own where no episode begins, the equations where one does."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metarim_lite.errors import UserError
from metarim_lite.models import LSTM, RIM, Interventions, count_parameters, matched_lstm_size
from metarim_lite.models.controller import ControllerState


def one_episode_at_a_time(lstm, x, state, resets):
    """nn.LSTM on one sequence at a time, cut by hand wherever an episode begins."""
    columns, ends = [], []
    for b in range(x.shape[1]):
        h, c, pieces = state.h[b : b + 1], state.c[b : b + 1], []
        cuts = [0, *[t for t in range(1, len(x)) if resets[t, b]], len(x)]
        for start, stop in zip(cuts, cuts[1:], strict=False):
            if resets[start, b]:
                h, c = torch.zeros_like(h), torch.zeros_like(c)
            out, (h, c) = lstm.lstm(x[start:stop, b : b + 1], (h[None], c[None]))
            h, c = h[0], c[0]
            pieces.append(out)
        columns.append(torch.cat(pieces))
        ends.append((h, c))
    return torch.cat(columns, 1), ControllerState(*(torch.cat(x) for x in zip(*ends, strict=True)))


@settings(max_examples=30)
@given(*[st.integers(1, 6)] * 4, st.sampled_from(["fused", "plain"]), st.floats(0, 1), st.integers(0, 10**6))
def test_resets_equal_separate_episodes_in_values_and_gradients(T, B, D, H, kernel, rate, seed):
    torch.manual_seed(seed)
    lstm, x = LSTM(D, H, kernel=kernel).double(), torch.randn(T, B, D, dtype=torch.float64, requires_grad=True)
    state = ControllerState(*(torch.randn(B, H, dtype=torch.float64, requires_grad=True) for _ in range(2)))
    resets = torch.rand(T, B) < rate
    probe = torch.randn(T, B, H, dtype=torch.float64)
    leaves = [x, *state, *lstm.parameters()]
    results = []
    for outputs, end in (lstm(x, state, resets)[:2], one_episode_at_a_time(lstm, x, state, resets)):
        loss = (outputs * probe).sum() + end.h.square().sum() + end.c.square().sum()
        results.append([outputs, *end, *torch.autograd.grad(loss, leaves, materialize_grads=True)])
    for ours, wanted in zip(*results, strict=True):
        assert (ours - wanted).abs().max() < 1e-10


def test_without_resets_it_is_nn_lstm_exactly():
    lstm, x = LSTM(5, 7), torch.randn(6, 3, 5)
    for resets in (None, torch.zeros(6, 3, dtype=torch.bool)):
        outputs, state, _ = lstm(x, None, resets)
        wanted, (h, c) = lstm.lstm(x)
        assert torch.equal(outputs, wanted) and torch.equal(state.h, h[0]) and torch.equal(state.c, c[0])


def bounded_by_hand(lstm, x, state, resets):
    """The equations, with the cell held within its bound at every step."""
    (h, c), outputs, p = state, [], lstm.lstm
    for x_t, begins in zip(x, resets.unsqueeze(-1), strict=True):
        h, c = torch.where(begins, 0, h), torch.where(begins, 0, c)
        z = x_t @ p.weight_ih_l0.T + p.bias_ih_l0 + h @ p.weight_hh_l0.T + p.bias_hh_l0
        i, f, g, o = z.chunk(4, -1)  # PyTorch's order
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        c = torch.where(c.abs() > lstm.cell_clip, lstm.cell_clip * c.sign(), c)
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    return torch.stack(outputs), ControllerState(h, c)


@settings(max_examples=20)
@given(*[st.integers(1, 6)] * 4, st.sampled_from(["fused", "plain"]), st.sampled_from([0, 0.3]), st.integers(0, 10**6))
def test_a_bounded_cell_equals_the_equations_in_values_and_gradients(T, B, D, H, kernel, rate, seed):
    torch.manual_seed(seed)
    lstm, x = LSTM(D, H, cell_clip=0.2, kernel=kernel).double(), torch.randn(T, B, D, dtype=torch.float64)
    state = ControllerState(*(torch.randn(B, H, dtype=torch.float64, requires_grad=True) for _ in range(2)))
    resets = torch.rand(T, B) < rate
    probe = torch.randn(T, B, H, dtype=torch.float64)
    leaves = [x.requires_grad_(), *state, *lstm.parameters()]
    results = []
    for outputs, end in (lstm(x, state, resets)[:2], bounded_by_hand(lstm, x, state, resets)):
        loss = (outputs * probe).sum() + end.h.square().sum() + end.c.square().sum()
        results.append([outputs, *end, *torch.autograd.grad(loss, leaves, materialize_grads=True)])
    for ours, wanted in zip(*results, strict=True):
        assert (ours - wanted).abs().max() < 1e-10


def test_one_span_equals_two_halves_with_the_state_carried_over():
    lstm, x, resets = LSTM(5, 7), torch.randn(20, 3, 5), torch.rand(20, 3) < 0.2
    whole, end, _ = lstm(x, None, resets)
    first, state, _ = lstm(x[:10], None, resets[:10])
    second, state, _ = lstm(x[10:], state, resets[10:])
    torch.testing.assert_close(torch.cat((first, second)), whole)
    torch.testing.assert_close(state, end)


def test_it_can_be_differentiated_twice_where_it_says_so():
    x, resets = torch.randn(4, 2, 3, requires_grad=True), torch.zeros(4, 2, dtype=torch.bool)
    lstm, seconds = LSTM(3, 5), []
    resets[2, 0] = True
    for kernel in ("plain", "fused"):
        lstm.kernel = kernel
        (first,) = torch.autograd.grad(lstm(x, None, resets)[0].square().sum(), x, create_graph=True)
        seconds.append(torch.autograd.grad(first.square().sum(), [x, *lstm.parameters()]))
    for a, b in zip(*seconds, strict=True):
        torch.testing.assert_close(a, b)
    lstm.kernel = "plain"
    (first,) = torch.autograd.grad(lstm(x)[0].square().sum(), x, create_graph=True)
    first.square().sum().backward()


def test_all_its_parameters_are_modules():
    lstm = LSTM(3, 4)
    assert lstm.parameter_groups() == {"modules": list(lstm.parameters()), "attention": []}


def test_the_cleared_state_is_zero():
    state = LSTM(3, 4).initial_state(2)
    assert state.h.shape == state.c.shape == (2, 4) and not state.h.any() and not state.c.any()


@pytest.mark.parametrize(
    ("D", "sizes"),
    [
        (128, {}),
        (128, {"num_modules": 8, "active": 2}),
        (10, {"hidden_size": 5}),
        (600, {"hidden_size": 100, "value_size": 400}),
    ],
)
def test_the_matched_size_is_the_nearest_in_parameters(D, sizes):
    wanted = count_parameters(RIM(D, **sizes))
    H = matched_lstm_size(D, **sizes)

    def off(h):
        return abs(count_parameters(LSTM(D, h)) - wanted)

    assert off(H) <= min(off(H + 1), off(max(1, H - 1)))


def test_interventions_need_modules():
    with pytest.raises(UserError, match="an LSTM has none"):
        LSTM(3, 4)(torch.zeros(2, 1, 3), interventions=Interventions(off=(0,)))


def test_impossible_sizes_and_inputs_are_refused():
    with pytest.raises(UserError, match="LSTM.hidden_size is 0"):
        LSTM(3, 0)
    with pytest.raises(UserError, match="unknown kernel 'fast'"):
        LSTM(3, 4, kernel="fast")
    with pytest.raises(UserError, match="expected a tensor \\[T,B,D\\] with D=3"):
        LSTM(3, 4)(torch.zeros(2, 1, 5))
