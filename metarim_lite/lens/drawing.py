"""One step of an episode as one picture: pure functions (trace, t) -> SVG string, and the frame as PNG.

t runs from 0 to T: at t < T the picture shows the world the agent sees and the decision it takes there;
at t = T it shows the world it left behind.
"""

from __future__ import annotations

import base64
import io
import textwrap

import numpy as np

from ..config import as_whole
from ..errors import UserError, unknown
from .modules import favourite, mean_communication, module_picture
from .svg import (
    FAINT,
    GREEN,
    GREEN_TINT,
    INK,
    PAPER,
    QUIET,
    RED_TINT,
    VERMILLION,
    document,
    number,
    path,
    placed,
    rect,
    text,
)
from .timeline import BOTTOM, TOP, timeline_picture

SPOKEN = ("turn left", "turn right", "go forward", "pick up", "drop", "toggle", "done")
WIDTH, HEIGHT = 960, 600
LEFT, MIDDLE, RIGHT = 20, 308, 940  # the frame and actions left of MIDDLE, the modules right of it
FRAME, SIDE = 256, 264  # width of the frame, of the actions
NARROW, EDGE, SMALL_FRAME = 460, 14, 200  # width and margin of a drawing in one column, and of the frame in it
BRIEF_FRAME = 174
FORMS = ("wide", "narrow", "half", "brief")


def step_svg(trace, t: int, frame: bool = True, form: str = "wide") -> str:
    """The whole picture of step t: world, modules, actions, timeline.

    Args:
        trace: a Trace.
        t: 0 … T.
        frame: False leaves the picture of the world out.
        form: "wide" (960 x 600) for a screen, "narrow" (460 wide, one column) for a phone, "half" (narrow, without the
            communication) for two runs side by side, "brief" (without the cards of the modules, too: who was active
            is in the timeline) for two runs below each other on a phone.

    Returns an SVG document as a string, one element a line. Raises UserError when t is out of range, or there is no
    such form.
    """
    check_step(trace, t)
    if form not in FORMS:
        raise unknown("form", form, FORMS)
    world = [rect(0, 0, FRAME, FRAME, stroke=FAINT)]
    if frame:
        data = base64.b64encode(frame_png(trace, t)).decode()
        image = f'<image x="0" y="0" width="{FRAME}" height="{FRAME}" href="data:image/png;base64,{data}"/>'
        world.insert(0, image)
    width, height, drawn = _wide(trace, t, world) if form == "wide" else _column(trace, t, world, form)
    return document(width, height, drawn, f"Step {t} of {trace.num_steps}", describe(trace, t))


def _wide(trace, t: int, world: list[str]) -> tuple[int, int, list[str]]:
    drawn = [*_header(trace, t), *placed(world, LEFT, 72)]
    drawn.append(text(LEFT, 342, "lighter cells: what the agent sees", size=14, fill=QUIET))
    drawn += module_picture(trace, t, MIDDLE, RIGHT - MIDDLE)
    drawn += _deed(trace, t, LEFT, 370, SIDE, 26)
    drawn += timeline_picture(trace, t, MIDDLE, RIGHT - MIDDLE)
    return WIDTH, HEIGHT, drawn


def _column(trace, t: int, world: list[str], form: str) -> tuple[int, int, list[str]]:
    """Everything below each other; only the actions stand beside the world."""
    across, frame = NARROW - 2 * EDGE, SMALL_FRAME if form != "brief" else BRIEF_FRAME
    drawn, top = _narrow_header(trace, t)
    drawn += placed(world, EDGE, top, frame / FRAME)
    drawn += _deed(trace, t, EDGE + frame + 10, top + 13, across - frame - 10, (frame - 39) / 7)
    if form != "brief":
        drawn += placed(module_picture(trace, t, EDGE, across, form == "narrow"), 0, top + SMALL_FRAME - 54)
    top += frame + {"narrow": 356, "half": 194, "brief": 24}[form]
    drawn += placed(timeline_picture(trace, t, EDGE, across), 0, top - TOP)
    return NARROW, top - TOP + BOTTOM + 12, drawn


