"""What lessons show of the study of fast and slow, and of scores: drawn from what is shipped, never written by hand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from ..analysis.plots import curves_in_panels
from ..experiments.claims import estimate
from ..experiments.conditions import training_condition
from ..experiments.meta_shipped import HEADING, curves_by_setting, judged, row_of_claim, shipped_rows
from ..experiments.miniature import middle
from .figures import COLORS, MARKERS


def study_table(claims: Collection[int], conditions: Collection[str]) -> Any:
    """The comparisons of some claims as they stand in this copy: a Markdown table for a notebook."""
    from IPython.display import Markdown

    lines = [line for line in judged(shipped_rows()) if line["claim"] in claims and line["condition"] in conditions]
    return Markdown("\n".join([*HEADING, *map(row_of_claim, lines)]))


def pairs_table(
    condition: str, pairs: Sequence[tuple[str, str]], device: str = "cpu", seeds: Collection[int] | None = None
) -> Any:
    """The area under the curve of two settings, runs apart and runs in pairs of one seed: a Markdown table.

    Apart: the difference of two interquartile means, each set of runs resampled by itself, as in the study's rules.
    In pairs: the interquartile mean of the differences within seeds. Only seeds that both settings have count.

    Args:
        seeds: those to look at; None: all.
    """
    from IPython.display import Markdown

    lines = ["| A − B | seeds | go together | runs apart | runs in pairs |", "|---|---|---|---|---|"]
    for ours, theirs in pairs:
        a, b = ({r["seed"]: r["area"] for r in runs_of(condition, name, device)} for name in (ours, theirs))
        both = sorted(s for s in a.keys() & b.keys() if seeds is None or s in seeds)
        cells = [f"{ours} − {theirs}", str(len(both)), *["–"] * 3]
        if len(both) > 2:
            x, y = (np.array([areas[seed] for seed in both]) for areas in (a, b))
            cells[2] = f"{np.corrcoef(x, y)[0, 1]:.2f}"
            cells[3:] = map(str, (estimate([x, y], [1, -1]), estimate([x - y], [1])))
        lines.append("| " + " | ".join(cells) + " |")
    return Markdown("\n".join(lines))


def runs_of(condition: str, setting: str, device: str = "cpu") -> list[dict[str, Any]]:
    """The shipped runs of a setting."""
    place = {"condition": condition, "setting": setting, "device": device}
    return [row for row in shipped_rows() if place.items() <= row.items()]


def halves_table(settings: Sequence[str], device: str = "cpu") -> Any:
    """What settings had learnt of a sequence of tasks, and what is left: a Markdown table, means over shipped runs.

    Learnt: success on all tasks but the last, each just after its own stage. Left: on the same tasks in the end.
    """
    from IPython.display import Markdown

    lines = ["| setting | seeds | learnt | left | forgotten | all tasks in the end |", "|---|---|---|---|---|---|"]
    for setting in settings:
        found = [row["success"] for row in runs_of("sequence", setting, device)]
        cells = [setting, str(len(found)), *["–"] * 4]
        if found:
            R = np.array(found)  # [runs, stages, tasks]
            learnt, left = np.diagonal(R, axis1=1, axis2=2)[:, :-1].mean(), R[:, -1, :-1].mean()
            cells[2:] = [f"{x:.2f}" for x in (learnt, left, learnt - left, R[:, -1].mean())]
        lines.append("| " + " | ".join(cells) + " |")
    return Markdown("\n".join(lines))


def study_curves(condition: str, settings: Sequence[str], device: str = "cpu") -> None:
    """Show learning curves in a notebook: a panel for each of these settings, the first of them behind all others.

    Where no curve of a setting is shipped, it is named instead. Of a condition such as "shift", which trained agents go
    through, the curves are those of what they go through.
    """
    from IPython.display import SVG, Markdown, display

    trained = training_condition(condition)
    rows = (row for setting in settings for row in runs_of(trained, setting, device))
    found = curves_by_setting(rows, condition if condition != trained else "")
    if found:
        svg, words = curves_in_panels({name: found[name] for name in settings if name in found})
        display(SVG(svg))
        display(Markdown(f"*The figure in words: {words}*"))
    if missing := [name for name in settings if name not in found]:
        display(Markdown(f"No curve is shipped of: {', '.join(missing)}."))


def draw_scores(ax: Any, shipped: dict[str, Sequence[float]], yours: dict[str, Sequence[float]]) -> str:
    """A row for each name: shipped scores faint, yours full, each with interquartile mean and 95 % interval.

    Returns:
        Your middles, in words.
    """
    for i, name in enumerate(yours):
        for shift, scores, alpha in ((-0.15, shipped[name], 0.35), (0.15, yours[name], 1.0)):
            value, low, high = middle(scores)
            look = {"color": COLORS[i % len(COLORS)], "alpha": alpha}
            ax.plot(scores, [i + shift] * len(scores), ".", markersize=4, **look)
            ax.errorbar(value, i + shift, xerr=[[value - low], [high - value]], marker=MARKERS[i], **look)
    ax.set_yticks(range(len(yours)), list(yours))
    ax.invert_yaxis()
    return ", ".join(f"{name} {middle(scores).value:.2f}" for name, scores in yours.items())
