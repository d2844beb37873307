"""Stepper: play a mission by buttons or keys, hear what an agent would do, hand over to it and take back."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from html import escape
from typing import Any

import ipywidgets

from ..envs import ACTIONS
from .choosing import Agents, levels_with
from .controls import Ticker, bundle, button, chooser, guarded, keyboard, row, whole
from .drawing import png_bytes
from .game import Game, Opinion
from .page import styled
from .still import svg_png
from .svg import (
    FAINT,
    FONT,
    GREEN,
    GREEN_TINT,
    INK,
    PAPER,
    QUIET,
    document,
    placed,
    rect,
    text,
)  # fmt: skip
from .view import describe_view, view_elements, view_svg

NOBODY = "nobody"
OPINION = 250  # width of its drawing, which has to be read on a phone, beside the world


class Stepper:
    """Play a mission by buttons. Show it as the last line of a cell.

    Example:
        >>> Stepper("BabyAI-GoToLocal-v0", seed=0)

    `stepper.game` is the state; every button calls one method of it and redraws. An agent that looks on (chosen in the
    widget, or given by name) says what it would do; it can take over for a while.
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
    KEYS = {
        "ArrowUp": "forward", "ArrowLeft": "left", "ArrowRight": "right", "p": "pickup", "d": "drop", "t": "toggle",
        "Enter": "done", "u": "undo", "Backspace": "undo", "a": "hand_over",
    }  # fmt: skip

    def __init__(self, level_id: str, seed: int = 0, agents: Any = None) -> None:
        self.game, self.agents = Game(level_id, seed), Agents(agents)
        self.screen, self.ticker = ipywidgets.HTML(), Ticker(self.show)
        self.buttons = {
            name: self._button(name, label, tip, lambda name=name: self.game.act(name))
            for name, label, tip in self.MOVES
        }
        self.buttons["forward"].button_style = "primary"
        for name, label, tip, act in (
            ("undo", "undo", "take the last move back", lambda: self.game.undo()),
            ("hand over", "hand over", "let the agent play on from here, or take back", self._hand_over),
            ("restart", "restart", "this level again", lambda: self.game.restart()),
            ("new level", "new level", "the level of the next seed", lambda: self._deal(self.game.seed + 1)),
        ):
            self.buttons[name] = self._button(name.replace(" ", "_"), label, tip, act)
        names = (NOBODY, *self.agents.names)
        self.choice = {
            "agent": chooser("agent's opinion", names, NOBODY, "270px", "240px"),
            "level": chooser("level", levels_with(level_id), level_id, "250px", "180px"),
            "seed": ipywidgets.IntText(seed, description="seed", layout={"width": "110px"}),
        }
        self.choice["seed"].style.description_width = "auto"
        self.choice["agent"].observe(lambda _: self._do(self._ask), names="value")
        self.buttons["play it"] = self._button(
            "play_it", "play it", "play this level", lambda: self._deal(None), (self.choice["seed"],)
        )
        keys = keyboard(
            self.KEYS,
            "click here: ↑ forward, ← → turn, p pick up, d drop, t toggle, Enter done, u undo, a hand over "
            "(where the front end lets keys in)",
        )
        pressed = [button for name, button in self.buttons.items() if name != "play it"]
        chosen = row(*self.choice.values(), self.buttons["play it"])
        self.widget = whole([ipywidgets.HTML(styled("")), self.screen, row(*pressed), chosen, keys])
        self.show()

    def show(self, problem: str = "") -> None:
        """Draw the game as it stands; `problem` is a sentence to show instead of the game's message."""
        self.screen.value = stepper_html(self.game, problem)

    def _button(self, key: str, label: str, tip: str, act: Any, reads: Any = ()) -> Any:
        def acting() -> None:
            if key != "hand_over":
                self.ticker.stop()  # whoever moves takes back
            act()
            self.show()

        return button(label, tip, acting, self.show, key=key, reads=reads)

    def _do(self, act: Any) -> None:
        guarded(lambda: (act(), self.show()), self.show)()

    def _ask(self) -> None:
        name = self.choice["agent"].value
        self.game.ask(None if name == NOBODY else self.agents.get(name))

    def _deal(self, seed: int | None) -> None:
        """The chosen level and seed, or this level with another seed."""
        level = self.choice["level"].value if seed is None else self.game.level_id
        self.game.deal(self.choice["seed"].value if seed is None else seed, level)
        self.choice["level"].value, self.choice["seed"].value = self.game.level_id, self.game.seed

    def _hand_over(self) -> None:
        """The agent plays on until it is over, or taken back by this button or any move."""
        if self.ticker.busy:
            self.ticker.stop()
            return
        if self.game.agent is None:
            self.choice["agent"].value = self.agents.first
        self.buttons["hand over"].description = "take back"
        self.ticker.start(self._playing(), self._taken_back, pause=0.5)

    def _playing(self) -> Iterator[None]:
        while not self.game.over:
            self.game.let_agent_act()
            self.show()
            yield

    def _taken_back(self) -> None:
        self.buttons["hand over"].description = "hand over"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return bundle(self.widget, f"Stepper: {self.game.message}", svg_png(stepper_svg(self.game)))


