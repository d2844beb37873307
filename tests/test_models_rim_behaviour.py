"""What a RIM promises: who is active, what stands still, what cannot leak, what resets and spans mean."""

from functools import partial

import pytest
import torch

from metarim_lite.errors import UserError
from metarim_lite.models import LSTM, RIM, Interventions
from metarim_lite.models.controller import ControllerState, count_parameters

KERNELS = ("plain", "fused")
GATES = ({"output_gate": "gated"}, {"output_gate": "bounded"})
FORMS = ({}, {"cell": "gru"}, {"input_heads": 2}, *GATES, {"softmax_over": "modules"})
T, B, D = 9, 5, 7


@pytest.fixture(params=[*KERNELS, *range(1, len(FORMS))])
def rim(request):
    """The paper's form with each kernel, then each variant."""
    torch.manual_seed(1)
    if request.param in KERNELS:
        return RIM(D, 8, 6, 4, kernel=request.param)
    return RIM(D, 8, 6, 4, **FORMS[request.param])


def random_state(rim):
    return ControllerState(*(torch.randn_like(x) for x in rim.initial_state(B)))


def test_exactly_k_modules_are_active_at_every_step(rim):
    _, _, seen = rim(torch.randn(T, B, D), random_state(rim), torch.rand(T, B) < 0.3)
    assert (seen.active.sum(-1) == 4).all()


def test_exactly_k_modules_are_active_where_all_scores_tie(rim):
    _, _, seen = rim(torch.zeros(T, B, D))  # zero input: zero keys, all scores 0
    assert (seen.active.sum(-1) == 4).all()


def test_inactive_modules_keep_their_state_bit_for_bit(rim):
    state = random_state(rim)
    for x in torch.randn(T, 1, B, D):
        _, after, seen = rim(x, state)
        idle = ~seen.active[0]  # [B,N]
        assert torch.equal(after.h[idle], state.h[idle]) and torch.equal(after.c[idle], state.c[idle])
        assert (after.h[~idle] != state.h[~idle]).any(-1).all()
        state = after


def test_gradient_flows_through_the_state_of_an_inactive_module():
    for kernel in KERNELS:
        rim = RIM(D, 8, 6, 4, kernel=kernel)
        h = torch.randn(1, 6, 8, requires_grad=True)
        _, after, seen = rim(torch.randn(1, 1, D), ControllerState(h, torch.zeros(1, 6, 8)))
        n = (~seen.active[0, 0]).nonzero()[0, 0]
        (grad,) = torch.autograd.grad(after.h[0, n].sum(), h)
        assert torch.equal(grad[0, n], torch.ones(8)) and grad[0].sum() == 8


def test_a_modules_cell_weights_change_no_other_modules_candidate(rim):
    """Communication off: what is left of a step is the candidates."""
    rim.active = 6
    with torch.no_grad():
        rim.C_out.zero_()
        x, state = torch.randn(1, B, D), random_state(rim)
        before = rim(x, state)[1]
        for p in rim.parameter_groups()["modules"]:
            p[2] += torch.randn_like(p[2])
        after = rim(x, state)[1]
    others = [0, 1, 3, 4, 5]
    assert torch.equal(after.h[:, others], before.h[:, others]) and torch.equal(after.c[:, others], before.c[:, others])
    assert (after.h[:, 2] != before.h[:, 2]).any()


def losers_weights_matter(rim) -> bool:
    """Change the cell weights of modules that lose: does any other module's state change at this step?"""
    x, state = torch.randn(1, 1, D), ControllerState(*(s[:1] for s in random_state(rim)))
    with torch.no_grad():
        _, before, seen = rim(x, state)
        lost = ~seen.active[0, 0]
        for p in rim.parameter_groups()["modules"]:
            p[lost] += 1
        _, after, _ = rim(x, state)
    return not torch.equal(after.h, before.h)


def test_the_input_does_not_leak_through_modules_that_lost_the_competition(rim):
    assert not losers_weights_matter(rim)


def test_it_does_leak_where_inactive_modules_offer_their_candidate():
    assert losers_weights_matter(RIM(D, 8, 6, 4, inactive_offer="candidate"))


def test_communication_leaves_the_cell_state_alone(rim):
    x, state = torch.randn(1, B, D), random_state(rim)
    with torch.no_grad():
        before = rim(x, state)[1]
        rim.C_out.mul_(-3)
        after = rim(x, state)[1]
    assert torch.equal(after.c, before.c) and not torch.equal(after.h, before.h)


def test_the_cell_state_is_not_the_hidden_state():
    _, state, _ = RIM(D)(torch.randn(T, B, D))
    assert not torch.isclose(state.h, state.c).all(-1).any()


