"""Whatever does not fit gets one sentence, and the widget works on."""

import asyncio
from dataclasses import replace

import pytest
from lens_traces import make_agent

import metarim_lite as ml
from metarim_lite.errors import UserError
from metarim_lite.lens import ModulesOff
from metarim_lite.lens.field_view import FieldView
from metarim_lite.lens.game import Game
from metarim_lite.lens.what_if import Playing
from metarim_lite.models.encoders import WORDS, MissionEncoder

LEVEL = "BabyAI-GoToObjS6-v1"


@pytest.fixture
def stranger():
    """An agent that was made for five words less."""
    agent = make_agent()
    agent.encoder.mission = MissionEncoder(WORDS - 5, 72, agent.config.mission_size)
    return agent


def sentence(widget):
    """The one sentence that says what was wrong."""
    assert widget.verdict.value.count('role="alert"') == 1
    return widget.verdict.value


@pytest.mark.parametrize("t", [-1, 65, 10_000])
def test_a_step_that_is_not_in_the_episode(t, agent, trace):
    for make in (ml.XRay, ml.WhatIf, lambda trace, t: FieldView(agent, trace, t)):
        with pytest.raises(UserError, match=f"step {t}"):
            make(trace, t)


@pytest.mark.parametrize("t", ["a", 1.5, None])
def test_what_is_no_step_at_all(t, agent, trace):
    for widget in (ml.XRay(trace, 3), FieldView(agent, trace, 3)):
        with pytest.raises(UserError, match="steps are whole numbers"):
            widget.go(t)
        assert widget.t == 3


@pytest.mark.parametrize("button", ["play", "levels"])
@pytest.mark.parametrize(
    ("kind", "chosen", "words"),
    [
        ("switch off", (), "names no module"),
        ("switch off", range(5), "no module at all"),
        ("force on", range(5), "only 3"),
    ],
)
def test_modules_that_cannot_be_chosen_together(button, kind, chosen, words, trace, small_bank, monkeypatch):
    monkeypatch.setattr("metarim_lite.lens.what_if_widget.held_out", lambda *_: small_bank.select(range(4)))
    widget = ml.WhatIf(trace)
    widget.kind.value = kind
    for n, module in enumerate(widget.modules):
        module.value = n in chosen
    widget.buttons[button].click()
    assert words in sentence(widget)
    widget.kind.value = "freeze"
    for n, module in enumerate(widget.modules):
        module.value = n == 1
    widget.buttons[button].click()
    assert "ontrol: " in widget.verdict.value and 'role="alert"' not in widget.verdict.value


def test_a_word_is_no_intervention(agent, small_bank):
    with pytest.raises(UserError, match="'off' is not an intervention"):
        ml.Trace.record(agent, small_bank, level=0, interventions="off")


def test_the_end_of_the_episode_is_no_step_to_change_something_at(trace):
    widget = ml.WhatIf(trace, t=trace.num_steps)
    widget.buttons["play"].click()
    assert "is the end of the episode" in sentence(widget)
    widget.slider.value = 0
    widget.buttons["play"].click()
    assert "Control: " in widget.verdict.value and widget.result is not None


def test_an_edit_under_the_agent_or_outside_the_level(trace):
    widget = ml.WhatIf(trace, t=2)
    widget.kind.value = "edit a cell"
    x, y, _ = trace.worlds[2].agent_place(0)
    for place in (f"{x}, {y}", "99, 1", "-1, 1", "1", "1, 2, 3", "one, two"):
        widget.cell.value = place
        widget.buttons["play"].click()
        assert "cannot be edited" in sentence(widget) or "two whole numbers" in sentence(widget)
    width, height, _ = trace.worlds[2].cells(0).shape
    free = next(f"{i}, {j}" for i in range(1, width - 1) for j in range(1, height - 1)
                if trace.worlds[2].cells(0)[i, j, 0] == 1 and (i, j) != (x, y))  # fmt: skip
    widget.cell.value = free
    widget.buttons["play"].click()
    assert "Control: " in widget.verdict.value


