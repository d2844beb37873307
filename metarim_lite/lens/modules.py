"""The inside of a RIM at one step, top to bottom: modules compete for the input, the winners communicate."""

from __future__ import annotations

import numpy as np

from .interventions import KINDS
from .svg import BLUE, BLUE_TINT, FAINT, GREY_TINT, INK, ORANGE, PAPER, QUIET, disc, line, number, path, rect, text

CARD_HEIGHT = 92
INPUT_Y, CARDS_Y, SOURCES_Y, READERS_Y = 94, 140, 264, 340  # heights of the four rows


def module_picture(trace, t: int, left: float, width: float, communication: bool = True) -> list[str]:
    """Cards of all modules at step t, lit when active, and who reads from whom; at t = T a summary.

    Without `communication` it ends below the cards. Returns SVG elements. A controller without modules gets one
    sentence instead.
    """
    if trace.active is None:
        return _without_modules(trace, left, width)
    columns = _columns(trace.active.shape[1], left, width)
    if t == trace.num_steps:
        return _summary(trace, columns, left, 180 if communication else 90)
    active, weight = trace.active[t], trace.input_attention[t]
    drawn = [text(left, 84, f"1 · compete for the input: {active.sum()} of {len(active)} modules win", bold=True)]
    drawn += _input_lines(columns, active, weight, left, width)
    for n, column in enumerate(columns):
        drawn += _card(n, column, bool(active[n]), float(weight[n]), _marks(trace, n, t))
    return drawn + (_communication(columns, active, trace.communication[t], left, width) if communication else [])


def mean_communication(communication: np.ndarray) -> np.ndarray:
    """[A, N, N] -> [N, N]: averaged over heads; row n says how much module n reads from each module."""
    return communication.mean(axis=0)


def favourite(weights: np.ndarray) -> int | None:
    """The module most read from, or None when the weights [N] are close to even (largest < 1.5 / N)."""
    best = int(weights.argmax())
    return best if weights[best] * len(weights) >= 1.5 else None


def _columns(count: int, left: float, width: float) -> list[tuple[float, float]]:
    """(left edge, width) of each module's column."""
    gap = 8 if count <= 8 else 4
    each = min(112.0, (width - gap * (count - 1)) / count)
    start = left + (width - count * each - gap * (count - 1)) / 2
    return [(start + n * (each + gap), each) for n in range(count)]


def _marks(trace, n: int, t: int) -> str:
    """What an intervention does to module n at step t: "off", "frozen", "forced", "deaf" or nothing."""
    for one in trace.interventions:
        if t >= one.start and n in getattr(one, "modules", ()):
            return KINDS[type(one)]
    return ""


def _input_lines(columns, active: np.ndarray, weight: np.ndarray, left: float, width: float) -> list[str]:
    drawn = []
    for (x, w), on, much in zip(columns, active, weight, strict=True):
        middle = x + w / 2
        d = f"M{number(middle)} {INPUT_Y + 22}L{number(middle)} {CARDS_Y}"
        if on:
            drawn.append(path(d, stroke=BLUE, line=1.5 + 8 * float(much)))
        else:
            drawn.append(path(d, stroke=FAINT, line=1.5 + 8 * float(much), dash="3 4"))
    first, last = columns[0][0], columns[-1][0] + columns[-1][1]
    drawn.append(rect(first, INPUT_Y, last - first, 24, fill=GREY_TINT, stroke=FAINT, radius=12))
    drawn.append(text((first + last) / 2, INPUT_Y + 17, "input: what the agent sees and is told", anchor="middle"))
    return drawn


def _card(n: int, column: tuple[float, float], on: bool, much: float, mark: str) -> list[str]:
    x, w = column
    small = 14 if w >= 84 else 12 if w >= 64 else 11 if w >= 50 else 9
    pad = 9 if w >= 66 else 4
    frame = dict(fill=BLUE_TINT, stroke=BLUE, line=3) if on else dict(fill=PAPER, stroke=FAINT, line=1.2)
    drawn = [rect(x, CARDS_Y, w, CARD_HEIGHT, radius=8, **frame)]
    if mark == "off":
        drawn.append(line(x + 4, CARDS_Y + CARD_HEIGHT - 4, x + w - 4, CARDS_Y + 4, stroke=FAINT, width=2))
    drawn.append(text(x + pad, CARDS_Y + 25, n, size=19 if w >= 50 else 15, bold=on, fill=INK if on else QUIET))
    mark_x, mark_y = x + w - pad - 5, CARDS_Y + 18
    drawn.append(disc(mark_x, mark_y, 6, fill=BLUE if on else PAPER, stroke=BLUE if on else QUIET))
    word = mark or ("active" if on else "inactive")
    if w < 40:  # the disc says it too
        word = {"frozen": "ice", "forced": "on"}.get(mark, mark)
    if word:
        drawn.append(text(x + pad, CARDS_Y + 45, word, size=small, bold=on or bool(mark), fill=BLUE if on else QUIET))
    bar = w - 2 * pad
    drawn.append(rect(x + pad, CARDS_Y + 54, bar, 10, fill=PAPER, stroke=BLUE if on else QUIET))
    drawn.append(rect(x + pad, CARDS_Y + 54, bar * much, 10, fill=BLUE if on else QUIET))
    label = f"input {much:.2f}" if w >= 66 else f"{much:.2f}"
    drawn.append(text(x + pad, CARDS_Y + 82, label, size=max(small, min(14, 0.24 * w)), fill=INK if on else QUIET))
    return drawn


