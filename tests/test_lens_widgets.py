"""The widgets: every button does what it says, and nothing a student does ends in a traceback."""

import base64

import ipywidgets
import numpy as np
import pytest
from lens_traces import make_trace
from minigrid.utils.baby_ai_bot import BabyAIBot

import metarim_lite as ml
from metarim_lite.envs import make_minigrid
from metarim_lite.errors import UserError
from metarim_lite.lens import describe, step_svg

LEVEL = "BabyAI-GoToObjS6-v1"
NAMES = ("left", "right", "forward", "pickup", "drop", "toggle", "done")


def play_with_the_bot(stepper, limit=60):
    """Click what minigrid's own bot would do, until the episode is over; returns minigrid's last reward."""
    env = make_minigrid(LEVEL)
    env.reset(seed=stepper.game.seed)
    bot = BabyAIBot(env.unwrapped)
    for _ in range(limit):
        action = int(bot.replan())
        _, reward, terminated, truncated, _ = env.step(action)
        stepper.buttons[NAMES[action]].click()
        if terminated or truncated:
            return reward
    raise AssertionError("the bot did not finish")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_mission_can_be_won_by_clicking_and_pays_what_minigrid_pays(seed):
    stepper = ml.Stepper(LEVEL, seed=seed)
    reward = play_with_the_bot(stepper)
    game = stepper.game
    assert game.over and game.success and game.reward == pytest.approx(reward)
    assert f"Mission accomplished in {game.steps} steps" in stepper.screen.value
    assert f"{reward:.3f}" in stepper.screen.value


@pytest.mark.parametrize("action", NAMES)
def test_each_button_takes_its_own_action(action):
    stepper = ml.Stepper(LEVEL, seed=5)
    env = make_minigrid(LEVEL)
    env.reset(seed=5)
    seen, *_ = env.step(NAMES.index(action))
    stepper.buttons[action].click()
    np.testing.assert_array_equal(stepper.game.view, seen["image"])
    assert stepper.game.steps == 1
    assert "step 1 of 36" in stepper.screen.value


def test_a_click_redraws_the_screen():
    stepper = ml.Stepper(LEVEL, seed=0)
    before = stepper.screen.value
    stepper.buttons["left"].click()
    assert stepper.screen.value != before


def test_running_out_of_time_is_said_and_more_clicks_change_nothing():
    stepper = ml.Stepper(LEVEL, seed=0)
    for _ in range(36):
        stepper.buttons["drop"].click()
    assert stepper.game.over and not stepper.game.success
    assert "Out of time after 36 steps" in stepper.screen.value
    view = stepper.game.view.copy()
    stepper.buttons["left"].click()
    assert "press “restart” or “new level”" in stepper.screen.value
    assert stepper.game.steps == 36
    np.testing.assert_array_equal(stepper.game.view, view)


def test_restart_begins_the_same_level_again():
    stepper = ml.Stepper(LEVEL, seed=0)
    first = stepper.screen.value
    for name in ("left", "forward", "forward"):
        stepper.buttons[name].click()
    stepper.buttons["restart"].click()
    assert stepper.screen.value == first


def test_new_level_deals_the_level_of_the_next_seed():
    stepper = ml.Stepper(LEVEL, seed=0)
    stepper.buttons["new level"].click()
    assert stepper.game.seed == 1
    assert stepper.screen.value == ml.Stepper(LEVEL, seed=1).screen.value


def test_a_mistake_is_shown_as_a_sentence_and_the_game_goes_on(monkeypatch):
    stepper = ml.Stepper(LEVEL, seed=0)

    def fail(seed):
        raise UserError("no level today")

    monkeypatch.setattr(stepper.game, "deal", fail)
    stepper.buttons["new level"].click()
    assert "no level today" in stepper.screen.value
    stepper.buttons["left"].click()
    assert "no level today" not in stepper.screen.value and stepper.game.steps == 1


def test_an_unknown_level_is_refused_when_the_stepper_is_made():
    with pytest.raises(UserError, match="BabyAI-GoToObj"):
        ml.Stepper("BabyAI-GoToObjj-v0")


def test_an_unknown_action_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match="'forward'"):
        ml.Stepper(LEVEL).game.act("foward")


def test_the_stepper_needs_nothing_from_the_network():
    assert "http" not in ml.Stepper(LEVEL).screen.value.replace('xmlns="http://www.w3.org/2000/svg"', "")


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
        assert xray.screen.value == step_svg(trace, t)
        assert describe(trace, t) in xray.caption.value.replace("&quot;", '"')
    xray.t = 3
    assert xray.screen.value == step_svg(trace, 3)


def test_xray_refuses_a_step_outside_the_episode():
    with pytest.raises(UserError, match="step 9"):
        ml.XRay(make_trace(T=4), t=9)


@pytest.mark.parametrize("make", [lambda: ml.Stepper(LEVEL), lambda: ml.XRay(make_trace(T=2))])
def test_a_widget_shows_itself_and_has_a_picture_and_a_sentence_for_pages_without_widgets(make):
    viewer = make()
    shown = viewer._repr_mimebundle_()
    view = shown["application/vnd.jupyter.widget-view+json"]
    assert view["model_id"] == viewer.widget.model_id
    assert base64.b64decode(shown["image/png"]).startswith(b"\x89PNG") and "text/html" not in shown
    assert "object at 0x" not in shown["text/plain"]
    assert isinstance(viewer.widget, ipywidgets.VBox)
