"""The widgets in a real kernel, spoken to as JupyterLab does: what was typed is there when a button is pressed, and an
interrupt reaches what the button does."""

import json
import os
import time

import pytest
from jupyter_client.manager import start_new_kernel

import metarim_lite as ml

LEVEL = "BabyAI-GoToLocal-v0"
WIDGETS = f"""
import json, os, threading, time
import metarim_lite as ml
from metarim_lite.course import clocks
from metarim_lite.errors import UserError
from metarim_lite.lens.choosing import LEVELS
from metarim_lite.lens.field_view import FieldView

def learn(miniature, **_):
    raise UserError(f"alpha {{miniature.fast_lr}}")

clocks.learn = learn
agent = ml.load_agent("meta-rim-gotolocal")
trace = ml.Trace.record(agent, ml.LevelBank.generate({LEVEL!r}, seeds=[3]), level=0, seed=0)
stepper, xray, what_if, field = ml.Stepper({LEVEL!r}), ml.XRay(trace), ml.WhatIf(trace), FieldView(agent, trace)
sliders, picture = clocks.miniature_sliders().children
alpha, run = (next(one for one in sliders.children if one.description == name) for name in ("α", "run"))
told = lambda: what_if.result.changed.interventions[0].text
"""


class Kernel:
    """A kernel, and what a front end does with it."""

    def __init__(self):
        self.manager, self.client = start_new_kernel(kernel_name="python3")
        self.main(WIDGETS)
        self.client.control_channel.send(self.client.session.msg("create_subshell_request", {}))
        made = self.client.control_channel.get_msg(timeout=30)
        self.beside = made["content"].get("subshell_id")  # None: a kernel that knows no such threads

    def send(self, kind, content, beside):
        """A message to the main thread or, as JupyterLab asks it for widgets, to the thread beside it."""
        message = self.client.session.msg(kind, content)
        if beside and self.beside is not None:
            message["header"]["subshell_id"] = self.beside
        self.client.shell_channel.send(message)
        return message["header"]["msg_id"]

    def main(self, code="", ask="None"):
        """Run code in the main thread, after all that was sent there before; returns what the expression then is."""
        content = {"code": code, "silent": False, "user_expressions": {"asked": f"json.dumps({ask})"}}
        sent = self.send("execute_request", content, beside=False)
        while (reply := self.client.get_shell_msg(timeout=60))["parent_header"].get("msg_id") != sent:
            pass
        assert reply["content"]["status"] == "ok", reply["content"]
        return json.loads(eval(reply["content"]["user_expressions"]["asked"]["data"]["text/plain"]))

    def said(self, widget, data):
        self.send("comm_msg", {"comm_id": self.main(ask=f"{widget}.model_id"), "data": data}, beside=True)

    def set(self, widget, **state):
        self.said(widget, {"method": "update", "state": state, "buffer_paths": []})

    def press(self, button):
        self.said(button, {"method": "custom", "content": {"event": "click"}})


@pytest.fixture(scope="module")
def kernel():
    kernel = Kernel()
    yield kernel
    kernel.client.stop_channels()
    kernel.manager.shutdown_kernel(now=True)


@pytest.mark.parametrize(
    ("field", "first", "second", "button", "asked", "expected"),
    [
        ("stepper.choice['seed']", {"value": 5}, {"value": 6}, "stepper.buttons['play it']", "stepper.game.seed", 6),
        (
            "stepper.choice['level']", {"index": 0}, {"index": 2}, "stepper.buttons['play it']",
            "LEVELS.index(stepper.game.level_id)", 2,
        ),
        ("xray.choice['seed']", {"value": 5}, {"value": 6}, "xray.buttons['record']", "xray.trace.seed", 6),
        (
            "what_if.mission", {"value": "go to the red ball"}, {"value": "go to the blue key"},
            "what_if.buttons['play']", "told()", "go to the blue key",
        ),
        ("alpha", {"index": 0}, {"index": 4}, "run", "picture.value", "<p>alpha 0.4</p>"),
    ],
    ids=["Stepper's seed", "Stepper's level", "XRay's seed", "words of WhatIf's mission", "a slider of lesson 06"],
)  # fmt: skip
def test_what_was_typed_is_there_when_the_button_is_pressed(field, first, second, button, asked, expected, kernel):
    """However busy the other thread is that JupyterLab asks to handle it."""
    kernel.main("what_if.kind.value = 'tell another mission'")
    kernel.set(field, **first)
    kernel.press(button)
    assert kernel.main(ask=asked) != expected
    if kernel.beside is not None:
        kernel.send("execute_request", {"code": "time.sleep(0.7)"}, beside=True)
    kernel.set(field, **second)
    kernel.press(button)
    assert kernel.main(ask=asked) == expected


def test_what_a_front_end_sends_late_still_counts_for_the_press_before_it(monkeypatch):
    """Of two quick changes of a field, ipywidgets keeps the second back until the kernel has answered the first."""
    now = [0.0]
    monkeypatch.setattr("metarim_lite.lens.controls.monotonic", lambda: now[0])
    stepper = ml.Stepper(LEVEL, seed=0)
    stepper.choice["seed"].value = 4
    assert stepper.game.seed == 0  # nothing was pressed
    stepper.buttons["play it"].click()
    stepper.choice["seed"].value = 5
    assert stepper.game.seed == 5
    stepper.choice["seed"].value = -1
    assert "-1" in stepper.screen.value and stepper.game.seed == 5
    now[0] += 1
    stepper.choice["seed"].value = 6
    assert stepper.game.seed == 5


def test_every_part_of_every_widget_is_heard_by_the_main_thread(kernel):
    heard = """
def parts(widget):
    return [widget, *(part for child in getattr(widget, "children", ()) for part in parts(child))]

shown = [one.widget for one in (stepper, xray, what_if, field)]
routes = [getattr(part.comm, "_reply_subshell_for", None) for one in shown for part in parts(one)]
"""
    assert kernel.main(heard, ask="len(routes)") > 60
    assert kernel.main(ask="all(route is None or route({}, 'beside') is None for route in routes)")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such interrupt")
def test_interrupted_in_the_middle_of_a_callback_it_says_so_and_works_on(kernel):
    kernel.main("deal = stepper.game.deal\nstepper.game.deal = lambda *_: time.sleep(30)")
    kernel.press("stepper.buttons['new level']")
    time.sleep(1.0)
    kernel.manager.interrupt_kernel()
    assert "was interrupted in the middle" in kernel.main(ask="stepper.screen.value")
    kernel.main("stepper.game.deal = deal")
    kernel.press("stepper.buttons['new level']")
    assert "interrupted" not in kernel.main(ask="stepper.screen.value")
