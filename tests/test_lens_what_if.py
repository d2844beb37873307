"""What if? compares like with like: the same episode up to the change, the same dice after it, always a control."""

import numpy as np
import pytest
import torch
from lens_traces import make_agent, make_trace

import metarim_lite as ml
from metarim_lite.errors import UserError
from metarim_lite.lens import EditCell, ModulesDeaf, ModulesForced, ModulesFrozen, ModulesOff, SwapMission
from metarim_lite.lens.recording import draw_action
from metarim_lite.lens.what_if import Effect, Playing, again, cells_like, compare, control_for, effect

FIELDS = ("images", "probabilities", "actions", "values", "hidden_norms", "active", "communication", "rewards")
ON_MODULES = (ModulesOff, ModulesFrozen, ModulesForced, ModulesDeaf)


def test_without_a_change_the_same_episode_comes_again_bit_for_bit(trace):
    second = again(trace)
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(second, field), getattr(trace, field))
    assert (second.index, second.seed, second.mission) == (trace.index, trace.seed, trace.mission)


@pytest.mark.parametrize("kind", ON_MODULES)
def test_up_to_the_change_all_three_are_one_episode_and_the_control_is_another_module(kind, trace):
    found = compare(trace, kind((1,), start=4))
    assert found.changed.interventions == (kind((1,), start=4),)
    (control,) = found.control.interventions
    assert type(control) is kind and control.start == 4 and len(control.modules) == 1 and control.modules != (1,)
    for one in (found.changed, found.control):
        for field in FIELDS:
            np.testing.assert_array_equal(getattr(one, field)[:4], getattr(trace, field)[:4])
    assert str(control) in str(found) and "As it was" in str(found)


def test_after_the_change_the_dice_are_those_of_the_original(trace):
    """Replayed slowly: each action is where the original's uniform number falls among the new probabilities."""
    changed = compare(trace, ModulesOff((0, 2), start=2)).changed
    luck = torch.Generator().manual_seed(trace.seed)
    for t in range(changed.num_steps):
        u = torch.rand((), generator=luck, dtype=torch.float64).item()
        assert changed.actions[t] == draw_action(changed.probabilities[t], u)


def test_a_deaf_module_reads_nothing_and_the_others_read_on(trace):
    changed = again(trace, ModulesDeaf((1, 3), start=2))
    assert (changed.communication[2:, :, [1, 3]] == 0).all()
    reads = changed.communication[2:].sum((1, 3)) > 0  # (T, N)
    np.testing.assert_array_equal(reads[:, [0, 2, 4]], changed.active[2:][:, [0, 2, 4]])
    assert trace.communication[2:, :, [1, 3]].any()


def test_a_deaf_modules_state_is_its_cells_output_alone():
    """Against the equation: h = o·tanh(c) where nothing is heard, in all three forms of the message."""
    from metarim_lite.models import RIM, Interventions

    for gate in ("none", "gated", "bounded"):
        torch.manual_seed(0)
        rim = RIM(5, 8, 4, 4, output_gate=gate)
        x = torch.randn(1, 3, 5)
        silent = RIM(5, 8, 4, 4, output_gate=gate)
        silent.load_state_dict(rim.state_dict())
        torch.nn.init.zeros_(silent.C_out)
        with torch.no_grad():
            deaf, *_ = rim(x, interventions=Interventions(deaf=(0, 1, 2, 3)))
            torch.testing.assert_close(deaf, silent(x)[0])
            assert not torch.allclose(deaf, rim(x)[0])


def test_a_forced_module_is_active_from_its_step_on(trace):
    changed = again(trace, ModulesForced((2,), start=3))
    assert changed.active[3:, 2].all() and (changed.active.sum(1) == 3).all()


def test_an_edited_cell_is_in_the_picture_and_in_the_view_from_its_step_on(trace):
    edit = EditCell(*cells_like(trace, EditCell(0, 0, "ball", start=2))[0], "ball", "blue", start=2)
    found = compare(trace, edit)
    for one in (found.changed, found.control):
        assert int((one.worlds[2].cells(0) != trace.worlds[2].cells(0)).any(-1).sum()) == 1
        np.testing.assert_array_equal(one.images[:2], trace.images[:2])
        np.testing.assert_array_equal(one.images[2], one.worlds[2].observe().image[0])
    assert found.control.interventions[0] != edit
    np.testing.assert_array_equal(found.changed.worlds[2].cells(0)[edit.x, edit.y], [6, 2, 0])


def test_the_control_of_a_told_mission_is_a_third_mission(trace):
    (control,) = compare(trace, SwapMission("go to the red ball", 1)).control.interventions
    assert control.text not in ("go to the red ball", trace.mission) and control.start == 1


def test_where_no_module_is_left_for_a_control_that_is_said(trace):
    found = compare(trace, ModulesDeaf((0, 1, 2, 3, 4)))
    assert found.control is None and "not as many other modules" in str(found)


def test_controls_are_drawn_from_all_other_modules(trace):
    rng = np.random.default_rng(0)
    drawn = {control_for(trace, ModulesOff((1,)), rng)[0].modules for _ in range(100)}
    assert drawn == {(0,), (2,), (3,), (4,)}


def finish(steps):
    *shares, found = list(steps)
    assert shares == sorted(shares) and 0 < shares[0] and shares[-1] <= 1
    return found


