"""Inputs that are legal but awkward: views, states that carry a graph, flags written over, numbers that are none."""

import pytest
import torch
from torch.autograd import grad

from metarim_lite import UserError
from metarim_lite.models import LSTM, RIM, Interventions
from metarim_lite.models.attention import choose_active, eagerness

FORMS = {
    "fused": {},
    "plain": {"kernel": "plain"},
    "gated": {"output_gate": "gated"},
    "bounded": {"output_gate": "bounded"},
    "gru": {"cell": "gru"},
    "two heads": {"input_heads": 2},
    "modules": {"softmax_over": "modules"},
    "candidate": {"inactive_offer": "candidate"},
}


def dice(seed=0):
    return torch.Generator().manual_seed(seed)


def rim(form="fused", **sizes):
    torch.manual_seed(1)
    return RIM(**({"input_size": 3, "hidden_size": 4, "num_modules": 4, "active": 2} | sizes), **FORMS[form]).double()


def controllers():
    torch.manual_seed(1)
    return [*(rim(form) for form in FORMS), LSTM(3, 4).double(), LSTM(3, 4, kernel="plain").double()]


@pytest.mark.parametrize("form", ["fused", "gated", "bounded"])
def test_a_gradient_with_a_graph_is_the_gradient_when_the_state_was_carried(form):
    model, x = rim(form), torch.randn(6, 2, 3, generator=dice(), dtype=torch.float64)

    def loss():
        _, state, _ = model(x[:3])
        return model(x[3:] * state.h.mean(), state)[0].square().sum()  # inputs made from the state as well

    parameters = list(model.parameters())
    for plain, graph in zip(grad(loss(), parameters), grad(loss(), parameters, create_graph=True), strict=True):
        torch.testing.assert_close(graph, plain, rtol=1e-10, atol=1e-12)


def test_the_same_holds_for_an_lstm_with_a_reset_inside_the_span():
    torch.manual_seed(1)
    model, x = LSTM(3, 4).double(), torch.randn(6, 2, 3, generator=dice(), dtype=torch.float64)
    resets = torch.zeros(3, 2, dtype=torch.bool)
    resets[1, 0] = True

    def loss():
        _, state, _ = model(x[:3])
        return model(x[3:] * state.h.mean(), state, resets)[0].square().sum()

    parameters = list(model.parameters())
    for plain, graph in zip(grad(loss(), parameters), grad(loss(), parameters, create_graph=True), strict=True):
        torch.testing.assert_close(graph, plain, rtol=1e-10, atol=1e-12)


def test_flags_written_over_before_backward_never_give_another_gradient():
    resets = torch.zeros(4, 3, dtype=torch.bool)
    resets[2] = True
    x = torch.randn(4, 3, 3, generator=dice(), dtype=torch.float64)
    loss = rim()(x, None, resets)[0].square().sum()
    resets.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_inputs_may_be_any_view():
    x = torch.randn(2, 10, 6, generator=dice(), dtype=torch.float64)
    views = [x.transpose(0, 1)[..., :3], x[:, ::2, ::2], x[:1, :1, :3].expand(5, 4, 3)]
    for model in controllers():
        for view in views:
            assert not view.is_contiguous()
            torch.testing.assert_close(model(view)[0], model(view.contiguous())[0], rtol=1e-12, atol=1e-14)


def test_a_reset_clears_a_state_that_is_not_finite():
    x = torch.randn(3, 2, 3, generator=dice(), dtype=torch.float64)
    inside, first = torch.zeros(3, 2, dtype=torch.bool), torch.zeros(3, 2, dtype=torch.bool)
    first[0] = True
    inside[0], inside[2, 1] = True, True  # a second one, since the LSTM has a faster way with none inside
    for model in controllers():
        clear = model.initial_state(2)
        for resets in (first, inside):
            for bad in (torch.nan, torch.inf):
                state = clear._replace(h=clear.h + bad, c=clear.c + bad)
                outputs = model(x, state, resets)[0]
                torch.testing.assert_close(outputs, model(x, None, resets)[0], rtol=0, atol=0)


def test_exactly_k_are_active_where_preferences_are_no_numbers():
    nan = torch.nan
    chosen = choose_active(torch.tensor([[nan, nan], [1.0, nan], [2.0, nan], [nan, nan]]), 2)
    assert chosen.t().tolist() == [[False, True, True, False], [True, True, False, False]]
    x = torch.randn(3, 2, 3, generator=dice(), dtype=torch.float64)
    x[1, 0] = nan
    for form in FORMS:
        active = rim(form)(x, record=True)[2].active
        assert (active.sum(-1) == 2).all()
        forced = rim(form)(x, record=True, interventions=Interventions(forced=(3,)))[2].active
        assert (forced.sum(-1) == 2).all() and forced[..., 3].all()
        off = rim(form)(x, record=True, interventions=Interventions(off=(0,)))[2].active
        assert (off.sum(-1) == 2).all() and not off[..., 0].any()


