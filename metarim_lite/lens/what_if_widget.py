"""What if?, as a widget: choose a change at a step, play it beside the original, and ask what it does to success."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import ipywidgets

from ..errors import UserError
from .choosing import held_out
from .controls import Ticker, alarm, bundle, button, chooser, guarded, row, whole
from .drawing import check_step, step_svg
from .interventions import (
    EditCell,
    Intervention,
    ModulesDeaf,
    ModulesForced,
    ModulesFrozen,
    ModulesOff,
    SwapMission,
    check,
)  # fmt: skip
from .page import caption, last_step, picture_html, sentence_html, styled
from .still import svg_png
from .trace import Trace
from .what_if import Comparison, Effect, compare, control_for, effect

ON_MODULES = {
    "switch off": ModulesOff,
    "freeze": ModulesFrozen,
    "force on": ModulesForced,
    "silence communication to": ModulesDeaf,
}
MISSION, CELL = "tell another mission", "edit a cell"
LEVELS = 200


class WhatIf:
    """Change one thing from one step on, and see the episode again, beside the original and beside a control.

    Example:
        >>> WhatIf(trace, t=3)

    The control is the same done to something else drawn at random. All are played with the same dice, so up to the
    step of the change all three are one and the same episode.
    """

    def __init__(self, trace: Trace, t: int = 0) -> None:
        check_step(trace, t)
        if trace.agent is None:
            raise UserError("This trace does not know who played it; record one with Trace.record.")
        self.trace, self.result = trace, None
        self.count = 0 if trace.active is None else trace.active.shape[1]
        self.style, self.screen = ipywidgets.HTML(styled("")), ipywidgets.HTML()
        self.caption, self.verdict = ipywidgets.HTML(), ipywidgets.HTML()
        auto = {"description_width": "auto"}
        wide = {"flex": "1 1 150px", "width": "auto", "min_width": "150px"}
        self.slider = ipywidgets.IntSlider(t, 0, trace.num_steps, description="step", layout=wide, style=auto)
        kinds = (*(ON_MODULES if self.count else ()), MISSION, CELL)
        self.kind = chooser("from this step:", kinds, kinds[0], "300px", "270px")
        self.modules = [
            ipywidgets.ToggleButton(n == 0, description=str(n), tooltip=f"module {n}", layout={"width": "38px"})
            for n in range(self.count)
        ]
        self.of_modules = row(ipywidgets.Label("modules"), *self.modules, width="auto")
        typed = {"continuous_update": False, "style": auto}  # a press may overtake what is sent letter by letter
        long = {"width": "min(100%, 320px)"}
        self.mission = ipywidgets.Text(trace.mission, description="mission", layout=long, **typed)
        words, short = "click a cell above, or type x, y:", {"width": "min(100%, 360px)"}
        self.cell = ipywidgets.Text("1, 1", description=words, layout=short, **typed)
        self.cell.add_class("metarim-cell")
        self.thing = chooser("put", ("nothing", "ball", "box", "key", "wall"), "ball", "130px")
        self.colour = chooser("in", ("red", "green", "blue", "purple", "yellow", "grey"), "blue", "110px")
        self.of_cell = row(self.cell, self.thing, self.colour, width="auto")
        self.of_cell.layout.max_width = "100%"
        self.beside = chooser("beside it", ("the change", "the control"), "the change", "190px", "150px")
        thin = {"flex": "0 1 140px", "min_width": "30px", "visibility": "hidden"}
        self.bar = ipywidgets.FloatProgress(0.0, min=0.0, max=1.0, layout=thin)
        self.ticker = Ticker(self.say)
        fields = (self.mission, self.cell)
        again, count = (
            "play it again with this change, and with the control",
            "success with and without, on held-out levels",
        )
        self.buttons = {
            "play": button("what if?", again, self.play, self.say, reads=fields),
            "levels": button(f"over {LEVELS} levels", count, self.levels, self.say, reads=fields),
            "stop": button("stop", "stop counting", self.stop, self.say),
        }
        self.buttons["play"].button_style = "primary"
        self.buttons["stop"].disabled = True
        self.widget = whole(
            [
                self.style,
                self.screen,
                row(self.slider),
                row(self.kind, self.of_modules, self.mission, self.of_cell),
                row(*self.buttons.values(), self.bar, self.beside),
                self.verdict,
                self.caption,
            ]
        )  # fmt: skip
        show = guarded(self._show, self.say)
        for one in (self.slider, self.beside):
            one.observe(lambda _: show(), names="value")
        self.kind.observe(lambda _: guarded(self._fit, self.say)(), names="value")
        self._fit()
        self._show()

    @property
    def change(self) -> Intervention:
        """What is chosen. Raises UserError where it makes no sense."""
        kind, start = self.kind.value, self.slider.value
        if kind in ON_MODULES:
            modules = tuple(n for n, one in enumerate(self.modules) if one.value)
            return ON_MODULES[kind](modules, start)
        if kind == MISSION:
            return SwapMission(self.mission.value.strip(), start)
        try:
            x, y = (int(v) for v in self.cell.value.split(","))
        except ValueError:
            raise UserError(f"a cell is two whole numbers such as 3, 4, not {self.cell.value!r}") from None
        thing = "empty" if self.thing.value == "nothing" else self.thing.value
        return EditCell(x, y, thing, self.colour.value, start)

    def say(self, problem: str) -> None:
        self.verdict.value = alarm(problem)

    def play(self) -> None:
        """Play the level with the change, and with the control, and show them beside the original."""
        self.result = compare(self.trace, self.change)
        self.verdict.value = sentence_html(str(self.result))
        self._show()

    def levels(self) -> None:
        """Count success over held-out levels, as it was, changed and with the control; `stop` ends it."""
        self.bar.layout.visibility, self.bar.value = "visible", 0.0
        self.buttons["stop"].disabled = False
        self.ticker.start(self._counting(self.change), self._counted)

    def stop(self) -> None:
        if self.ticker.busy:
            self.verdict.value = sentence_html("Stopped before all levels were played; nothing is counted.")
        self.ticker.stop()

    def _counting(self, change: Intervention) -> Iterator[None]:
        import numpy as np

        if isinstance(change, EditCell):
            raise UserError("An edited cell belongs to one level; over other levels it has no meaning.")
        (change,) = check((change,), self.count or None)
        control, note = control_for(self.trace, change, np.random.default_rng(0))
        note = note.rstrip(":.")  # nothing follows it here
        self.verdict.value = sentence_html(f"Playing {LEVELS} held-out levels ({change}; control: {note})")
        yield
        bank = held_out(self.trace.level, LEVELS)
        yield
        for found in effect(
            self.trace.agent, bank, change, control, self.trace.seed, self.trace.greedy, self.trace.interventions
        ):
            if isinstance(found, Effect):
                self.verdict.value = sentence_html(f"{change}: {found} (Control: {note})")
            else:
                self.bar.value = found
            yield

    def _counted(self) -> None:
        self.bar.layout.visibility, self.buttons["stop"].disabled = "hidden", True

    def _fit(self) -> None:
        """Only what belongs to the chosen kind of change is shown."""
        kind = self.kind.value
        for part, fits in (
            (self.of_modules, kind in ON_MODULES),
            (self.mission, kind == MISSION),
            (self.of_cell, kind == CELL),
        ):
            part.layout.display = None if fits else "none"
        self._show()

    def _right(self) -> Trace | None:
        if self.result is None:
            return None
        return self.result.control if self.beside.value == "the control" else self.result.changed

    def _show(self) -> None:
        right = self._right()
        last = last_step(self.trace, right)
        if self.slider.max != last:
            self.slider.max = last
        t = min(self.slider.value, last)
        drawn = picture_html(self.trace, t, right)
        self.screen.value = clickable(drawn, self.trace) if self.kind.value == CELL else drawn
        words = caption(self.trace, t, right)
        if self.result is not None and right is None:
            words = f"There is no control: {self.result.note} {words}"
        self.caption.value = sentence_html(words)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        still = svg_png(step_svg(self.trace, min(self.slider.value, self.trace.num_steps)))
        return bundle(self.widget, f"What if? {caption(self.trace, self.slider.value, self._right())}", still)


def clickable(drawn: str, trace: Trace) -> str:
    """The picture of a step; a click on a cell of its world writes its place into the field of class metarim-cell.

    ipywidgets know no clicks on pictures, so this is a script in the picture; without it the place can be typed.
    """
    across, down, _ = trace.worlds[0].cells(0).shape
    script = (
        "const s=event.target.closest('svg'),m=s&&s.querySelector('image');if(!m)return;"
        f"const r=m.getBoundingClientRect(),c=Math.min(r.width/{across},r.height/{down});"
        f"const x=Math.floor((event.clientX-r.left-r.width/2)/c+{across}/2);"
        f"const y=Math.floor((event.clientY-r.top-r.height/2)/c+{down}/2);"
        f"if(x<0||y<0||x>={across}||y>={down})return;"
        "const i=this.closest('.metarim-widget').querySelector('.metarim-cell input');"
        "i.value=x+', '+y;for(const e of ['input','change'])i.dispatchEvent(new Event(e,{bubbles:true}));"
    )
    return f'<div style="cursor:crosshair" onclick="{escape(script)}">{drawn}</div>'


__all__ = ["Comparison", "WhatIf", "clickable"]
