"""The lessons in JupyterLab: they run without an error, and every button of every widget in them can be pressed."""

import itertools
import json

import pytest
from conftest import REPOSITORY
from pressing import SIZES, until

from metarim_lite.course.clocks import words_on_clocks
from metarim_lite.training.methods import METHODS
from metarim_lite.training.timescales import TimeScales

LESSONS = [name for name in ("00_start_here", "03_attention_bottlenecks", "06_fast_and_slow")
           if (REPOSITORY / "notebooks" / f"{name}.ipynb").exists()]  # fmt: skip
ALL = sorted(path.stem for path in (REPOSITORY / "notebooks").glob("0*.ipynb"))
FILE_BROWSER = 264  # pixels that it takes in JupyterLab
TOO_WIDE = """() => {
  const book = document.querySelector(".jp-WindowedPanel-outer");
  const code = [...document.querySelectorAll(".jp-Notebook .cm-scroller")].filter(
    part => part.offsetParent && part.scrollWidth > part.clientWidth + 1);
  return [book.scrollWidth - book.clientWidth, code.map(part => part.innerText.slice(0, 60))]; }"""
BEGINS = {"hand over": "take back", "▶ play": "pause"}  # what goes on by itself is stopped by pressing it again
BUTTONS = """cell => [...cell.querySelectorAll("button.jupyter-button")].map(button => {
  const box = button.getBoundingClientRect();
  const name = button.textContent.trim() || button.title;
  return {name, works: box.width > 0 && !button.disabled, left: box.left, right: box.right}; })"""
SLOW = ("03_attention_bottlenecks", "06_fast_and_slow")  # many widgets, and what the latter trains, take minutes


def parts(names):
    """The lessons as parameters; those that are not slow are swift."""
    return [pytest.param(name, marks=() if name in SLOW else pytest.mark.swift) for name in names]


@pytest.mark.parametrize("lesson", parts(LESSONS))
def test_the_lesson_runs_and_all_its_buttons_can_be_pressed(lab, browser, lesson):
    opened = lab.open(browser, lesson)
    page = opened.page
    stills = page.locator(".jp-OutputArea-output img")
    for still in stills.all():  # nobody has run it yet: whole pictures stand there
        still.scroll_into_view_if_needed()
        assert still.evaluate("e => e.naturalWidth") > 300
    opened.run_all()
    widgets, pressed = page.locator(".jp-OutputArea-output", has=page.locator("button.jupyter-button")), 0
    for size, theme in itertools.product(SIZES, ("light", "dark") if widgets.count() else ()):
        opened.dress(SIZES[size], theme)
        for widget in widgets.all():
            pressed += press_all(page, widget, SIZES[size][0])
        if lesson == "06_fast_and_slow":
            the_clocks_turn(page, SIZES[size][0])
            the_miniature_runs(page)
    if lesson == "00_start_here":
        assert pressed >= 4 * 18
    assert not page.locator("[data-mime-type='application/vnd.jupyter.error']").count()
    assert not opened.errors
    opened.close()


def press_all(page, widget, wide):
    """Press every button of a widget that can be pressed now or later; how many were."""
    widget.evaluate("e => e.scrollIntoView({block: 'start'})")
    buttons, pressed = widget.locator("button.jupyter-button"), 0
    for i in range(buttons.count()):
        found = widget.evaluate(BUTTONS)[i]  # what was pressed before may have disabled it
        if not found["works"]:
            continue
        name = found["name"]
        assert name, "every button has a name that can be read out"
        assert 0 <= found["left"] and found["right"] <= wide, name
        buttons.nth(i).click()
        if name in BEGINS:
            until(buttons.nth(i).inner_text, BEGINS[name])
            buttons.nth(i).click()
        pressed += 1
    page.wait_for_timeout(300)
    assert "Something went wrong" not in widget.inner_text()
    return pressed


@pytest.fixture
def whole(lab):
    """Notebooks are drawn whole, not only the cells that are in view."""
    place = lab.folder / "settings" / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps({"windowingMode": "none"}))
    yield lab
    place.unlink()


@pytest.mark.parametrize("lesson", ALL)
def test_nobody_has_to_scroll_a_lesson_sideways(whole, browser, lesson):
    """No code is cut in a window of 1280 pixels with the file browser open; on a phone the page stands still."""
    opened = whole.open(browser, lesson)
    for width in (1280 - FILE_BROWSER, 420):
        opened.page.set_viewport_size({"width": width, "height": 800})
        opened.page.wait_for_function(f"document.querySelector('.jp-WindowedPanel-outer').clientWidth <= {width}")
        sideways, cut = settled(opened.page, TOO_WIDE)
        assert sideways <= 2, width
        assert width == 420 or cut == []
    opened.close()


def settled(page, ask):
    """What a page answers as soon as it answers three times the same."""
    answers = [None, None, object()]
    while answers[0] != answers[1] or answers[1] != answers[2]:
        page.wait_for_timeout(250)
        answers = [*answers[1:], page.evaluate(ask)]
    return answers[-1]


def panel(page, label):
    """The widget of lesson 06 that has a control of this name."""
    found = page.locator(".jp-OutputArea-output", has=page.get_by_label(label, exact=True)).first
    found.evaluate("e => e.scrollIntoView({block: 'start'})")
    return found


def the_clocks_turn(page, wide):
    """Whatever is set, the picture and its sentence are those of the clocks that are set."""
    clocks = panel(page, "method")
    said, handle = clocks.locator("[role=img]").first, clocks.get_by_role("slider").first
    for name in ("rim", "meta-rim"):
        clocks.get_by_label("method", exact=True).select_option(label=name)
        every, fast, slow = (int(number) for number in clocks.locator(".widget-readout").all_inner_texts())
        handle.focus()
        handle.press("ArrowRight" if every < 12 else "ArrowLeft")
        changes = {"slow_every": every + (1 if every < 12 else -1), "fast_span": fast, "slow_span": slow}
        expected = words_on_clocks(TimeScales(**vars(METHODS[name].timescales) | changes))
        until(lambda: said.get_attribute("aria-label"), expected, 60)
    box = said.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= wide


def the_miniature_runs(page):
    """A press of "run" draws a new picture, with the rate that was set just before."""
    miniature = panel(page, "way")
    said = miniature.locator("[role=img]")
    way = miniature.get_by_label("way", exact=True)
    names = way.locator("option").all_inner_texts()
    for name in names[:2]:
        before = said.inner_html()
        way.select_option(label=name)
        miniature.get_by_role("button", name="run", exact=True).click()
        until(said.inner_html, lambda now, before=before: now != before, 90)
        assert "Skill at the end of a task" in said.get_attribute("aria-label")