def test_only_active_modules_query_and_they_read_all_modules(rim):
    _, _, seen = rim(torch.randn(T, B, D))
    rows = seen.communication.sum(-1)  # [T,B,A,N]
    torch.testing.assert_close(rows, seen.active.unsqueeze(2).float().expand_as(rows))
    reads_idle = seen.communication * ~seen.active[:, :, None, None, :]
    assert (reads_idle.sum((-1, -2)) > 0).all()


def test_a_reset_clears_the_state_before_its_step(rim):
    x, resets = torch.randn(T, B, D), torch.zeros(T, B, dtype=torch.bool)
    resets[4, 1] = True
    whole, _, _ = rim(x, random_state(rim), resets)
    torch.testing.assert_close(whole[4:, 1:2], rim(x[4:, 1:2])[0])
    untouched = torch.tensor([0, 2, 3, 4])
    torch.manual_seed(3)
    state = random_state(rim)
    torch.testing.assert_close(rim(x, state, resets)[0][:, untouched], rim(x, state)[0][:, untouched])


def test_no_gradient_crosses_a_reset(rim):
    x, resets = torch.randn(T, B, D, requires_grad=True), torch.zeros(T, B, dtype=torch.bool)
    resets[4] = True
    (grad,) = torch.autograd.grad(rim(x, None, resets)[0][4:].square().sum(), x)
    assert (grad[:4] == 0).all() and (grad[4:] != 0).any()


def test_one_span_equals_two_halves_with_the_state_carried_over(rim):
    x, resets = torch.randn(20, B, D), torch.rand(20, B) < 0.2
    whole, end, seen = rim(x, None, resets)
    first, state, _ = rim(x[:10], None, resets[:10])
    second, state, seen_second = rim(x[10:], state, resets[10:])
    torch.testing.assert_close(torch.cat((first, second)), whole)
    torch.testing.assert_close(state, end)
    assert torch.equal(seen_second.active, seen.active[10:])


def test_sequences_of_a_batch_do_not_know_of_each_other(rim):
    x, state = torch.randn(T, B, D), random_state(rim)
    alone = rim(x[:, 2:3], ControllerState(*(s[2:3] for s in state)))[0]
    torch.testing.assert_close(rim(x, state)[0][:, 2:3], alone)


def test_it_plays_as_it_learns(rim):
    """No dropout, no batch statistics, no dice: twice the same, in training mode and out of it, recorded or not."""
    x = torch.randn(T, B, D)
    learning = rim.train()(x)[0]
    with torch.no_grad():
        playing, _, nothing = rim.eval()(x, record=False)
    assert nothing is None and torch.equal(learning, playing) and torch.equal(rim(x)[0], playing)


def test_the_cleared_state_is_zero_and_None_means_cleared(rim):
    state = rim.initial_state(B)
    assert not state.h.any() and not state.c.any() and len(state.h) == len(state.c) == B
    x = torch.randn(T, B, D)
    assert torch.equal(rim(x)[0], rim(x, state)[0])


def test_from_the_first_step_of_an_episode_the_winners_depend_on_the_input():
    """Without the query's bias all scores tie at h = 0, and modules 0 to k-1 win whatever they are shown."""
    rim = RIM(32)
    first = rim(torch.randn(1, 200, 32))[2]
    assert len(first.active[0].unique(dim=0)) >= 10  # of 15 possible sets
    share = first.active[0].float().mean(0)
    assert share.min() > 0.2, "a module that never wins never learns"
    attention = first.input_attention
    assert attention.std() > 0.05 and ((attention > 0.02) & (attention < 0.98)).float().mean() > 0.9


def test_modules_start_different_from_one_another(rim):
    for group in rim.parameter_groups().values():
        for p in group:
            if p.shape[0] == 6 and p is not rim.b:
                assert len(p.flatten(1).unique(dim=0)) == 6 and p.std() > 0


def test_every_number_it_learns_takes_part(rim):
    """No dead entries as in a dense matrix masked to blocks: with all modules active every gradient is non-zero."""
    rim.active = 6
    rim(torch.randn(30, 20, D), None, torch.rand(30, 20) < 0.1)[0].square().sum().backward()
    for name, p in rim.named_parameters():
        assert (p.grad != 0).all(), name


def test_the_parameter_count_is_that_of_the_equations():
    N, H, D, d_k, d_v, A, c_k, c_v = 6, 32, 128, 32, 64, 2, 16, 16
    attention = D * (d_k + d_v) + N * (H + 1) * d_k + N * H * A * (2 * c_k + c_v) + N * A * c_v * H
    cells = N * 4 * H * (d_v + H + 1)
    assert count_parameters(RIM(128)) == attention + cells


