"""Every slide of every lesson, in a real browser: nothing sticks out, is too small, or is fetched."""

from pathlib import Path

import pytest

from metarim_lite.course.slides import slides

LESSONS = sorted(path.stem for path in (Path(__file__).parents[2] / "notebooks" / "_source").glob("*.py"))
LEGIBLE = 0.6  # of the usual size of letters
STICKS_OUT = """() => {
  const slide = deck.getCurrentSlide();
  const out = [...slide.querySelectorAll(".fitted, .fitted *")].filter(part => {
    const box = part.getBoundingClientRect();
    return !part.closest("aside") && box.width && box.height
      && (box.right > innerWidth + 1 || box.bottom > innerHeight + 1 || box.left < -1 || box.top < -1);
  });
  const text = slide.innerText.trim().slice(0, 60);
  return [text, Number(slide.dataset.zoom), out.map(part => part.outerHTML.slice(0, 70))];
}"""


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_slide_fits(lesson, browser, tmp_path):
    (made,) = slides([lesson], tmp_path)
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda r: errors.append(r.url) if not r.url.startswith(("file:", "data:", "blob:")) else None)
    page.goto(made.as_uri())
    page.wait_for_function("window.deck && deck.isReady()")
    seen = 0
    while True:
        page.wait_for_timeout(60)
        text, zoom, out = page.evaluate(STICKS_OUT)
        assert not out, (text, out)
        assert zoom >= LEGIBLE, f"{text!r} is drawn at {zoom:.0%}; give it another subslide"
        seen += 1
        if page.evaluate("deck.isLastSlide() && !deck.availableFragments().next"):
            break
        page.keyboard.press("Space")
    assert seen >= 5 and not errors
    page.context.close()
