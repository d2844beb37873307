"""One step of an episode as one picture: pure functions (trace, t) -> SVG string, and the frame as PNG.

t runs from 0 to T: at t < T the picture shows the world the agent sees and the decision it takes there;
at t = T it shows the world it left behind.
"""

from __future__ import annotations

import base64
import io
import textwrap

import numpy as np

from ..errors import UserError
from .modules import favourite, mean_communication, module_picture
from .svg import FAINT, GREEN, GREEN_TINT, INK, PAPER, QUIET, VERMILLION, document, path, rect, text
from .timeline import timeline_picture

SPOKEN = ("turn left", "turn right", "go forward", "pick up", "drop", "toggle", "done")
WIDTH, HEIGHT = 960, 668
LEFT, MIDDLE, RIGHT = 20, 328, 940  # the frame and actions left of MIDDLE, the modules right of it
FRAME = 284
ACTIONS_Y = 398


def step_svg(trace, t: int, frame: bool = True) -> str:
    """The whole picture of step t: world, modules, actions, timeline.

    Args: `trace` a Trace; `t` in 0 … T; `frame=False` leaves the picture of the world out.
    Returns an SVG document as a string, one element a line. Raises UserError when t is out of range.
    """
    check_step(trace, t)
    drawn = _header(trace, t)
    if frame:
        data = base64.b64encode(frame_png(trace, t)).decode()
        drawn.append(f'<image x="{LEFT}" y="72" width="{FRAME}" height="{FRAME}" href="data:image/png;base64,{data}"/>')
    drawn.append(rect(LEFT, 72, FRAME, FRAME, stroke=FAINT))
    drawn.append(text(LEFT, 372, "lighter cells: what the agent sees", size=12, fill=QUIET))
    drawn += module_picture(trace, t, MIDDLE, RIGHT - MIDDLE)
    drawn += _ending(trace) if t == trace.num_steps else _action_bars(trace, t)
    drawn += timeline_picture(trace, t, MIDDLE, RIGHT - MIDDLE)
    return document(WIDTH, HEIGHT, drawn, f"Step {t} of {trace.num_steps}", describe(trace, t))


def frame_png(trace, t: int, tile_size: int | None = None) -> bytes:
    """The world before step t (t = T: after the last step) as PNG bytes, drawn at `tile_size` pixels a cell."""
    check_step(trace, t)
    return png_bytes(trace.frame(t, tile_size))


def png_bytes(pixels: np.ndarray) -> bytes:
    """Pixels uint8 [h, w, 3] as a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    image = Image.fromarray(np.asarray(pixels))
    if image.getcolors(256) is not None:  # few colours: a palette makes the file smaller and loses nothing
        image = image.quantize(256)
    image.save(file, "PNG", optimize=True)
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
    steps = f"step {t} of {trace.num_steps}" if t < trace.num_steps else f"end, after {t} steps"
    drawn.append(text(RIGHT, 34, steps, size=17, bold=True, anchor="end"))
    about = f"{trace.level} · level {trace.index} · seed {trace.seed} · {trace.controller}"
    drawn.append(text(RIGHT, 56, about, size=13, fill=QUIET, anchor="end"))
    if trace.interventions:
        changed = "changed: " + "; ".join(map(str, trace.interventions))
        x, y, anchor = (LEFT, 56, "start") if len(lines) == 1 else (RIGHT, 430, "end")
        drawn.append(text(x, y, changed, fill=VERMILLION, bold=True, anchor=anchor))
    return drawn


def _action_bars(trace, t: int) -> list[str]:
    probabilities, chosen = trace.probabilities[t], int(trace.actions[t])
    heading = "act" if trace.active is None else "3 · act"
    how = "take the likeliest" if trace.greedy else "draw one by lot"
    drawn = [text(LEFT, ACTIONS_Y, f"{heading}: {how}", bold=True)]
    expects = f"value {trace.values[t]:.2f}: what the critic expects to earn"
    drawn.append(text(LEFT, ACTIONS_Y + 20, expects, size=13, fill=QUIET))
    for a, word in enumerate(SPOKEN):
        y = ACTIONS_Y + 34 + 32 * a
        on = a == chosen
        if on:
            drawn.append(rect(LEFT, y, FRAME, 28, fill=GREEN_TINT, stroke=GREEN, line=2, radius=5))
            drawn.append(path(f"M{LEFT + 8} {y + 7.5:.1f}l9 6.5l-9 6.5z", fill=GREEN))
        drawn.append(text(LEFT + 23, y + 19, word, bold=on))
        drawn.append(rect(LEFT + 110, y + 6.5, 126, 15, fill=PAPER, stroke=GREEN if on else QUIET))
        drawn.append(rect(LEFT + 110, y + 6.5, 126 * float(probabilities[a]), 15, fill=GREEN if on else QUIET))
        drawn.append(text(LEFT + FRAME - 8, y + 19, f"{probabilities[a]:.2f}", bold=on, anchor="end"))
    return drawn


def _ending(trace) -> list[str]:
    color, mark = (GREEN, "✓") if trace.success else (VERMILLION, "✗")
    tint = GREEN_TINT if trace.success else "#FBEADF"
    total = float(trace.rewards.sum())
    words = _outcome(trace).split(",")[0]
    drawn = [rect(LEFT, 392, FRAME, 110, fill=tint, stroke=color, line=2.5, radius=8)]
    middle = LEFT + FRAME / 2
    drawn.append(text(middle, 430, f"{mark} {words}", size=19, bold=True, anchor="middle"))
    drawn.append(text(middle, 458, f"reward {total:.2f} after {trace.num_steps} steps", size=15, anchor="middle"))
    note = "reward = 1 − 0.9 · steps / allowed steps" if trace.success else "no success, no reward"
    drawn.append(text(middle, 484, note, size=13, fill=INK, anchor="middle"))
    return drawn
