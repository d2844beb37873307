"""How the tests in a browser find widgets, press their buttons and time them."""

import re
import time

SIZES = {"laptop": (1280, 800), "phone": (420, 900)}

# Press a button; milliseconds from the click until a new picture was there and the page was painted again.
TIMED_CLICK = """
([widget, name]) => new Promise((done, failed) => {
  const button = [...widget.querySelectorAll("button")].find(b => b.textContent.trim() === name);
  const began = performance.now();
  const isPicture = node => node.matches && (node.matches(".metarim-room") || node.querySelector(".metarim-room"));
  const seen = new MutationObserver(changes => {
    if (!changes.some(change => [...change.addedNodes].some(isPicture))) return;
    seen.disconnect();
    requestAnimationFrame(() => setTimeout(() => done(performance.now() - began)));
  });
  seen.observe(widget, {childList: true, subtree: true});
  setTimeout(() => { seen.disconnect(); failed(new Error("no new picture after " + name)); }, 10000);
  button.click();
})
"""


def until(said, expected, seconds=15.0):
    """Wait until `said()` is the expected value, or fulfils it where it is a function; returns what was said."""
    end = time.monotonic() + seconds
    while True:
        now = said()
        if expected(now) if callable(expected) else now == expected:
            return now
        assert time.monotonic() < end, f"it says {now!r}, not {expected!r}"
        time.sleep(0.05)  # asking costs the page as much as it costs us


class Widget:
    """One widget in a page, found by one of its buttons (and by one that it has not)."""

    def __init__(self, page, with_button: str, without: str = "no such button") -> None:
        self.page = page
        has, has_not = (page.get_by_role("button", name=name, exact=True) for name in (with_button, without))
        self.at = page.locator(".metarim-widget").filter(has=has, has_not=has_not).first
        self.at.wait_for(timeout=60_000)
        self.show()

    def show(self) -> None:
        self.at.evaluate("e => e.scrollIntoView({block: 'start'})")

    def button(self, name: str):
        return self.at.get_by_role("button", name=name, exact=True)

    def press(self, name: str) -> None:
        self.button(name).click()

    def timed(self, name: str) -> float:
        """Milliseconds from a click to the new picture."""
        return self.page.evaluate(TIMED_CLICK, [self.at.element_handle(), name])

    def choose(self, label: str, value: str) -> None:
        self.at.get_by_label(label, exact=True).select_option(label=value)

    def text(self) -> str:
        return self.at.inner_text()

    def seen(self, form: str) -> list[str]:
        """What the drawings of this form say of themselves."""
        return self.at.locator(f"{form} svg").evaluate_all("all => all.map(e => e.getAttribute('aria-label'))")

    def pictures(self) -> list[str]:
        """The frames of the world that are shown."""
        return self.at.locator("img").evaluate_all("all => all.map(e => e.src)")

    def names(self) -> list[str]:
        """Of all buttons that can be pressed."""
        return [b.inner_text().strip() for b in self.at.get_by_role("button").all() if b.is_visible()]

    def box(self, what: str):
        return self.at.locator(what).first.bounding_box()

    def smallest_letters(self) -> float:
        """Pixels."""
        return self.at.evaluate(
            """w => Math.min(...[...w.querySelectorAll("svg text")].filter(e => e.getBoundingClientRect().height)
                .map(e => parseFloat(e.getAttribute("font-size")) * e.getCTM().a))"""
        )

    def ground(self) -> int:
        """How bright the paper of a drawing is, 0 … 765."""
        ground = self.at.locator("svg rect").first.evaluate("e => getComputedStyle(e).fill")
        return sum(map(int, re.findall(r"\d+", ground)[:3]))
