"""XRay: a recorded episode, step by step; another one beside it, if you like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import ipywidgets
import numpy as np

from ..envs import LevelBank
from ..errors import UserError
from .choosing import Agents, levels_with
from .controls import Ticker, alarm, bundle, button, chooser, guarded, keyboard, row, whole
from .drawing import check_step, step_svg, whole_step
from .page import caption, last_step, picture_html, sentence_html, styled
from .still import svg_png
from .trace import Trace

NOBODY = "nobody"


def next_change(trace: Trace, t: int) -> int | None:
    """The next step after t whose set of active modules is another one than in the step before it; None: no more."""
    if trace.active is None:
        return None
    changes = np.flatnonzero((trace.active[1:] != trace.active[:-1]).any(axis=1)) + 1
    later = changes[changes > t]
    return int(later[0]) if len(later) else None


def largest_drop(trace: Trace) -> int | None:
    """The step before which the critic's value fell most; None when it never fell."""
    falls = np.diff(trace.values)
    return int(falls.argmin()) + 1 if len(falls) and falls.min() < 0 else None


class XRay:
    """Look into a recorded episode: slider, play, and step buttons over the drawing of a step.

    Example:
        >>> XRay(trace)
        >>> XRay(trace, beside=other)    # two runs side by side

    `xray.t` is the step shown; set it, or call `xray.go(t)`. Another agent, level or seed is chosen in the widget; an
    agent "beside" plays the same level with the same dice.

    Args:
        trace: what to show.
        t: the first step shown.
        beside: a second trace.
        agents: name -> agent, to choose from beside the shipped ones.
    """

    def __init__(self, trace: Trace, t: int = 0, beside: Trace | None = None, agents: Any = None) -> None:
        check_step(trace, t)
        self.trace, self.beside = trace, beside
        own = {} if trace.agent is None else {"this agent": trace.agent}
        self.agents = Agents(own | dict(agents or {}))
        self.pictures: dict[int, str] = {}  # drawn once, when first looked at
        self.screen, self.caption, self.style = ipywidgets.HTML(), ipywidgets.HTML(), ipywidgets.HTML(styled(""))
        self.slider = ipywidgets.IntSlider(
            t, 0, self.last, description="step", layout={"flex": "1 1 190px", "width": "auto", "min_width": "150px"},
            style={"description_width": "auto"},
        )  # fmt: skip
        self.ticker = Ticker(self.say)
        self.buttons = {
            name: button(label, tip, act, self.say, key=name)
            for name, label, tip, act in (
                ("first", "start", "first step", lambda: self.go(0)),
                ("back", "back", "one step back", lambda: self.go(self.t - 1)),
                ("play", "▶ play", "play, or pause", self.play),
                ("next", "next", "one step on", lambda: self.go(self.t + 1)),
                ("last", "end", "the end", lambda: self.go(self.last)),
                ("change", "next change", "next change of the active modules", self._to_change),
                ("drop", "value drop", "where the value fell most", self._to_drop),
            )
        }
        first = self.agents.names[0]
        self.choice = {
            "agent": chooser("agent", self.agents.names, first, "190px", "140px"),
            "beside": chooser("beside", (NOBODY, *self.agents.names), NOBODY, "190px", "140px"),
            "level": chooser("level", levels_with(trace.level), trace.level, "215px", "180px"),
            "seed": ipywidgets.IntText(trace.seed, description="seed", layout={"width": "110px"}),
        }
        self.choice["seed"].style.description_width = "auto"
        tip = "let these agents play this level"
        self.buttons["record"] = button("record", tip, self.record, self.say, reads=(self.choice["seed"],))
        keys = keyboard(
            {"ArrowLeft": "back", "ArrowRight": "next", "Home": "first", "End": "last", " ": "play", "c": "change"},
            "click here, then ← → Home End, space plays, c next change (where the front end lets keys in)",
        )
        controls = [b for name, b in self.buttons.items() if name != "record"]
        self.widget = whole(
            [
                self.style,
                self.screen,
                row(*controls, self.slider),
                self.caption,
                row(*self.choice.values(), self.buttons["record"]),
                keys,
            ]
        )
        show = guarded(self._show, self.say)
        self.slider.observe(lambda change: show(change["new"]), names="value")
        self._show(t)

    @property
    def last(self) -> int:
        """The last step there is to see."""
        return last_step(self.trace, self.beside)

    @property
    def t(self) -> int:
        """The step shown, 0 … T."""
        return self.slider.value

    @t.setter
    def t(self, t: int) -> None:
        self.go(t)

    def go(self, t: int) -> None:
        """Show step t; before the first and after the last step it stays where it is. Raises UserError for a t that is
        no whole number."""
        step = max(0, min(self.last, whole_step(t, self.last)))
        self._show(step)  # the picture first: it is what one waits for
        self.slider.value = step

    def say(self, problem: str) -> None:
        """A sentence in place of the caption, until the next step is shown."""
        self.caption.value = alarm(problem)

    def play(self) -> None:
        """Play on from here (from the start, at the end), or pause."""
        if self.ticker.busy:
            self.ticker.stop()
            return
        self.buttons["play"].description = "pause"
        self.ticker.start(self._playing(), self._paused, pause=0.7)

    def record(self) -> None:
        """Record the chosen agents on the chosen level, and show it."""
        self.ticker.stop()
        chosen = {name: one.value for name, one in self.choice.items()}
        agent = self.agents.get(chosen["agent"])
        if chosen["seed"] == self.trace.seed and chosen["level"] == self.trace.level:
            bank, index = self.trace.worlds[0].bank, self.trace.index  # this very level, wherever it came from
        else:
            bank, index = LevelBank.generate(chosen["level"], seeds=[chosen["seed"]]), 0
        trace = replace(Trace.record(agent, bank, 0, seed=chosen["seed"]), index=index)
        beside = None
        if chosen["beside"] != NOBODY:
            second = self.agents.get(chosen["beside"])
            beside = replace(Trace.record(second, bank, 0, seed=chosen["seed"]), index=index)
        self.trace, self.beside, self.pictures = trace, beside, {}
        self.slider.value = 0  # before the end moves, so that it is never beyond it
        self.slider.max = self.last
        self._show(0)

    def _playing(self) -> Iterator[None]:
        if self.t == self.last:
            self.go(0)
            yield
        while self.t < self.last:
            self.go(self.t + 1)
            yield

    def _paused(self) -> None:
        self.buttons["play"].description = "▶ play"

    def _to_change(self) -> None:
        t = next_change(self.trace, self.t)
        if t is None:
            raise UserError("The set of active modules does not change any more after this step.")
        self.go(t)

    def _to_drop(self) -> None:
        t = largest_drop(self.trace)
        if t is None:
            raise UserError("The value never falls in this episode.")
        self.go(t)

    def _show(self, t: int) -> None:
        if t not in self.pictures:
            self.pictures[t] = picture_html(self.trace, t, self.beside)
        self.screen.value = self.pictures[t]
        self.caption.value = sentence_html(caption(self.trace, t, self.beside))

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        still = svg_png(step_svg(self.trace, min(self.t, self.trace.num_steps)))
        return bundle(self.widget, f"XRay: {caption(self.trace, self.t, self.beside)}", still)