def test_parameter_groups_are_disjoint_and_exhaustive(rim):
    groups = rim.parameter_groups()
    assert set(groups) == {"modules", "attention"}
    ids = [id(p) for group in groups.values() for p in group]
    assert sorted(ids) == sorted(id(p) for p in rim.parameters())
    assert {id(p) for p in groups["modules"]} == {id(rim.W_in), id(rim.W_h), id(rim.b)}


def test_no_step_waits_for_the_device():
    """Fake tensors have no values: `.item()`, `.numpy()` or a branch on data would raise."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        for options in ({"kernel": "plain"}, {"kernel": "fused"}, {"cell": "gru", "input_heads": 2}):
            rim = RIM(D, **options)
            outputs, _, seen = rim(torch.randn(T, B, D), rim.initial_state(B), torch.zeros(T, B, dtype=torch.bool))
            outputs.sum().backward()
            assert seen.active.shape == (T, B, 6) and rim.W_e.grad is not None


READS_NOTHING = {
    "fused": RIM,
    "plain": partial(RIM, kernel="plain"),
    "gru": partial(RIM, cell="gru"),
    "heads": partial(RIM, input_heads=2),
    "modules": partial(RIM, softmax_over="modules"),
    "candidate": partial(RIM, inactive_offer="candidate"),
    "gated": partial(RIM, output_gate="gated"),
    "bounded": partial(RIM, output_gate="bounded"),
    "lstm": LSTM,
}


@pytest.mark.parametrize("make", READS_NOTHING.values(), ids=READS_NOTHING)
@pytest.mark.parametrize("with_resets", [False, True])
def test_a_span_on_the_meta_device_reads_no_number_forward_or_backward(make, with_resets):
    """A meta tensor has no memory: whatever asks for a value, and would make a GPU's host wait, raises."""
    with torch.device("meta"):
        controller = make(D)
        x = torch.randn(T, B, D, requires_grad=True)
        resets = torch.zeros(T, B, dtype=torch.bool) if with_resets else None
        outputs, state, _ = controller(x, controller.initial_state(B), resets)
        (outputs.sum() + state.h.sum() + state.c.sum()).backward()
    assert outputs.is_meta and x.grad.shape == x.shape
    assert all(p.grad.shape == p.shape for p in controller.parameters())


def test_diagnostics_hold_no_graph(rim):
    _, _, seen = rim(torch.randn(T, B, D))
    assert not any(x.requires_grad for x in seen)


def test_the_papers_sizes():
    rim = RIM.as_in_paper(10)
    assert (rim.num_modules, rim.active, rim.hidden_size, rim.output_size) == (6, 4, 100, 600)
    assert (rim.key_size, rim.value_size) == (64, 400)
    assert (rim.comm_heads, rim.comm_key_size, rim.comm_value_size) == (4, 32, 32)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"num_modules": 3, "active": 4}, "active=4 is more than num_modules=3"),
        ({"hidden_size": 0}, "RIM.hidden_size is 0; it must be a whole number of at least 1"),
        ({"active": 0}, "RIM.active is 0; it must be a whole number of at least 1"),
        ({"comm_heads": -1}, "RIM.comm_heads is -1"),
        ({"key_size": 2.5}, "RIM.key_size is 2.5"),
        ({"cell": "ltsm"}, "did you mean 'lstm'"),
        ({"softmax_over": "module"}, "did you mean 'modules'"),
        ({"kernel": "fuse"}, "did you mean 'fused'"),
        ({"cell_clip": 0}, "RIM.cell_clip is 0.*; it must be greater than 0"),
        ({"cell_clip": True}, "RIM.cell_clip is True"),
        ({"cell_clip": float("nan")}, "RIM.cell_clip is nan"),
        ({"cell_clip": 3.0, "cell": "gru"}, "bounds the cells of LSTM modules; with cell='gru'"),
    ],
)
def test_impossible_sizes_and_unknown_switches_get_one_sentence(wrong, says):
    with pytest.raises(UserError, match=says):
        RIM(D, **wrong)


def test_a_width_the_modules_cannot_share_is_refused():
    with pytest.raises(UserError, match="width=100 cannot be shared equally by num_modules=6"):
        RIM.as_in_paper(10, width=100)


@pytest.mark.parametrize("shape", [(T, D), (T, B, D + 1), (T, 0, D), (0, B, D)])
def test_inputs_of_the_wrong_shape_are_refused(rim, shape):
    with pytest.raises(UserError, match="time comes first, batch second"):
        rim(torch.zeros(shape))


