"""A mission played in a terminal: letters for things, lines for moves; no notebook, no mouse."""

from __future__ import annotations

from collections.abc import Callable

from ..envs import ACTIONS, COLOURS, TYPES
from ..errors import UserError
from .game import Game
from .view import describe_view

KEYS = {"w": "forward", "a": "left", "d": "right", "p": "pickup", "o": "drop", "t": "toggle", "x": "done"}
HELP = (
    "w forward, a turn left, d turn right, p pick up, o drop, t toggle, x done, "
    "u undo, g let the agent move, r restart, n new level, q quit; several at once: wwd"
)
ARROWS = "→↓←↑"  # by direction
LETTERS = {"wall": "##", "empty": " .", "floor": " .", "goal": "GG", "lava": "~~"}


def board(game: Game) -> str:
    """The world from above, two letters a cell: colour and thing (“rk” a red key), the agent an arrow.

    >>> print(board(Game("BabyAI-GoToObjS4-v0", seed=0)))
    """
    cells = game.worlds.cells(0).tolist()  # [x][y] -> type, colour, state
    x, y, direction = game.worlds.agent_place(0)
    rows = [[_letters(*cells[i][j]) for i in range(len(cells))] for j in range(len(cells[0]))]
    rows[y][x] = " " + ARROWS[direction]
    return "\n".join("".join(row) for row in rows)


def _letters(kind: int, colour: int, state: int) -> str:
    name = TYPES[kind]
    if name in LETTERS:
        return LETTERS[name]
    thing = "/DL"[state] if name == "door" else {"key": "k", "ball": "o", "box": "x"}[name]
    return ("e" if COLOURS[colour] == "grey" else COLOURS[colour][0]) + thing


def play(game: Game, ask: Callable[[str], str] = input, say: Callable[[str], None] = print) -> None:
    """Ask for moves and show what comes of them, until the player quits or the input ends."""
    say("letters: r red, g green, b blue, p purple, y yellow, e grey; k key, o ball, x box, D door, / open, L locked")
    say(HELP)
    while True:
        opinion = ""
        if game.opinion is not None and not game.over:
            best = int(game.opinion.probabilities.argmax())
            chance, value = game.opinion.probabilities[best], game.opinion.value
            opinion = f"\nthe agent would choose {ACTIONS[best]} ({chance:.2f}), and expects to earn {value:.2f}"
        say(f"\n{board(game)}\n{describe_view(game.view)}\n{game.message}{opinion}")
        try:
            letters = ask("> ").strip().lower()
        except EOFError:
            return
        for letter in letters:
            if letter == "q":
                return
            try:
                _press(game, letter)
            except UserError as error:
                game.message = str(error)
                break


def _press(game: Game, letter: str) -> None:
    others = {
        "u": game.undo,
        "g": game.let_agent_act,
        "r": game.restart,
        "n": lambda: game.deal(game.seed + 1),
    }
    if letter in KEYS:
        game.act(KEYS[letter])
    elif letter in others:
        others[letter]()
    else:
        raise UserError(f"There is no move {letter!r}: {HELP}.")