def _communication(columns, active: np.ndarray, communication: np.ndarray, left: float, width: float) -> list[str]:
    """A curve from each source m down to each active reader n, as wide as the weight of n on m."""
    weights = mean_communication(communication)
    top, bottom = SOURCES_Y, READERS_Y - 9
    drawn = [text(left, SOURCES_Y - 14, "2 · communicate: active modules read from all", bold=True)]
    centres = [x + w / 2 for x, w in columns]
    strong = []
    reads = active & (weights.sum(axis=1) > 0)  # a frozen winner reads nothing
    for n in np.flatnonzero(reads):
        best = favourite(weights[n])
        for m in range(len(active)):
            much, x1, x2 = float(weights[n, m]), centres[m], centres[n]
            if much < 0.02:
                continue
            bend = (bottom - top) / 2
            d = (
                f"M{number(x1)} {number(top)}C{number(x1)} {number(top + bend)} "
                f"{number(x2)} {number(bottom - bend)} {number(x2)} {number(bottom)}"
            )
            if m == best:
                strong.append(path(d, stroke=ORANGE, line=1.5 + 8 * much))
            else:
                drawn.append(path(d, stroke=QUIET, line=1 + 8 * much, opacity=0.22))
    drawn += strong
    for n, on in enumerate(reads):
        x, w = columns[n]
        drawn.append(disc(centres[n], top, 3.5, fill=QUIET))
        drawn.append(text(centres[n] + 8, top + 2, n, size=14 if w >= 50 else 11, fill=QUIET))
        drawn.append(disc(centres[n], READERS_Y, 8, fill=BLUE if on else PAPER, stroke=BLUE if on else FAINT))
        drawn += _reader_words(centres[n], w, weights[n], bool(on))
    legend = "“reads 2: 0.34”: 34 % of its attention goes to module 2;  “reads all”: about even"
    if width < 500 or columns[0][1] < 76:
        legend = "“2: 0.3”: reads 30 % from module 2;  “all”: evenly"
    return [*drawn, text(left, READERS_Y + 48, legend, size=14, fill=QUIET)]


def _reader_words(x: float, width: float, weights: np.ndarray, on: bool) -> list[str]:
    size = 14 if width >= 64 else 11 if width >= 50 else 9
    if not on:
        words = "keeps state" if width >= 76 else "keeps" if width >= 50 else "–"
        return [text(x, READERS_Y + 24, words, size=size, fill=QUIET, anchor="middle")]
    best = favourite(weights)
    if best is None:
        return [text(x, READERS_Y + 24, "reads all" if width >= 76 else "all", size=size, anchor="middle")]
    words = f"reads {best}: {weights[best]:.2f}" if width >= 76 else f"{best}: {weights[best]:.1f}"
    return [text(x, READERS_Y + 24, words, size=size, anchor="middle")]


def _summary(trace, columns, left: float, height: float) -> list[str]:
    """After the last step: how often each module was active, as a bar in its card."""
    share = trace.active.mean(axis=0)  # (T, N) -> (N)
    question = f"how often was each module active in the {trace.num_steps} steps?"
    drawn = [text(left, 84, question, bold=True)]
    top = 120
    for n, (x, w) in enumerate(columns):
        drawn.append(rect(x, top, w, height, fill=PAPER, stroke=FAINT, radius=8))
        y = top + height * (1 - share[n])
        drawn.append(rect(x, y, w, height * share[n], fill=BLUE_TINT, stroke=BLUE, line=2, radius=8))
        drawn.append(text(x + w / 2, top - 10, f"{100 * share[n]:.0f} %", bold=True, anchor="middle"))
        drawn.append(text(x + w / 2, top + height + 22, f"module {n}" if w >= 66 else n, anchor="middle"))
    return drawn


def _without_modules(trace, left: float, width: float) -> list[str]:
    if trace.hidden_norms.shape[1] == 0:
        lines = ["This policy keeps no state:", "it forgets each view as soon as it has acted."]
    else:
        lines = [
            "This agent has one LSTM instead of modules:",
            "its whole state is updated at every step,",
            "so nothing competes and nothing communicates.",
        ]
    drawn = [text(left, 84, f"controller: {trace.controller}", bold=True)]
    drawn.append(rect(left, 104, width, 110, fill=BLUE_TINT, stroke=BLUE, line=3, radius=10))
    size = 15 if width > 500 else 14
    drawn += [text(left + width / 2, 138 + 26 * i, words, size=size, anchor="middle") for i, words in enumerate(lines)]
    return drawn
