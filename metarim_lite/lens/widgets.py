"""Two widgets for notebooks: play a mission by buttons (Stepper), look into a recorded episode (XRay).

Both only bind buttons to a plain object and show what pure functions draw. Core ipywidgets, nothing to install.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets

from ..errors import UserError
from .drawing import check_step, describe, frame_png, png_bytes, step_svg
from .game import Game
from .svg import BLUE, BLUE_TINT, FONT, GREEN, GREEN_TINT, INK, PAPER, QUIET, VERMILLION
from .view import describe_view, view_svg


class Stepper:
    """Play a mission by buttons. Show it as the last line of a cell.

    Example:
        >>> Stepper("BabyAI-GoToLocal-v0", seed=0)

    `stepper.game` is the state; every button calls one method of it and redraws.
    Raises UserError when the level is unknown or not supported.
    """

    MOVES = (
        ("left", "↶ left", "turn left"),
        ("forward", "↑ forward", "go one cell forward"),
        ("right", "↷ right", "turn right"),
        ("pickup", "pick up", "pick up the object in front of you"),
        ("drop", "drop", "drop what you carry into the cell in front of you"),
        ("toggle", "toggle", "open or close a door, open a box"),
        ("done", "done", "do nothing, and say so"),
    )

    def __init__(self, level_id: str, seed: int = 0) -> None:
        self.game = Game(level_id, seed)
        self.screen = ipywidgets.HTML()
        self.buttons = {
            name: _button(label, tip, lambda name=name: self.game.act(name), self.show)
            for name, label, tip in self.MOVES
        }
        self.buttons["restart"] = _button("restart", "this level again", self.game.restart, self.show)
        self.buttons["new level"] = _button("new level", "another level", self._next_level, self.show)
        self.buttons["forward"].button_style = "primary"
        moves = ipywidgets.HBox([self.buttons[name] for name, _, _ in self.MOVES], layout=_ROW)
        levels = ipywidgets.HBox([self.buttons["restart"], self.buttons["new level"]], layout=_ROW)
        self.widget = ipywidgets.VBox([self.screen, moves, levels])
        self.show()

    def show(self, problem: str = "") -> None:
        """Draw the game as it stands; `problem` is a sentence to show instead of the game's message."""
        self.screen.value = stepper_html(self.game, problem)

    def _next_level(self) -> None:
        self.game.deal(self.game.seed + 1)

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        return _bundle(self.widget, f"Stepper: {self.game.message}", png_bytes(self.game.frame()), options)


class XRay:
    """Look into a recorded episode: slider, play, and step buttons over the drawing of a step.

    Example:
        >>> XRay(trace)

    `xray.t` is the step shown; set it, or call `xray.go(t)`.
    """

    def __init__(self, trace: Any, t: int = 0) -> None:
        check_step(trace, t)
        self.trace = trace
        self.pictures: dict[int, str] = {}  # drawn once, when first looked at
        last = trace.num_steps
        self.screen = ipywidgets.HTML()
        self.caption = ipywidgets.HTML()
        self.slider = ipywidgets.IntSlider(t, 0, last, description="step", layout={"width": "96%"})
        self.play = ipywidgets.Play(value=t, min=0, max=last, interval=700, show_repeat=False)
        ipywidgets.jslink((self.play, "value"), (self.slider, "value"))
        self.buttons = {
            name: _button(label, tip, move)
            for name, label, tip, move in (
                ("first", "|◀", "first step", lambda: self.go(0)),
                ("back", "◀", "one step back", lambda: self.go(self.t - 1)),
                ("next", "▶", "one step on", lambda: self.go(self.t + 1)),
                ("last", "▶|", "the end", lambda: self.go(last)),
            )
        }
        for button in self.buttons.values():
            button.layout.width = "48px"
        controls = ipywidgets.HBox([*self.buttons.values(), self.play], layout=_ROW)
        self.widget = ipywidgets.VBox([self.screen, controls, self.slider, self.caption])
        self.slider.observe(lambda change: self._show(change["new"]), names="value")
        self._show(t)

    @property
    def t(self) -> int:
        """The step shown, 0 … T."""
        return self.slider.value

    @t.setter
    def t(self, t: int) -> None:
        self.go(t)

    def go(self, t: int) -> None:
        """Show step t; before the first and after the last step it stays where it is."""
        self.slider.value = max(0, min(self.trace.num_steps, t))

    def _show(self, t: int) -> None:
        if t not in self.pictures:
            self.pictures[t] = step_svg(self.trace, t)
        self.screen.value = self.pictures[t]
        self.caption.value = f'<p style="font-size:14px;margin:0">{escape(describe(self.trace, t))}</p>'

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        return _bundle(self.widget, f"XRay: {describe(self.trace, self.t)}", frame_png(self.trace, self.t), options)


