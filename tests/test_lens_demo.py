"""The two-minute demo of the instructor's guide: its cells run, and what it says comes out, number by number."""

import re

import numpy as np
from test_course_guides import guide, rows

from metarim_lite.lens.choosing import held_out
from metarim_lite.lens.interventions import ModulesOff
from metarim_lite.lens.what_if import Effect, compare, control_for, effect

DEMO = guide("00_start_here")["The two-minute demo"]
SPOKEN_A_MINUTE = 160  # words, at the pace of a lecture


def cells():
    return re.findall(r"```python\n(.*?)```", DEMO, flags=re.DOTALL)


def said() -> list[str]:
    return [words for _, _, words in rows(DEMO)]


def test_what_the_demo_says_comes_out():
    names = {}
    first, second = cells()
    exec(first, names)  # the guide's own words
    what_if = eval(second, names)
    for n in (0, 2):
        what_if.modules[n].value = not what_if.modules[n].value
    assert what_if.change == ModulesOff((2,), 0)
    what_if.buttons["play"].click()
    shown = what_if.verdict.value
    for words in ("success in 11 steps", "no success in 64 steps", "module 5 off: success in 14 steps"):
        assert words in shown
    told = " ".join(said())
    assert "success in 11 steps. Module 2 off: no success in 64 steps. Module 5 off, the control: success in 14" in told
    trace = names["trace"]
    assert trace.mission == "go to the purple box" and (trace.active.sum(1) == 4).all()
    assert (trace.active[1:] != trace.active[:-1]).any()
    change = ModulesOff((2,), 0)
    control, _ = control_for(trace, change, np.random.default_rng(0))
    *_, found = effect(trace.agent, held_out(trace.level, 200), change, control, trace.seed, trace.greedy)
    assert isinstance(found, Effect)
    numbers = [100 * v for v in (found.original.value, found.changed.value, -found.difference.value)]
    numbers += [-100 * found.difference.high, -100 * found.difference.low, -100 * found.control_difference.value]
    expected = re.search(
        r"success in (\d+) of 100\. Without module 2, in (\d+)\. The difference is (\d+) points, and the interval goes "
        r"from (\d+) to (\d+)\. The control differs by (\d+) points",
        told,
    )
    np.testing.assert_allclose(numbers, [int(n) for n in expected.groups()], atol=1.0)
    assert found.control_difference.low < 0 < found.control_difference.high
    assert compare(trace, change).control.interventions == (control,)


def test_the_demo_can_be_said_in_its_time():
    clock = [60 * int(minute) + int(second) for minute, second in (at.split(":") for at, *_ in rows(DEMO))]
    for words, begins, ends in zip(said(), clock, [*clock[1:], 120], strict=True):
        assert len(words.split()) <= SPOKEN_A_MINUTE * (ends - begins) / 60, words