def test_resets_of_the_wrong_shape_or_type_are_refused(rim):
    for resets in (torch.zeros(B, T, dtype=torch.bool), torch.zeros(T, B)):
        with pytest.raises(UserError, match="resets are"):
            rim(torch.zeros(T, B, D), None, resets)


@pytest.mark.parametrize("make", [RIM, partial(RIM, kernel="plain"), partial(RIM, cell="gru"), LSTM])
def test_states_and_types_that_do_not_fit_are_refused(make):
    controller = make(D)
    _, state, _ = controller(torch.zeros(T, B + 1, D))
    for wrong in (state, state.h, (state.h[:B],)):
        with pytest.raises(UserError, match="the state is"):
            controller(torch.zeros(T, B, D), wrong)
    for wrong in (torch.zeros(T, B, D).double(), torch.zeros(T, B, D, dtype=torch.long)):
        with pytest.raises(UserError, match="the controller's parameters torch.float32"):
            controller(wrong)
    with pytest.raises(UserError, match="expected a tensor"):
        controller(torch.zeros(T, B, D).tolist())


@pytest.mark.parametrize("make", [RIM, partial(RIM, kernel="plain"), LSTM])
def test_mixed_precision_gives_nearly_the_same_values_and_gradients(make):
    torch.manual_seed(0)
    controller, x = make(D), torch.randn(T, B, D)
    resets = torch.rand(T, B) < 0.2
    found = []
    for mixed in (False, True):
        controller.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            outputs = controller(x, None, resets, record=False)[0]
        outputs.float().square().sum().backward()
        found.append((outputs.float(), *(p.grad.clone() for p in controller.parameters())))
    for exact, mixed in zip(*found, strict=True):
        assert (exact - mixed).norm() < 0.1 * exact.norm() and not torch.equal(exact, mixed)


def test_backward_frees_what_forward_kept():
    for kernel in KERNELS:
        loss = RIM(D, kernel=kernel)(torch.randn(T, B, D))[0].sum()
        loss.backward()
        with pytest.raises(RuntimeError, match="second time"):
            loss.backward()


def test_no_intervention_is_the_same_as_none(rim):
    x = torch.randn(T, B, D)
    assert torch.equal(rim(x)[0], rim(x, interventions=Interventions())[0])


def test_cells_stay_within_their_bound_and_come_to_rest_at_it():
    """The same gates without a bound count on, by 1 a step."""
    ends = []
    for bound, kernel in ((None, "fused"), (2.0, "fused"), (2.0, "plain")):
        rim = RIM(3, 4, 4, 2, cell_clip=bound, kernel=kernel)
        with torch.no_grad():
            for weight in (rim.W_in, rim.W_h):
                weight.zero_()
            rim.b.fill_(100.0)  # all gates are open, g = tanh(100) = 1
        ends.append([rim(torch.ones(steps, 2, 3))[1].c.max().item() for steps in (3, 30, 60)])
    assert ends == [[3, 30, 60], [2, 2, 2], [2, 2, 2]]


@pytest.mark.parametrize("kernel", ["plain", "fused"])
def test_bounded_messages_keep_h_below_2_however_large_their_weights_are(kernel):
    """Between modules that speak without a bound, h multiplies at every step: what made agents diverge."""
    largest = {}
    for gate in ("none", "bounded"):
        torch.manual_seed(0)
        rim = RIM(5, hidden_size=4, num_modules=4, active=2, output_gate=gate, message_scale=30.0, kernel=kernel)
        largest[gate] = rim(torch.randn(12, 8, 5))[0].abs().max()
    assert largest["none"] > 100
    assert 1 < largest["bounded"] < 2


def test_message_scale_is_the_spread_of_c_out_and_of_nothing_else():
    rims = []
    for scale in (1.0, 0.1):
        torch.manual_seed(3)
        rims.append(RIM(5, hidden_size=4, num_modules=3, active=2, message_scale=scale))
    for (name, one), tenth in zip(rims[0].named_parameters(), rims[1].parameters(), strict=True):
        assert torch.allclose(tenth, one * (0.1 if name == "C_out" else 1.0), rtol=1e-6), name


@pytest.mark.parametrize("scale", [0, -1.0, float("nan"), float("inf"), True, "1"])
def test_a_message_scale_that_is_none_is_refused(scale):
    with pytest.raises(UserError, match="RIM.message_scale is .*; it must be"):
        RIM(5, hidden_size=4, num_modules=3, active=2, message_scale=scale)