def test_success_over_levels_is_that_of_playing_each_level_alone(agent, small_bank):
    bank, change = small_bank.select(range(12)), ModulesOff((0, 2))
    playing = Playing(agent, bank, (change,), 5, greedy=True)
    while not playing.over:
        playing.step()
    alone = [ml.Trace.record(agent, bank, i, 0, (change,), greedy=True).success for i in range(12)]
    assert playing.success.tolist() == alone


def test_the_difference_is_that_of_the_same_levels_with_the_same_dice(agent, small_bank):
    bank = small_bank.select(range(40))
    found = finish(effect(agent, bank, ModulesOff((0,)), ModulesOff((3,)), seed=1))
    assert isinstance(found, Effect) and found.levels == 40
    assert found.difference.value == pytest.approx(found.changed.value - found.original.value)
    assert found.control_difference.value == pytest.approx(found.control.value - found.original.value)
    nothing = finish(
        effect(agent, bank, ModulesOff((0,), start=10_000), None, seed=1)
    )  # never comes: not one dice fell otherwise
    assert nothing.difference == (0, 0, 0) and nothing.control_difference is None and "no control" in str(nothing)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (ModulesOff((9,)), "there is no module 9"),
        (ModulesOff(()), "names no module"),
        (ModulesForced((0, 1, 2, 3)), "only 3 are active"),
        (ModulesOff((0,), start=10_000), "is the end of the episode"),
        (SwapMission("go to the dragon"), "dragon"),
        (EditCell(99, 0, "ball"), "cannot be edited"),
        (EditCell(1, 1, "dragon"), "dragon"),
    ],
)
def test_a_change_that_does_not_fit_is_refused_with_a_sentence(change, sentence, trace):
    with pytest.raises(UserError, match=sentence):
        compare(trace, change)


def test_the_agents_own_cell_cannot_be_edited(trace):
    x, y, _ = trace.worlds[0].agent_place(0)
    with pytest.raises(UserError, match="cannot be edited"):
        compare(trace, EditCell(x, y, "ball"))


def test_an_lstm_has_no_modules_to_change_but_can_be_told_another_mission(small_bank):
    trace = ml.Trace.record(make_agent("lstm"), small_bank, level=1)
    with pytest.raises(UserError, match="LSTM"):
        compare(trace, ModulesOff((0,)))
    assert compare(trace, SwapMission("go to the red ball")).control is not None
    assert ml.WhatIf(trace).modules == []


def test_a_trace_without_its_agent_is_refused():
    with pytest.raises(UserError, match="does not know who played it"):
        ml.WhatIf(make_trace())


def test_the_widget_shows_change_and_control_beside_the_original(trace):
    widget = ml.WhatIf(trace, t=2)
    widget.modules[0].value, widget.modules[1].value = False, True
    widget.buttons["play"].click()
    assert widget.result.changed.interventions == (ModulesOff((1,), start=2),)
    assert widget.screen.value.count("<svg") == 4 and "module 1 off from step 2" in widget.screen.value
    changed = widget.screen.value
    widget.beside.value = "the control"
    assert str(widget.result.control.interventions[0]) in widget.screen.value and widget.screen.value != changed
    assert "Control: " in widget.verdict.value


def test_mistakes_are_said_in_the_widget_and_it_goes_on(trace, monkeypatch):
    widget = ml.WhatIf(trace, t=2)
    widget.modules[0].value = False
    widget.buttons["play"].click()
    assert "names no module" in widget.verdict.value and 'role="alert"' in widget.verdict.value
    widget.kind.value, widget.cell.value = "edit a cell", "somewhere"
    widget.buttons["play"].click()
    assert "two whole numbers" in widget.verdict.value
    widget.buttons["levels"].click()
    assert "two whole numbers" in widget.verdict.value
    widget.cell.value = "1, 1"
    widget.buttons["levels"].click()
    assert "belongs to one level" in widget.verdict.value and widget.buttons["stop"].disabled
    widget.kind.value = "freeze"
    widget.modules[2].value = True
    widget.buttons["play"].click()
    assert "module 2 frozen" in widget.verdict.value

    def fail(*_):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("metarim_lite.lens.what_if_widget.compare", fail)
    widget.buttons["play"].click()
    assert "ZeroDivisionError: division by zero" in widget.verdict.value


def test_where_a_cell_is_edited_the_picture_takes_clicks(trace):
    widget = ml.WhatIf(trace, t=2)
    assert "onclick" not in widget.screen.value
    widget.kind.value = "edit a cell"
    across, down, _ = trace.worlds[0].cells(0).shape
    assert f"r.width/{across},r.height/{down}" in widget.screen.value and "metarim-cell" in widget.cell._dom_classes


def test_counting_over_levels_says_the_difference_and_can_be_stopped(trace, small_bank, monkeypatch):
    monkeypatch.setattr("metarim_lite.lens.what_if_widget.held_out", lambda *_: small_bank.select(range(10)))
    widget = ml.WhatIf(trace)
    widget.buttons["levels"].click()
    assert "difference" in widget.verdict.value and "the control" in widget.verdict.value
    assert widget.bar.layout.visibility == "hidden"

    import asyncio

    async def stop_in_the_middle():
        widget.buttons["levels"].click()
        for _ in range(8):
            await asyncio.sleep(0)
        assert widget.ticker.busy and not widget.buttons["stop"].disabled and 0 < widget.bar.value < 1
        widget.buttons["stop"].click()
        await asyncio.sleep(0)
        assert "Stopped" in widget.verdict.value and not widget.ticker.busy and widget.buttons["stop"].disabled

    asyncio.run(stop_in_the_middle())
