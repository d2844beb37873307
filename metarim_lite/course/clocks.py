"""Clocks and spans to be seen and turned, for lesson 06."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import Any

from ..analysis.plots import COLORS
from ..errors import UserError
from ..experiments.miniature import WAYS, WORLDS, Found, Miniature, learn
from ..lens.controls import in_order
from ..models import GROUPS
from ..training.methods import METHODS, spending
from ..training.ppo import PPOConfig
from ..training.timescales import TimeScales
from .figures import GREY, MARKERS, subplots

STEPS = 40  # of each world in a fast tick, as TrainConfig has it
MILLION, B = 1_000_000, 256


def draw_clocks(scales: TimeScales, length: int = 500) -> tuple[Any, str]:
    """Which groups of parameters learn when, while each world plays `length` steps: a figure, and a sentence on it.

    A bar is a tick: as long as what was played for it, cut by white lines into the spans that gradients run through.
    """
    figure, ax = subplots(size=(8, 2.4))
    rows, time, tick = GROUPS[::-1], 0, 0
    while time < length:
        name = scales.clock_of_tick(tick)
        played = scales.steps_of_tick(name, STEPS)
        span, color = (scales.fast_span, COLORS[0]) if name == "fast" else (scales.slow_span, COLORS[1])
        for group in scales.groups_of(name):
            cuts = [(time + start, span - 3) for start in range(0, played, span)]
            hatch = None if name == "fast" else "//"
            row = rows.index(group.split(".")[0])
            ax.broken_barh(cuts, (row - 0.35, 0.7), color=color, hatch=hatch, edgecolor="white", linewidth=0)
        time, tick = time + played, tick + 1
    ax.set(xlabel="steps played in each world", xlim=(0, length), yticks=range(len(rows)), yticklabels=rows)
    return figure, words_on_clocks(scales)


def in_a_million_frames(scales: TimeScales) -> tuple[dict[str, int], float]:
    """What a million frames are spent on: updates of each group, and the share of frames played for the slow clock."""
    ticks = [scales.clock_of_tick(tick) for tick in range(scales.slow_every + 1)]
    period = sum(B * scales.steps_of_tick(name, STEPS) for name in ticks)
    spent = spending(scales, PPOConfig(), STEPS, MILLION * len(ticks) // period, B)
    slow = spent.frames.get("slow", 0) / max(1, sum(spent.frames.values()))
    return {group: spent.updates.get(group, 0) for group in GROUPS}, slow


def words_on_clocks(scales: TimeScales) -> str:
    """The same in words."""
    counts, slow = in_a_million_frames(scales)
    updates = ", ".join(f"{group} {count:,}" for group, count in counts.items())
    return f"Updates in a million frames: {updates}. {slow:.0%} of the frames are played for the slow clock."


def clock_sliders(method: str = "meta-rim") -> Any:
    """The clocks of a method, with sliders for its beat and its spans. Nothing is trained."""
    import ipywidgets as widgets

    usual = METHODS[method].timescales
    parts = {
        "slow_every": widgets.IntSlider(usual.slow_every, 1, 12, description="slow every"),
        "fast_span": widgets.SelectionSlider(options=(5, 10, 20, 40), value=usual.fast_span, description="fast span"),
        "slow_span": widgets.SelectionSlider(options=(20, 40, 80, 160), value=usual.slow_span, description="slow span"),
    }
    chosen = widgets.Dropdown(options=[n for n in METHODS if "per-task" not in n], value=method, description="method")

    def draw() -> str:
        scales = METHODS[chosen.value].timescales
        changes = {name: slider.value for name, slider in parts.items()}
        return _picture(*draw_clocks(TimeScales(**{**vars(scales), **changes})))

    return _panel([chosen, *parts.values()], draw)


def draw_skill(ax: Any, found: Found, number: int, label: str) -> None:
    """Skill within a task, mean over tasks and seeds, with the seeds' spread at its end."""
    mean = found.skill.mean(axis=(0, 1))
    at = range(len(mean))
    ax.plot(
        at, mean, color=COLORS[number % len(COLORS)], marker=MARKERS[number % len(MARKERS)], markevery=5, label=label
    )


def miniature_sliders(world: str = "what") -> Any:
    """The miniature, to be set and run: a second or two for each press of the button; the last run stays, in grey."""
    import ipywidgets as widgets

    where = widgets.Dropdown(options=WORLDS, value=world, description="new is")
    way = widgets.Dropdown(options=list(WAYS), value="slow clock", description="way")
    alpha = widgets.SelectionSlider(options=(0.02, 0.05, 0.1, 0.2, 0.4), value=0.2, description="α")
    other = widgets.SelectionSlider(options=(0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.8), value=0.4, description="β, or low")
    updates = widgets.IntSlider(20, 5, 40, description="fast updates")
    early = widgets.IntSlider(0, 0, 40, description="too early by")
    before: list[Found] = []

    def draw() -> str:
        found = learn(
            Miniature(where.value, way.value, alpha.value, other.value, updates.value, min(early.value, updates.value)),
            seeds=range(4), tasks=40,
        )  # fmt: skip
        figure, ax = subplots(size=(6, 3))
        if before:
            ax.plot(before[-1].skill.mean(axis=(0, 1)), color=GREY, linestyle=":", label="the run before")
        draw_skill(ax, found, 0, "this run")
        ax.axhline(0, color=GREY, linewidth=0.8)
        ax.set(xlabel="updates since the task began", ylabel="skill", ylim=(-1.5, 1))
        ax.legend(loc="lower right")
        before.append(found)
        low, high = found.scores.min(), found.scores.max()
        return _picture(
            figure, f"Skill at the end of a task: {found.scores.mean():.2f}, seeds {low:.2f} to {high:.2f}."
        )

    return _panel([where, way, alpha, other, updates, early], draw, button=True)


def _panel(controls: list[Any], draw: Callable[[], str], button: bool = False) -> Any:
    """Controls above a picture that is drawn anew at each change, or at each press of a button."""
    import ipywidgets as widgets

    picture = widgets.HTML()
    for control in controls:
        control.style.description_width = "initial"  # else long names are cut

    def show(_: Any = None) -> None:
        try:
            picture.value = draw()
        except UserError as error:
            picture.value = f"<p>{error}</p>"

    if button:
        run = widgets.Button(description="run")
        run.on_click(show)
        controls = [*controls, run]
    else:
        for control in controls:
            control.observe(show, names="value")
    show()
    return in_order(widgets.VBox([widgets.Box(controls, layout=widgets.Layout(flex_flow="row wrap")), picture]))


def _picture(figure: Any, words: str) -> str:
    """A figure as SVG, with its sentence."""
    import matplotlib.pyplot as plt

    svg = StringIO()
    figure.savefig(svg, format="svg")
    plt.close(figure)
    drawn = svg.getvalue()
    drawn = drawn[drawn.index("<svg") :].replace("<svg", '<svg style="max-width:100%;height:auto"', 1)
    return f'<div role="img" aria-label="{words}">{drawn}</div><p>{words}</p>'
