"""What both widgets share: interrupts, keys, pages without widgets, and the ipywidgets that Colab brings."""

import base64
import re
from pathlib import Path

import ipywidgets
import pytest
from lens_traces import make_trace

import metarim_lite as ml
from metarim_lite.lens.controls import guarded

LEVEL = "BabyAI-GoToObjS6-v1"


def test_an_interrupt_in_the_middle_of_a_callback_is_said():
    said = []

    def interrupted():
        raise KeyboardInterrupt

    guarded(interrupted, said.append)()
    assert said == ["The kernel was interrupted in the middle; nothing is lost, try again."]


def test_the_keys_press_buttons_that_are_there():
    for viewer in (ml.XRay(make_trace(T=2)), ml.Stepper(LEVEL)):
        strip = next(w.value for w in viewer.widget.children if "onkeydown" in getattr(w, "value", ""))
        asked = set(re.findall(r"&#x27;[^&]*&#x27;:&#x27;(\w+)&#x27;", strip))
        classes = {c for b in viewer.buttons.values() for c in b._dom_classes}
        assert asked and {f"metarim-key-{name}" for name in asked} <= classes
        assert "metarim-widget" in viewer.widget._dom_classes and "data-lm-suppress-shortcuts" in strip


@pytest.mark.parametrize("make", [lambda: ml.Stepper(LEVEL), lambda: ml.XRay(make_trace(T=2))])
def test_a_widget_shows_itself_and_has_a_picture_and_a_sentence_for_pages_without_widgets(make):
    viewer = make()
    shown = viewer._repr_mimebundle_()
    view = shown["application/vnd.jupyter.widget-view+json"]
    assert view["model_id"] == viewer.widget.model_id
    assert base64.b64decode(shown["image/png"]).startswith(b"\x89PNG") and "text/html" not in shown
    assert "object at 0x" not in shown["text/plain"]
    assert isinstance(viewer.widget, ipywidgets.VBox)


IN_IPYWIDGETS_7 = {
    "Box", "Button", "Checkbox", "Dropdown", "FloatProgress", "FloatSlider", "FloatText", "GridBox", "HBox", "HTML",
    "Image", "IntProgress", "IntSlider", "IntText", "Label", "Layout", "Output", "Play", "Select", "Text", "Textarea",
    "ToggleButton", "ToggleButtons", "VBox",
}  # fmt: skip


def test_widgets_are_those_that_ipywidgets_7_has_which_colab_brings(monkeypatch):
    """Version 7 has no `_repr_mimebundle_`. (All tests of widgets passed with ipywidgets 7.7.1 as they do with 8.)"""
    for path in Path(ml.__file__).parent.rglob("*.py"):
        used = set(re.findall(r"\bipywidgets\.([A-Z]\w+)", path.read_text(encoding="utf-8")))
        assert used <= IN_IPYWIDGETS_7, path
    monkeypatch.delattr(ipywidgets.Widget, "_repr_mimebundle_", raising=False)
    for viewer in (ml.Stepper(LEVEL), ml.XRay(make_trace(T=2))):
        assert viewer._repr_mimebundle_()["application/vnd.jupyter.widget-view+json"] == {
            "version_major": 2,
            "version_minor": 0,
            "model_id": viewer.widget.model_id,
        }