def stepper_html(game: Game, problem: str = "") -> str:
    """What the Stepper shows: mission, world, the agent's view, a line on how things stand."""
    frame = base64.b64encode(png_bytes(game.frame())).decode()
    edge, tint = (VERMILLION, "#FBEADF") if problem or (game.over and not game.success) else (BLUE, BLUE_TINT)
    if game.success and not problem:
        edge, tint = GREEN, GREEN_TINT
    column = '<div style="flex:1 1 230px;max-width:400px">'
    title = f'<p style="font-size:13px;color:{QUIET};margin:0 0 4px">'
    return (
        f'<div style="background:{PAPER};color:{INK};font-family:{escape(FONT)};line-height:1.4;'
        'border:1px solid #E1E5EA;border-radius:12px;padding:16px 20px;max-width:900px">'
        f'<div style="font-size:20px;font-weight:650">“{escape(game.mission)}”</div>'
        f'<div style="font-size:13px;color:{QUIET};margin-bottom:10px">{escape(game.level_id)} · seed {game.seed} · '
        f"step {game.steps} of {game.max_steps} · reward {game.reward:.3f}</div>"
        f'<div style="display:flex;flex-wrap:wrap;gap:24px">{column}{title}the world (only you can see all of it)</p>'
        f'<img alt="the world from above" style="width:100%" src="data:image/png;base64,{frame}"></div>'
        f"{column}{title}what the agent sees: 7×7 cells in front of it</p>{view_svg(game.view)}</div></div>"
        f'<p style="font-size:13px;margin:8px 0">{escape(describe_view(game.view))}</p>'
        f'<p role="status" style="font-size:17px;font-weight:650;margin:0;padding:8px 12px;background:{tint};'
        f'border-left:5px solid {edge};border-radius:6px">{escape(problem or game.message)}</p></div>'
    )


_ROW = ipywidgets.Layout(flex_flow="row wrap", align_items="center")


def _button(label: str, tip: str, act: Callable[[], None], show: Callable[..., None] | None = None):
    """A button that acts, then redraws; a mistake the user can mend is shown as a sentence."""
    button = ipywidgets.Button(description=label, tooltip=tip, layout={"width": "88px"})

    def clicked(_: Any) -> None:
        try:
            act()
        except UserError as error:
            if show is None:
                raise
            show(str(error))
        else:
            if show is not None:
                show()

    button.on_click(clicked)
    return button


def _bundle(widget: Any, sentence: str, png: bytes, options: dict[str, Any]) -> dict[str, Any]:
    """The widget for front ends that have widgets, a still picture or a sentence for those that have none.

    The picture is a PNG because JupyterLab strips drawings (SVG) from notebooks that were not run yet.
    """
    shown = widget._repr_mimebundle_(**options)
    view = "application/vnd.jupyter.widget-view+json"
    data = shown[0] if isinstance(shown, tuple) else shown
    still = base64.b64encode(png).decode()
    return {"text/plain": sentence, "image/png": still} | ({view: data[view]} if view in data else {})
