"""What lessons show of the study of fast and slow, and of scores: drawn from what is shipped, never written by hand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from ..analysis.plots import curves_in_panels
from ..experiments.meta_shipped import curves_by_setting, judged, shipped_rows
from ..experiments.miniature import middle
from .figures import COLORS, MARKERS


def study_table(claims: Collection[int], conditions: Collection[str]) -> Any:
    """The comparisons of some claims as they stand in this copy: a Markdown table for a notebook."""
    from IPython.display import Markdown

    lines = ["| claim | condition | A − B | difference | runs | verdict |", "|---|---|---|---|---|---|"]
    for line in judged(shipped_rows()):
        if line["claim"] in claims and line["condition"] in conditions:
            effect = "–"
            if line["effect"] is not None:
                effect = f"{line['effect']:+.2f} [{line['low']:+.2f}, {line['high']:+.2f}]"
            cells = [f"{line['claim']} {line['name']}", line["condition"], line["comparison"], effect]
            lines.append("| " + " | ".join(map(str, [*cells, line["seeds"], line["verdict"]])) + " |")
    return Markdown("\n".join(lines))


def study_curves(condition: str, settings: Sequence[str], device: str = "cpu") -> None:
    """Show learning curves in a notebook: a panel for each of these settings, the first of them behind all others.

    Where no run of a setting is shipped, it is named instead.
    """
    from IPython.display import SVG, Markdown, display

    rows = [row for row in shipped_rows() if (row["condition"], row["device"]) == (condition, device)]
    found = curves_by_setting(row for row in rows if row["setting"] in settings)
    if found:
        svg, words = curves_in_panels({name: found[name] for name in settings if name in found})
        display(SVG(svg))
        display(Markdown(f"*The figure in words: {words}*"))
    if missing := [name for name in settings if name not in found]:
        display(Markdown(f"No run is shipped of: {', '.join(missing)}."))


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
