"""Experiments on single modules do what they say and nothing else."""

import pytest
import torch

from metarim_lite.errors import UserError
from metarim_lite.models import RIM, Interventions
from metarim_lite.models.controller import ControllerState

T, B, D, N = 8, 4, 7, 6


def setup(**options):
    torch.manual_seed(2)
    rim = RIM(D, 8, N, 3, **options)
    return rim, torch.randn(T, B, D), ControllerState(torch.randn(B, N, 8), torch.randn(B, N, 8))


def without(rim, gone):
    """The RIM that never had module `gone`."""
    small, rest = RIM(D, 8, N - 1, rim.active), [n for n in range(N) if n != gone]
    weights = {k: v[rest] if v.shape[0] == N and k not in ("W_e", "W_v") else v for k, v in rim.state_dict().items()}
    small.load_state_dict(weights)
    return small, rest


def test_a_rim_with_a_module_off_is_the_rim_that_never_had_it():
    rim, x, state = setup()
    small, rest = without(rim, 2)
    outputs, end, seen = rim(x, state, interventions=Interventions(off=(2,)))
    wanted, wanted_end, wanted_seen = small(x, ControllerState(state.h[:, rest], state.c[:, rest]))
    torch.testing.assert_close(outputs.view(T, B, N, 8)[:, :, rest].flatten(2), wanted)
    torch.testing.assert_close(end.h[:, rest], wanted_end.h)
    assert torch.equal(seen.active[..., rest], wanted_seen.active)
    torch.testing.assert_close(seen.communication[..., rest, :][..., rest], wanted_seen.communication)


def test_a_module_that_is_off_is_never_active_never_read_and_holds_zero():
    rim, x, state = setup()
    outputs, end, seen = rim(x, state, interventions=Interventions(off=(2, 4)))
    assert not seen.active[..., [2, 4]].any() and (seen.active.sum(-1) == 3).all()
    assert not seen.communication[..., [2, 4]].any()
    assert not outputs.view(T, B, N, 8)[:, :, [2, 4]].any() and not end.c[:, [2, 4]].any()


def test_with_fewer_than_k_modules_left_all_of_them_are_active():
    rim, x, state = setup()
    _, _, seen = rim(x, state, interventions=Interventions(off=(0, 1, 2, 3)))
    assert seen.active[0, 0].tolist() == [False] * 4 + [True] * 2 and (seen.active.sum(-1) == 2).all()


def test_a_frozen_module_competes_but_keeps_h_and_c():
    rim, x, state = setup()
    _, end, seen = rim(x, state, interventions=Interventions(frozen=(1,)))
    assert torch.equal(end.h[:, 1], state.h[:, 1]) and torch.equal(end.c[:, 1], state.c[:, 1])
    assert seen.active[..., 1].any() and (seen.active.sum(-1) == 3).all()
    assert not torch.equal(end.h[:, 0], state.h[:, 0])


def test_others_read_a_frozen_module():
    rim, x, state = setup()
    _, _, seen = rim(x, state, interventions=Interventions(frozen=(1,)))
    assert (seen.communication[..., 1].sum(-1) > 0).all()


def test_forced_modules_are_always_among_the_k():
    rim, x, state = setup()
    _, _, seen = rim(x, state, interventions=Interventions(forced=(0, 5)))
    assert seen.active[..., [0, 5]].all() and (seen.active.sum(-1) == 3).all()


def test_the_remaining_places_go_to_the_most_eager():
    rim, x, state = setup()
    _, _, seen = rim(x[:1], state, interventions=Interventions(forced=(0,)))
    for b in range(B):
        attention = seen.input_attention[0, b].clone()
        attention[0] = 2
        assert set(attention.topk(3).indices.tolist()) == set(seen.active[0, b].nonzero().flatten().tolist())


def test_they_work_in_every_form():
    for options in ({"cell": "gru"}, {"input_heads": 2}, {"softmax_over": "modules"}, {"output_gate": "gated"}):
        rim, x, state = setup(**options)
        state = ControllerState(state.h, rim.initial_state(B).c)
        _, end, seen = rim(x, state, interventions=Interventions(off=(0,), frozen=(1,), forced=(2,)))
        assert not seen.active[..., 0].any() and seen.active[..., 2].all() and torch.equal(end.h[:, 1], state.h[:, 1])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (Interventions(off=(6,)), "names module 6, but there are 6 modules"),
        (Interventions(frozen=(-1,)), "names module -1"),
        (Interventions(forced=(0, 1, 2, 3)), "asks for 4 modules, but only 3"),
        (Interventions(off=(1,), forced=(1,)), "module 1 is both off and forced"),
        (Interventions(off=tuple(range(6))), "leaves no module"),
    ],
)
def test_impossible_interventions_get_one_sentence(wrong, says):
    rim, x, _ = setup()
    with pytest.raises(UserError, match=says):
        rim(x, interventions=wrong)
