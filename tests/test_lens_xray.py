"""The X-ray of an episode: its buttons go where they say, and it shows what the drawing gives."""

import asyncio

import numpy as np
import pytest
from lens_traces import make_trace

import metarim_lite as ml
from metarim_lite.errors import UserError
from metarim_lite.lens import describe
from metarim_lite.lens.page import picture_html
from metarim_lite.lens.xray import largest_drop, next_change

LEVEL = "BabyAI-GoToObjS6-v1"


def test_xray_buttons_move_one_step_and_stop_at_both_ends():
    xray = ml.XRay(make_trace(T=3))
    seen = []
    for name in ("back", "next", "next", "next", "next", "back", "first", "last"):
        xray.buttons[name].click()
        seen.append(xray.t)
    assert seen == [0, 1, 2, 3, 3, 2, 0, 3]


def test_xray_shows_exactly_what_the_drawing_gives_for_each_step():
    trace = make_trace(T=4)
    xray = ml.XRay(trace)
    for t in (0, 2, 4, 1):
        xray.slider.value = t
        assert xray.screen.value == picture_html(trace, t)
        assert describe(trace, t) in xray.caption.value.replace("&quot;", '"')
    xray.t = 3
    assert xray.screen.value == picture_html(trace, 3)


def test_xray_refuses_a_step_outside_the_episode():
    with pytest.raises(UserError, match="step 9"):
        ml.XRay(make_trace(T=4), t=9)


def test_xray_jumps_to_the_next_change_of_the_active_modules_until_there_is_none():
    active = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [1, 0]], bool)
    trace = make_trace(T=5, N=2, k=1, active=active)
    assert [next_change(trace, t) for t in range(5)] == [2, 2, 4, 4, None]
    assert next_change(make_trace(controller="lstm"), 0) is None
    xray = ml.XRay(trace)
    for t in (2, 4):
        xray.buttons["change"].click()
        assert xray.t == t
    xray.buttons["change"].click()
    assert xray.t == 4 and "does not change any more" in xray.caption.value


def test_xray_jumps_to_where_the_value_fell_most():
    values = np.array([0.5, 0.4, 0.9, 0.3, 0.2], np.float32)
    assert largest_drop(make_trace(T=5, values=values)) == 3
    xray = ml.XRay(make_trace(T=5, values=values))
    xray.buttons["drop"].click()
    assert xray.t == 3
    rising = ml.XRay(make_trace(T=3, values=np.array([0.1, 0.2, 0.3], np.float32)))
    rising.buttons["drop"].click()
    assert rising.t == 0 and "never falls" in rising.caption.value
    assert largest_drop(make_trace(T=1)) is None


def test_xray_has_one_button_with_an_arrow_to_play_and_it_plays_to_the_end_and_pauses():
    xray = ml.XRay(make_trace(T=4))
    assert [b.description for b in xray.buttons.values() if "▶" in b.description] == ["▶ play"]
    assert all(len(b.description) > 2 for b in xray.buttons.values())  # words are what a screen reader says
    xray.buttons["play"].click()  # without a running loop: at once
    assert xray.t == 4 and xray.buttons["play"].description == "▶ play"

    async def play_and_pause():
        xray.ticker.start(xray._playing(), xray._paused, pause=0)
        xray.go(1)
        xray.buttons["play"].click()  # it was playing: pause
        await asyncio.sleep(0)
        assert not xray.ticker.busy and xray.t == 1
        xray.buttons["play"].click()
        await asyncio.sleep(0)
        assert xray.ticker.busy and xray.buttons["play"].description == "pause"
        xray.buttons["play"].click()
        await asyncio.sleep(0)
        assert xray.buttons["play"].description == "▶ play"

    asyncio.run(play_and_pause())


def test_xray_records_another_agent_beside_the_first_with_the_same_level_and_dice(small_bank):
    trace = ml.Trace.record(ml.UniformAgent(), small_bank, level=5, seed=2)
    xray = ml.XRay(trace)
    xray.choice["beside"].value = "meta-rim-gotolocal"
    xray.slider.value = trace.num_steps
    xray.buttons["record"].click()
    assert xray.t == 0 and xray.trace.actions.tolist() == trace.actions.tolist()
    assert xray.beside.controller == "rim" and (xray.beside.seed, xray.beside.index) == (2, 5)
    np.testing.assert_array_equal(xray.beside.images[0], trace.images[0])
    assert xray.screen.value == picture_html(xray.trace, 0, xray.beside)
    assert xray.slider.max == max(xray.trace.num_steps, xray.beside.num_steps)
    xray.choice["beside"].value, xray.choice["level"].value, xray.choice["seed"].value = "nobody", LEVEL, 9
    xray.buttons["record"].click()
    assert xray.beside is None and xray.trace.seed == 9
    assert xray.trace.mission == ml.LevelBank.generate(LEVEL, seeds=[9]).mission_text(0)


def test_xray_says_what_went_wrong_and_goes_on():
    xray = ml.XRay(make_trace(T=4))  # nobody is known who could play it; the shipped agents can be chosen
    xray.choice["seed"].value = -3
    xray.buttons["record"].click()
    assert 'role="alert"' in xray.caption.value and "-3" in xray.caption.value
    xray.buttons["next"].click()
    assert xray.t == 1 and "alert" not in xray.caption.value
    xray.pictures = None
    xray.buttons["next"].click()
    assert "Something went wrong inside (TypeError" in xray.caption.value
    with pytest.raises(UserError, match="whole numbers"):
        xray.go(1.5)
