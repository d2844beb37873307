"""What lessons show of the study of fast and slow, and of scores: drawn from what is shipped, never written by hand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from ..experiments.claims import judge
from ..experiments.meta_shipped import shipped_rows
from ..experiments.miniature import middle
from .figures import COLORS, MARKERS


def study_table(claims: Collection[int], conditions: Collection[str]) -> Any:
    """The comparisons of some claims as they stand in this copy: a Markdown table for a notebook."""
    from IPython.display import Markdown

    lines = ["| claim | condition | A − B | difference | runs | verdict |", "|---|---|---|---|---|---|"]
    for line in judge(shipped_rows()):
        if line["claim"] in claims and line["condition"] in conditions:
            effect = "–"
            if line["effect"] is not None:
                effect = f"{line['effect']:+.2f} [{line['low']:+.2f}, {line['high']:+.2f}]"
            cells = [f"{line['claim']} {line['name']}", line["condition"], line["comparison"], effect]
            lines.append("| " + " | ".join(map(str, [*cells, line["seeds"], line["verdict"]])) + " |")
    return Markdown("\n".join(lines))


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
