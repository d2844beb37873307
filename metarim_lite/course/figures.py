"""How the figures of all lessons look, and the sentence that each of them has.

    figure, axes = subplots(size=(7, 4))
    axes.plot(x, y, color=COLORS[0], linestyle=STYLES[0], label="LSTM")
    show(figure, f"The curve rises from {y[0]:.1f} to {y[-1]:.1f}.")

The palette is Okabe and Ito's, and line styles and markers repeat what colours say. The sentence is the picture's text
for those who do not see it, and is printed below it. Make it from the numbers that were drawn, so that it is true
of what came out; a sentence written beforehand would give away what a lesson asks to predict.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

from ..analysis.plots import COLORS, STYLES

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#777777"  # for what is only a reference: guessing, a border
__all__ = ["COLORS", "GREY", "MARKERS", "STYLES", "show", "subplots"]

_LOOK = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": "medium",
    "font.size": 11,
}


def subplots(rows: int = 1, columns: int = 1, *, size: tuple[float, float] = (7, 4), **options: Any) -> Any:
    """As `plt.subplots`, in the look of the lessons.

    Args:
        rows, columns: of panels.
        size: of the figure, in inches; a notebook shows 100 pixels for each.
        options: what `plt.subplots` takes besides.
    """
    import matplotlib.pyplot as plt

    with plt.rc_context(
        _LOOK | {"axes.prop_cycle": plt.cycler(color=COLORS, linestyle=STYLES, linewidth=[2] * len(COLORS))}
    ):
        return plt.subplots(rows, columns, figsize=size, layout="constrained", **options)


def show(figure: Any, words: str) -> None:
    """Show a figure, and below it one sentence or two that say what can be seen."""
    import matplotlib.pyplot as plt
    from IPython.display import Markdown, display

    for legend in filter(None, (axes.get_legend() for axes in figure.axes)):
        legend.set_frame_on(False)
    png = BytesIO()
    figure.savefig(png, format="png", dpi=100)
    plt.close(figure)  # or the notebook would show it again
    described = {"image/png": {"alt": words}}
    display({"image/png": png.getvalue(), "text/plain": "[figure]"}, raw=True, metadata=described)
    display(Markdown(f"*The figure in words: {words}*"))