def test_a_forced_module_is_active_where_others_prefer_the_input_beyond_all_numbers():
    x = torch.full((1, 2, 3), 1e308, dtype=torch.float64)
    for form in FORMS:
        active = rim(form)(x, record=True, interventions=Interventions(forced=(3,)))[2].active
        assert (active.sum(-1) == 2).all() and active[..., 3].all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_kernel_gives_the_same_in_half_precision(dtype):
    x = torch.randn(20, 3, 3, generator=dice()).to(dtype)
    plain, fused = (
        RIM(3, 8, 4, 2, kernel=kernel, key_size=4, value_size=8).requires_grad_(False) for kernel in ("plain", "fused")
    )
    fused.load_state_dict(plain.state_dict())
    assert torch.equal(plain.to(dtype)(x)[0], fused.to(dtype)(x)[0])


@pytest.mark.parametrize(("preference", "k"), [(torch.ones(3), 2), (torch.ones(3, 1), 0), (torch.ones(3, 1), 4)])
def test_a_choice_that_cannot_be_made_is_refused(preference, k):
    with pytest.raises(UserError, match="k from 1 to N"):
        choose_active(preference, k)


def test_eagerness_does_not_round_to_a_tie_with_several_heads_either():
    scores = torch.tensor([[-30.0, -30.0], [-18.0, -18.0], [30.0, 30.0], [18.0, 18.0]]).view(4, 1, 2, 1)
    eager = eagerness(torch.cat((torch.zeros_like(scores), scores), -1))
    assert eager[:, 0].argsort().tolist() == [0, 1, 3, 2]


@pytest.mark.parametrize("heads", [1, 2, 3])
@pytest.mark.parametrize("elements", [1, 3])
def test_eagerness_has_the_order_of_the_mean_attention_on_null(heads, elements):
    scores = torch.randn(7, 5, heads, 1 + elements, generator=dice(), dtype=torch.float64)
    scores[..., 0] = 0
    on_null = scores.softmax(-1)[..., 0].mean(-1)
    assert torch.equal(eagerness(scores).argsort(0), (-on_null).argsort(0))


@pytest.mark.parametrize("form", FORMS)
def test_a_lesion_is_the_rim_that_never_had_the_module_in_every_form(form):
    x = torch.randn(5, 3, 3, generator=dice(), dtype=torch.float64)
    whole, smaller = rim(form), rim(form, num_modules=3)
    for name, parameter in smaller.named_parameters():
        old = dict(whole.named_parameters())[name].data
        parameter.data = old[[0, 2, 3]] if len(old) == 4 and old.shape != parameter.shape else old
    cut, (small, *_) = whole(x, interventions=Interventions(off=(1,)))[0].view(5, 3, 4, -1), smaller(x)
    torch.testing.assert_close(cut[:, :, [0, 2, 3]].flatten(2), small, rtol=1e-10, atol=1e-12)
    assert not cut[:, :, 1].any()


@pytest.mark.parametrize("form", FORMS)
def test_what_a_frozen_module_would_have_become_reaches_nobody(form):
    x, model = torch.randn(5, 3, 3, generator=dice(), dtype=torch.float64), rim(form)
    frozen = Interventions(frozen=(1,))
    before, _, seen = model(x, interventions=frozen, record=True)
    assert seen.active[..., 1].any() and not seen.communication[..., 1, :].any()
    with torch.no_grad():
        model.b[1] += 1.0  # gates of the frozen module only
    torch.testing.assert_close(model(x, interventions=frozen)[0], before, rtol=0, atol=0)


@pytest.mark.parametrize("model", [rim(), LSTM(3, 4).double()], ids=["rim", "lstm"])
def test_what_is_no_span_gets_one_sentence(model):
    x, state = torch.zeros(2, 3, 3, dtype=torch.float64), model.initial_state(3)
    with pytest.raises(UserError, match="resets are list"):
        model(x, None, [[True] * 3] * 2)
    with pytest.raises(UserError, match="inputs are .* on meta, expected .* on cpu"):
        model(x.to("meta"))
    for bad in (
        (None, None), state.h, (state.h,), state._replace(h=state.h.float()), state._replace(c=state.c.long()),
        state._replace(h=state.h.to("meta")),
    ):  # fmt: skip
        with pytest.raises(UserError, match="the state is"):
            model(x, bad)


@pytest.mark.parametrize("off", [2, None, "1", ("1",), (True,), (1.5,), torch.tensor([1])])
def test_modules_that_are_not_named_by_indices_get_one_sentence(off):
    with pytest.raises(UserError, match="module"):
        rim()(torch.zeros(1, 1, 3, dtype=torch.float64), interventions=Interventions(off=off))


def test_interventions_that_are_none_get_one_sentence():
    with pytest.raises(UserError, match=r"write Interventions\(off=\(1,\)\)"):
        rim()(torch.zeros(1, 1, 3, dtype=torch.float64), interventions={"off": (1,)})


@pytest.mark.parametrize("encoded", [torch.float32, torch.bfloat16])  # an encoder before it gives the latter
@pytest.mark.parametrize("resets", [None, torch.tensor([[False] * 2, [True, False], [False] * 2])])
def test_a_state_made_under_autocast_goes_on_without_it(resets, encoded):
    for model in (LSTM(3, 4), LSTM(3, 4, cell_clip=1.0), RIM(3, 4, 4, 2), RIM(3, 4, 4, 2, cell="gru")):
        x = torch.randn(3, 2, 3, generator=dice())
        with torch.autocast("cpu", torch.bfloat16):
            _, state, _ = model(x.to(encoded), None, resets)
        assert state.h.dtype == state.c.dtype == torch.float32
        assert model(x, state)[0].isfinite().all()
