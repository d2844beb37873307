"""The two-minute demo of the instructor's guide, pressed in JupyterLab as the guide says."""

import sys
import time
from pathlib import Path

from pressing import Widget, until

sys.path.insert(0, str(Path(__file__).parents[1]))
from test_lens_demo import cells  # noqa: E402


def test_the_two_minute_demo(lab, browser):
    lab.add("demo", cells())
    began = time.monotonic()
    opened = lab.open(browser, "demo")
    opened.run_all()
    xray = Widget(opened.page, "next change")
    xray.press("▶ play")
    until(lambda: "go to the purple box" in xray.text() and "step 11" not in xray.text(), True)
    what_if = Widget(opened.page, "what if?")
    for name in ("0", "2", "what if?"):
        what_if.press(name)
    until(lambda: "no success in 64 steps" in what_if.text(), True)
    what_if.press("over 200 levels")
    until(lambda: "200 held-out levels: success 0.9" in what_if.text(), True, 180)
    print(
        f"\nthe two-minute demo: {time.monotonic() - began:.0f} s of waiting, from opening the page to the last number"
    )
    assert not opened.errors
    opened.close()
