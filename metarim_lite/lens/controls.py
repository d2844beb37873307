"""What the widgets share: buttons whose mistakes are shown, work done bit by bit, keys, still pictures."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator, Sequence
from html import escape
from time import monotonic
from typing import Any

import ipywidgets

from ..errors import UserError
from .page import sentence_html

Show = Callable[[str], None]
LATE = 0.5  # seconds after a press in which a field's change still belongs to it


def row(*parts: Any, width: str = "100%") -> Any:
    """The parts side by side, in several lines where one is too short."""
    return ipywidgets.HBox(parts, layout={"flex_flow": "row wrap", "align_items": "center", "width": width})


def guarded(act: Callable[..., Any], show: Show) -> Callable[..., None]:
    """`act`, whose errors are shown as a sentence by `show`: a widget's callback loses none, and the widget goes on."""

    def acting(*values: Any) -> None:
        try:
            act(*values)
        except UserError as error:
            show(str(error))
        except KeyboardInterrupt:
            show("The kernel was interrupted in the middle; nothing is lost, try again.")
        except Exception as error:
            show(f"Something went wrong inside ({type(error).__name__}: {error}); the widget still works.")

    return acting


def button(
    label: str, tip: str, act: Callable[[], None], show: Show, width: str = "auto", key: str = "",
    reads: Sequence[Any] = (),
) -> Any:  # fmt: skip
    """A button that acts. `key`: the name by which `keyboard` finds it. `reads`: fields of which it uses what was
    typed."""
    made = ipywidgets.Button(description=label, tooltip=tip, layout={"width": width, "padding": "0 9px"})
    if key:
        made.add_class(f"metarim-key-{key}")
    run = with_latecomers(guarded(act, show), reads)
    made.on_click(lambda _: run())
    return made


def with_latecomers(act: Callable[[], None], fields: Sequence[Any]) -> Callable[[], None]:
    """`act`, which reads these fields and raises nothing, done once more when one of them changes right after it.

    A front end sends a press at once, but what a field says only when the kernel has answered what that field said
    before. So of two quick changes the second may come after the press that it came before.
    """
    done, inside = -LATE, False

    def acting() -> None:
        nonlocal done, inside
        inside = True
        act()
        done, inside = monotonic(), False

    def late(_: Any) -> None:
        if not inside and monotonic() - done < LATE:
            acting()

    for field in fields:
        field.observe(late, names="value")
    return acting


def chooser(label: str, options: Any, value: Any, width: str = "230px", least: str = "90px") -> Any:
    """A list to choose from: `width` wide where there is room, not less than `least`."""
    layout = {"flex": f"1 1 {least}", "width": "auto", "min_width": least, "max_width": width}
    return ipywidgets.Dropdown(
        description=label, options=options, value=value, layout=layout, style={"description_width": "auto"}
    )


def keyboard(keys: dict[str, str], words: str) -> Any:
    """A strip that takes the focus, and presses the buttons of its widget (`button(key=…)`) when keys are pressed.

    ipywidgets know nothing of keys, so this is a script in the strip itself; JupyterLab hands keys on to an element
    that asks for them (data-lm-suppress-shortcuts). Where a front end runs no such script, the words stay and buttons
    work.

    Args:
        keys: name of a key (as in JavaScript's event.key) -> key of a button.
        words: what the strip says.
    """
    table = ",".join(f"'{key}':'{name}'" for key, name in keys.items())
    script = (
        f"const n={{{table}}}[event.key];if(!n||event.ctrlKey||event.altKey||event.metaKey)return;"
        "event.preventDefault();event.stopPropagation();"
        "const b=this.closest('.metarim-widget').querySelector('.metarim-key-'+n);if(b)b.click();"
    )
    strip = ipywidgets.HTML(
        f'<div class="metarim-keyboard"><div class="metarim-keys" tabindex="0" role="group" '
        f'aria-label="{escape(words)}" data-lm-suppress-shortcuts="true" onkeydown="{escape(script)}">'
        f'⌨ keys<span class="metarim-wordy">: {escape(words)}</span></div></div>'
    )
    strip.layout.width = "calc(100% - 4px)"  # a widget has margins of 2 pixels
    return strip


class Ticker:
    """Work done bit by bit in the kernel's own loop, so that cells and buttons answer in between.

    Without a running loop (a script, a test) all of it is done at once. `steps` is a generator; what it does between
    two `yield`s is one bit.
    """

    def __init__(self, show: Show) -> None:
        self.show, self.task = show, None

    @property
    def busy(self) -> bool:
        return self.task is not None and not self.task.done()

    def start(self, steps: Iterator[Any], ended: Callable[[], None], pause: float = 0.0) -> None:
        """Begin; `ended` is called at the end, whether it came by itself, by `stop` or by an error (which is shown)."""
        self.stop()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            guarded(lambda: [None for _ in steps], self.show)()
            ended()
            return
        self.task = loop.create_task(self._run(steps, ended, pause))

    def stop(self) -> None:
        if self.busy:
            self.task.cancel()
        self.task = None

    async def _run(self, steps: Iterator[Any], ended: Callable[[], None], pause: float) -> None:
        more = True

        def step() -> None:
            nonlocal more
            more = False
            next(steps)
            more = True

        try:
            while True:
                guarded(_until_end(step), self.show)()
                if not more:
                    return
                await asyncio.sleep(pause)
        finally:
            ended()


def _until_end(step: Callable[[], None]) -> Callable[[], None]:
    """`step`, for which the end of its generator is no error."""

    def stepping() -> None:
        try:
            step()
        except StopIteration:
            return

    return stepping


def whole(widget_parts: list[Any]) -> Any:
    """The parts below each other, as one widget that `keyboard` finds its buttons in."""
    box = ipywidgets.VBox(widget_parts)
    box.add_class("metarim-widget")
    return in_order(box)


def in_order(widget: Any) -> Any:
    """The widget, all of whose parts are heard by the kernel's main thread: one after the other, and an interrupt
    reaches what they do.

    JupyterLab asks for another thread (a subshell), and ipykernel 7.4 takes for each part the thread from which that
    part was last changed. What is typed in a field may then be heard after a press of the button beside it that came
    later, and two callbacks may run at once. There is no public switch for it.
    """
    if hasattr(widget.comm, "_reply_subshell_for"):
        widget.comm._reply_subshell_for = lambda data, default: None
    for part in getattr(widget, "children", ()):
        in_order(part)
    return widget


def live(widget: Any) -> dict[str, Any]:
    """The widget for front ends that have widgets. (ipywidgets 8 gives this itself, ipywidgets 7 only displays it.)"""
    reference = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    return {"application/vnd.jupyter.widget-view+json": reference}


def bundle(widget: Any, sentence: str, png: bytes) -> dict[str, Any]:
    """The widget for front ends that have widgets, a still picture or a sentence for those that have none.

    The picture is a PNG because JupyterLab strips drawings (SVG) from notebooks that were not run yet.
    """
    still = base64.b64encode(png).decode()
    sentence = f"{sentence} (A still picture: run this cell to get buttons.)"
    return {"text/plain": sentence, "image/png": still} | live(widget)


def alarm(words: str) -> str:
    return sentence_html(words, alarm=True)
