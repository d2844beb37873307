"""The replay page, opened from disk: it moves by slider, by keys and by itself, and shows its controls."""

import re

import pytest

import metarim_lite as ml

pytestmark = pytest.mark.swift
SIZES = {"laptop": (1280, 800), "phone": (420, 900)}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replay")
    bank = ml.LevelBank.generate("BabyAI-GoToLocal-v0", seeds=range(1_000_000, 1_000_020))
    names = ("meta-rim-gotolocal", "lstm-gotolocal")
    rim, lstm = (ml.Trace.record(ml.load_agent(name), bank, 13, 1_000_013) for name in names)
    return {"one": rim.to_html(folder / "one.html"), "two": rim.to_html(folder / "two.html", beside=lstm)}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["one", "two"])
def test_the_page_moves_and_fits(pages, browser, kind, size, theme):
    wide, high = SIZES[size]
    page = browser.new_context(viewport={"width": wide, "height": high}, color_scheme=theme).new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: errors.append(request.url) if not request.url.startswith("file:") else None)
    page.goto(pages[kind].as_uri())
    first, last = page.locator("#picture").inner_html(), int(page.locator("#slider").get_attribute("max"))

    def count():
        return page.locator("#count").inner_text()

    page.keyboard.press("ArrowRight")
    assert count() == f"1 / {last}" and page.locator("#picture").inner_html() != first
    page.keyboard.press("End")
    assert count() == f"{last} / {last}" and "episode is over" in page.locator("#caption").inner_text()
    page.keyboard.press("Home")
    assert page.locator("#picture").inner_html() == first
    page.locator("#slider").fill("2")
    assert count() == f"2 / {last}" and page.locator("#caption").inner_text().find("Step 2") >= 0
    page.locator("body").press(" ")
    page.wait_for_function("Number(document.querySelector('#slider').value) >= 3")
    page.locator("#play").click()
    for name in ("first step", "one step back", "▶ play", "one step on", "last step"):
        box = page.get_by_role("button", name=name, exact=True).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= wide and box["y"] + box["height"] <= high
    box = page.locator("#slider").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= wide and box["y"] + box["height"] <= high
    assert page.evaluate("document.documentElement.scrollWidth") <= wide
    if size == "laptop":
        assert page.evaluate("document.documentElement.scrollHeight") <= high
    ground = page.evaluate("getComputedStyle(document.querySelector('#picture svg rect')).fill")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 300) == (theme == "dark")
    assert not [e for e in errors if not e.startswith("data:")]
    page.context.close()
