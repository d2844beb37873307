"""The few SVG elements the drawings need, one string each, and the palette they share.

Every element is one line of text. The replay page counts on that: it stores each different line once.
"""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

# Okabe & Ito (2008): eight colours that stay apart under the common forms of colour blindness.
ORANGE = "#E69F00"
SKY = "#56B4E9"
GREEN = "#009E73"
YELLOW = "#F0E442"
BLUE = "#0072B2"
VERMILLION = "#D55E00"
PURPLE = "#CC79A7"

INK = "#1B1F24"  # text
QUIET = "#59636E"  # secondary text, still 5.9:1 on white
FAINT = "#C9D1D9"  # outlines of what is not active
PAPER = "#FFFFFF"
BLUE_TINT = "#E4F1F9"
GREEN_TINT = "#DDF3EC"
GREY_TINT = "#F3F5F7"
RED_TINT = "#FBEADF"
BORDER = "#E1E5EA"

FONT = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', 'DejaVu Sans', sans-serif"
XMLNS = ' xmlns="http://www.w3.org/2000/svg"'  # a name, not an address; a lone .svg file needs it


def number(value: float) -> str:
    """A coordinate with at most one decimal, without a trailing zero: 3.0 -> "3", 2.25 -> "2.2"."""
    return f"{value:.1f}".removesuffix(".0")


def text(
    x: float, y: float, string: object, *, size: float = 14, fill: str = INK, bold: bool = False, anchor: str = "start"
) -> str:
    weight = ' font-weight="650"' if bold else ""
    place = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return (
        f'<text x="{number(x)}" y="{number(y)}" font-size="{number(size)}" fill="{fill}"{weight}{place}>'
        f"{escape(str(string))}</text>"
    )


def rect(
    x: float,
    y: float,
    width: float,
    height: float,
    *,
    fill: str = "none",
    stroke: str = "none",
    line: float = 1,
    radius: float = 0,
    dash: str = "",
    shade: float = 1,
) -> str:
    outline = "" if stroke == "none" else f' stroke="{stroke}" stroke-width="{number(line)}"'
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    corner = f' rx="{number(radius)}"' if radius else ""
    return (
        f'<rect x="{number(x)}" y="{number(y)}" width="{number(max(width, 0))}" height="{number(max(height, 0))}"'
        f'{corner} fill="{fill}"{outline}{dashes}{_shaded(shade)}/>'
    )


def path(
    d: str,
    *,
    stroke: str = "none",
    line: float = 1,
    fill: str = "none",
    opacity: float = 1,
    dash: str = "",
    shade: float = 1,
) -> str:
    outline = "" if stroke == "none" else f' stroke="{stroke}" stroke-width="{number(line)}"'
    clear = "" if opacity >= 1 else f' opacity="{opacity:.2f}"'
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<path d="{d}" fill="{fill}"{outline}{dashes}{clear}{_shaded(shade)}/>'


def _shaded(share: float) -> str:
    """How much of a fill covers the paper under it: a shade that is one in the light and in the dark."""
    return "" if share >= 1 else f' fill-opacity="{max(share, 0.0):.2f}"'


def line(x1: float, y1: float, x2: float, y2: float, *, stroke: str, width: float = 1, dash: str = "") -> str:
    return path(f"M{number(x1)} {number(y1)}L{number(x2)} {number(y2)}", stroke=stroke, line=width, dash=dash)


def disc(x: float, y: float, radius: float, *, fill: str, stroke: str = "none", width: float = 1.5) -> str:
    outline = "" if stroke == "none" else f' stroke="{stroke}" stroke-width="{number(width)}"'
    return f'<circle cx="{number(x)}" cy="{number(y)}" r="{number(radius)}" fill="{fill}"{outline}/>'


def placed(elements: list[str], x: float, y: float, scale: float = 1) -> list[str]:
    """The elements moved to (x, y), and drawn `scale` times as large."""
    larger = "" if scale == 1 else f" scale({scale:.3f})"
    return [f'<g transform="translate({number(x)} {number(y)}){larger}">', *elements, "</g>"] if elements else []


def document(width: int, height: int, elements: list[str], title: str, description: str) -> str:
    """A whole drawing on its own white panel, so that it reads the same in light and dark notebooks.

    Args: width, height in user units; it scales to the width of the page. `elements`, one line each.
    """
    head = (
        f'<svg{XMLNS} viewBox="0 0 {width} {height}" width="100%" style="max-width:{width + 160}px;height:auto"'
        f' role="img" aria-label={quoteattr(description)} font-family={quoteattr(FONT)}>'
    )
    lines = [head, f"<title>{escape(title)}</title>", f"<desc>{escape(description)}</desc>"]
    lines.append(rect(0.5, 0.5, width - 1, height - 1, fill=PAPER, stroke=BORDER, radius=12))
    return "\n".join([*lines, *elements, "</svg>"])