def test_an_lstm_has_no_modules_to_choose_in_the_widget_and_a_mission_can_be_told(small_bank):
    trace = ml.Trace.record(make_agent("lstm"), small_bank, level=1)
    widget = ml.WhatIf(trace)
    assert widget.kind.options == ("tell another mission", "edit a cell") and widget.modules == []
    widget.mission.value = "go to the red ball"
    widget.buttons["play"].click()
    assert "Control: " in widget.verdict.value
    with pytest.raises(UserError, match="has an LSTM"):
        ml.Trace.record(trace.agent, small_bank, level=1, interventions=ModulesOff((0,)))


def test_an_agent_that_knows_other_words_is_refused_wherever_one_is_chosen(stranger, trace, small_bank):
    for refused in (
        lambda: ml.Trace.record(stranger, small_bank, level=0),
        lambda: Playing(stranger, small_bank, (), 0, False),
        lambda: Game(LEVEL).ask(stranger),
    ):
        with pytest.raises(UserError, match=f"knows {WORDS - 5} words"):
            refused()
    stepper = ml.Stepper(LEVEL, agents={"stranger": stranger})
    stepper.choice["agent"].value = "stranger"
    assert "would misread its mission" in stepper.screen.value and stepper.game.opinion is None
    stepper.buttons["left"].click()
    assert stepper.game.steps == 1 and "misread" not in stepper.screen.value
    xray = ml.XRay(trace, agents={"stranger": stranger})
    xray.choice["agent"].value = "stranger"
    xray.buttons["record"].click()
    assert "would misread its mission" in xray.caption.value and xray.trace is trace


def test_levels_whose_missions_have_words_that_nobody_knows(agent, small_bank):
    foreign = replace(small_bank, tables=small_bank.tables | {"mission": small_bank.tables["mission"] + 60})
    with pytest.raises(UserError, match="use levels that it made"):
        ml.Trace.record(agent, foreign, level=0)


def test_a_closed_widget_is_deaf_and_its_object_works_on(agent, trace):
    stepper, xray, what_if, field = ml.Stepper(LEVEL), ml.XRay(trace), ml.WhatIf(trace), FieldView(agent, trace)

    async def closed_while_it_plays():
        xray.ticker.start(xray._playing(), xray._paused, pause=0)
        await asyncio.sleep(0)
        xray.widget.close()
        for _ in range(200):
            await asyncio.sleep(0)
        assert not xray.ticker.busy and xray.t == xray.last

    asyncio.run(closed_while_it_plays())
    for one in (stepper, what_if, field):
        one.widget.close()
        for part in (*one.widget.children, *one.buttons.values()):
            part.close()
    stepper.buttons["left"].click()
    what_if.buttons["play"].click()
    field.go(1)
    assert stepper.game.steps == 1 and what_if.result is not None and field.t == 1


def test_an_interrupt_while_levels_are_counted_ends_the_counting_and_says_so(trace, small_bank, monkeypatch):
    monkeypatch.setattr("metarim_lite.lens.what_if_widget.held_out", lambda *_: small_bank.select(range(4)))
    widget = ml.WhatIf(trace)
    real = Playing.step

    def interrupted(self):
        monkeypatch.setattr(Playing, "step", real)
        raise KeyboardInterrupt

    monkeypatch.setattr(Playing, "step", interrupted)
    widget.buttons["levels"].click()
    assert "was interrupted in the middle" in sentence(widget) and widget.buttons["stop"].disabled
    widget.buttons["levels"].click()
    assert "the control's difference" in widget.verdict.value.replace("&#x27;", "'")
    assert " off)" in widget.verdict.value  # the control, and no colon after it


def test_an_interrupt_while_the_agent_plays_takes_the_game_back(monkeypatch):
    stepper = ml.Stepper(LEVEL)

    def interrupted():
        raise KeyboardInterrupt

    async def hand_over():
        monkeypatch.setattr(stepper.game, "let_agent_act", interrupted)
        stepper.buttons["hand over"].click()
        for _ in range(3):
            await asyncio.sleep(0)
        assert "was interrupted in the middle" in stepper.screen.value and not stepper.ticker.busy
        assert stepper.buttons["hand over"].description == "hand over"

    asyncio.run(hand_over())
    stepper.buttons["left"].click()
    assert stepper.game.steps == 1