def frame_png(trace, t: int, tile_size: int | None = None) -> bytes:
    """The world before step t (t = T: after the last step) as PNG bytes, drawn at `tile_size` pixels a cell."""
    check_step(trace, t)
    return png_bytes(trace.frame(t, tile_size))


def png_bytes(pixels: np.ndarray) -> bytes:
    """Pixels uint8 [h, w, 3] as a PNG file: in a millisecond, since a click waits for it. (With a palette it would be
    half as large, and take ten times as long.)"""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).save(file, "PNG", compress_level=6)
    return file.getvalue()


def describe(trace, t: int) -> str:
    """One sentence that says what the picture of step t shows, for ears and for text-only output."""
    check_step(trace, t)
    if t == trace.num_steps:
        return f"After {t} steps the episode is over: {_outcome(trace)}."
    action = int(trace.actions[t])
    parts = [
        f"Step {t} of {trace.num_steps}, told “{trace.told(t)}”: the agent chooses "
        f"“{SPOKEN[action]}” (probability {trace.probabilities[t, action]:.2f})"
    ]
    if trace.active is not None:
        winners = np.flatnonzero(trace.active[t])
        parts.append(f"active modules: {', '.join(map(str, winners)) or 'none'}")
        parts += _describe_reading(trace, t, winners)
    return "; ".join(parts) + "."


def whole_step(t: object, last: int) -> int:
    """The step that somebody asks for, wherever it lies. Raises UserError when t is no whole number."""
    step = as_whole(t)
    if step is None:
        raise UserError(f"there is no step {t!r}; steps are whole numbers, 0 to {last}")
    return step


def check_step(trace, t: int) -> None:
    if not 0 <= t <= trace.num_steps:
        raise UserError(f"step {t} is not in this episode; choose 0 to {trace.num_steps}")


def _describe_reading(trace, t: int, winners: np.ndarray) -> list[str]:
    if not len(winners):
        return []
    weights = mean_communication(trace.communication[t])
    n = int(max(winners, key=lambda w: weights[w].max()))
    best = favourite(weights[n])
    if best is None:
        return ["they read from all modules about evenly"]
    return [f"the strongest reading is module {n} from module {best} ({weights[n, best]:.2f})"]


def _outcome(trace) -> str:
    total = float(trace.rewards.sum())
    if trace.success:
        return f"mission accomplished, reward {total:.2f}"
    if trace.truncated:
        return "out of time, mission not accomplished"
    return "mission failed"


def _header(trace, t: int) -> list[str]:
    told = f"“{trace.told(min(t, trace.num_steps - 1))}”"
    lines = [told] if len(told) <= 66 else textwrap.wrap(told, 78)
    size = 20 if len(lines) == 1 else 15
    drawn = [text(LEFT, 34 + 22 * i, words, size=size, bold=True) for i, words in enumerate(lines)]
    drawn.append(text(RIGHT, 34, _when(trace, t), size=17, bold=True, anchor="end"))
    drawn.append(text(RIGHT, 56, _about(trace), size=14, fill=QUIET, anchor="end"))
    if trace.interventions:
        x, y, anchor = (LEFT, 56, "start") if len(lines) == 1 else (RIGHT, TOP, "end")
        drawn.append(text(x, y, _changes(trace), fill=VERMILLION, bold=True, anchor=anchor))
    return drawn