def stepper_html(game: Game, problem: str = "") -> str:
    """What the Stepper shows: mission, world, the agent's view, an agent's opinion, a line on how things stand."""
    frame = base64.b64encode(png_bytes(game.frame())).decode()
    tone = "alarm" if problem or (game.over and not game.success) else "good" if game.success else "plain"
    image = f'<img alt="the world from above" src="data:image/png;base64,{frame}">'
    sights = _sight("world", "the world", " (only you can see all of it)", image)
    sights += _sight("view", "what the agent sees", ": 7×7 cells in front of it", view_svg(game.view))
    if game.opinion is not None:
        sights += _sight("opinion", "what the agent would do", "", opinion_svg(game.opinion))
    about = f"{game.level_id} · seed {game.seed} · step {game.steps} of {game.max_steps} · reward {game.reward:.3f}"
    return (
        f'<div class="metarim-room metarim-panel" style="font-family:{escape(FONT)}">'
        f'<div class="metarim-mission">“{escape(game.mission)}”</div>'
        f'<p class="metarim-quiet">{escape(about)}</p><div class="metarim-sights">{sights}</div>'
        f'<p class="metarim-quiet metarim-wordy">{escape(describe_view(game.view))}</p>'
        f'<p role="status" class="metarim-status metarim-{tone}">{escape(problem or game.message)}</p></div>'
    )


def _sight(kind: str, title: str, more: str, picture: str) -> str:
    """A picture below its title; `more` of the title is left out where there is little room."""
    title = f'<p class="metarim-quiet">{title}<span class="metarim-wordy">{more}</span></p>'
    return f'<div class="metarim-sight metarim-{kind}">{title}{picture}</div>'


def opinion_svg(opinion: Opinion) -> str:
    """The probabilities of the seven actions as bars, and the value."""
    best = int(opinion.probabilities.argmax())
    words = f"The agent would most likely choose {ACTIONS[best]} ({opinion.probabilities[best]:.2f})"
    elements = opinion_elements(opinion)
    return document(OPINION, 324, elements, "the agent's opinion", f"{words}; value {opinion.value:.2f}.")


def opinion_elements(opinion: Opinion) -> list[str]:
    drawn = [text(8, 32, f"value {opinion.value:.2f}", size=18, bold=True)]
    best = int(opinion.probabilities.argmax())
    for a, (action, p) in enumerate(zip(ACTIONS, opinion.probabilities, strict=True)):
        y, on = 48 + 38 * a, a == best
        if on:
            drawn.append(rect(6, y, OPINION - 12, 34, fill=GREEN_TINT, stroke=GREEN, line=2, radius=5))
        drawn.append(text(12, y + 24, action, size=18, bold=on))
        drawn.append(rect(98, y + 9, 92, 16, fill=PAPER, stroke=GREEN if on else QUIET))
        drawn.append(rect(98, y + 9, 92 * float(p), 16, fill=GREEN if on else QUIET))
        drawn.append(text(OPINION - 12, y + 24, f"{p:.2f}", size=18, bold=on, anchor="end"))
    return drawn


def stepper_svg(game: Game) -> str:
    """The whole first picture as one drawing, with the buttons that running the cell gives."""
    data = base64.b64encode(png_bytes(game.frame())).decode()
    drawn = [text(20, 36, f"“{game.mission}”", size=20, bold=True)]
    about = f"{game.level_id} · seed {game.seed} · step {game.steps} of {game.max_steps}"
    drawn.append(text(20, 60, about, size=13, fill=QUIET))
    drawn.append(f'<image x="20" y="76" width="324" height="324" href="data:image/png;base64,{data}"/>')
    drawn += placed(view_elements(game.view), 364, 76)
    drawn.append(text(20, 424, game.message, bold=True))
    x = 20.0
    for label in [label for _, label, _ in Stepper.MOVES]:
        width = 22 + 8.5 * len(label)
        drawn.append(rect(x, 440, width, 32, fill=PAPER, stroke=FAINT, radius=4))
        drawn.append(text(x + width / 2, 461, label, size=13, fill=INK, anchor="middle"))
        x += width + 8
    drawn.append(text(20, 496, "a still picture: run this cell, and these buttons work", size=13, fill=QUIET))
    return document(708, 510, drawn, "Stepper", f"{game.message} {describe_view(game.view)}")