def _narrow_header(trace, t: int) -> tuple[list[str], float]:
    """What stands above the world in one column, and how high it is."""
    told = textwrap.wrap(f"“{trace.told(min(t, trace.num_steps - 1))}”", 48)
    drawn = [text(EDGE, 28 + 20 * i, words, size=16, bold=True) for i, words in enumerate(told)]
    y = 28 + 20 * len(told)
    drawn.append(text(EDGE, y, _when(trace, t), bold=True))
    drawn.append(
        text(
            NARROW - EDGE,
            y,
            f"{trace.controller} · level {trace.index} · seed {trace.seed}",
            size=15,
            fill=QUIET,
            anchor="end",
        )
    )
    for words in textwrap.wrap(_changes(trace), 50) if trace.interventions else ():
        y += 18
        drawn.append(text(EDGE, y, words, fill=VERMILLION, bold=True))
    return drawn, y + 12


def _when(trace, t: int) -> str:
    return f"step {t} of {trace.num_steps}" if t < trace.num_steps else f"end, after {t} steps"


def _about(trace) -> str:
    return f"{trace.level} · level {trace.index} · seed {trace.seed} · {trace.controller}"


def _changes(trace) -> str:
    return "changed: " + "; ".join(map(str, trace.interventions))


def _deed(trace, t: int, x: float, y: float, width: float, row: float) -> list[str]:
    """What the agent does at step t, or how the episode ended."""
    return _ending(trace, x, y, width) if t == trace.num_steps else _action_bars(trace, t, x, y, width, row)


def _action_bars(trace, t: int, x: float, y: float, width: float, row: float) -> list[str]:
    """A bar for each action, `row` high, in a block whose heading stands on (x, y)."""
    probabilities, chosen = trace.probabilities[t], int(trace.actions[t])
    heading = "act" if trace.active is None else "3 · act"
    how = "take the likeliest" if trace.greedy else "draw one by lot"
    size, bar_x = (14, x + 118) if width >= 250 else (15, x + 124)
    bar = x + width - 52 - bar_x
    drawn = [text(x, y, f"{heading}: {how}", bold=True)]
    drawn.append(text(x, y + 18, f"value {trace.values[t]:.2f}: reward expected", size=14, fill=QUIET))
    for a, word in enumerate(SPOKEN):
        top = y + 28 + row * a
        on, middle = a == chosen, top + (row - 2) / 2
        if on:
            drawn.append(rect(x, top, width, row - 2, fill=GREEN_TINT, stroke=GREEN, line=2, radius=5))
            drawn.append(path(f"M{number(x + 8)} {number(middle - 6.5)}l9 6.5l-9 6.5z", fill=GREEN))
        drawn.append(text(x + 23, middle + 5, word, size=size, bold=on))
        drawn.append(rect(bar_x, middle - 7.5, bar, 15, fill=PAPER, stroke=GREEN if on else QUIET))
        drawn.append(rect(bar_x, middle - 7.5, bar * float(probabilities[a]), 15, fill=GREEN if on else QUIET))
        drawn.append(text(x + width - 8, middle + 5, f"{probabilities[a]:.2f}", size=size, bold=on, anchor="end"))
    return drawn


def _ending(trace, x: float, y: float, width: float) -> list[str]:
    color, mark = (GREEN, "✓") if trace.success else (VERMILLION, "✗")
    tint = GREEN_TINT if trace.success else RED_TINT
    total, small = float(trace.rewards.sum()), width < 250
    words = _outcome(trace).split(",")[0]
    drawn = [rect(x, y - 6, width, 110, fill=tint, stroke=color, line=2.5, radius=8)]
    middle = x + width / 2
    drawn.append(text(middle, y + 32, f"{mark} {words}", size=15 if small else 18, bold=True, anchor="middle"))
    earned = f"reward {total:.2f} after {trace.num_steps} steps"
    drawn.append(text(middle, y + 60, earned, size=14 if small else 15, anchor="middle"))
    note = "= 1 − 0.9 · steps / allowed steps" if trace.success else "no success, no reward"
    note = note.removesuffix(" steps") if small else note
    drawn.append(text(middle, y + 86, note, size=14, fill=INK, anchor="middle"))
    return drawn
