"""A drawing as a PNG, for places that show no SVG: notebooks that were not run yet, slides, printed pages.

It reads the few elements that `svg.py` writes, and no others.
"""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ET
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngImageFile

Point = tuple[float, float]
_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}  # of Pillow: left, middle or right, on the base line


def svg_png(svg: str, scale: float = 1.5) -> bytes:
    """The drawing as PNG bytes, `scale` pixels to a unit, on transparent ground."""
    root = ET.fromstring(svg)
    width, height = (float(v) for v in root.get("viewBox", "").split()[2:])
    fine = 2 * scale  # drawn twice as fine, then halved: that smooths edges
    canvas = Image.new("RGBA", (round(width * fine), round(height * fine)), (255, 255, 255, 0))
    _draw_all(root, canvas, 0, 0, fine)
    small = canvas.resize((round(width * scale), round(height * scale)), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.quantize(128, Image.Quantize.FASTOCTREE).save(file, "PNG", optimize=True)
    return file.getvalue()


def _draw_all(parent: ET.Element, canvas: Image.Image, x: float, y: float, scale: float) -> None:
    pen = ImageDraw.Draw(canvas)
    for element in parent:
        tag = element.tag.split("}")[-1]
        n = {k: float(v) for k, v in element.items() if re.fullmatch(r"-?[\d.]+", v)}
        if tag == "g":
            dx, dy, *larger = map(float, re.findall(r"-?[\d.]+", element.get("transform", "")))
            _draw_all(element, canvas, x + dx * scale, y + dy * scale, scale * (larger[0] if larger else 1))
        elif tag == "rect":
            box = [x + n["x"] * scale, y + n["y"] * scale]
            box += [box[0] + n["width"] * scale, box[1] + n["height"] * scale]
            if n["width"] > 0 and n["height"] > 0:
                pen.rounded_rectangle(box, n.get("rx", 0) * scale, **_paint(element, n, scale))
        elif tag == "circle":
            cx, cy, r = x + n["cx"] * scale, y + n["cy"] * scale, n["r"] * scale
            pen.ellipse([cx - r, cy - r, cx + r, cy + r], **_paint(element, n, scale))
        elif tag == "text":
            font = _font(round(n["font-size"] * scale), "font-weight" in element.attrib)
            place, anchor = (x + n["x"] * scale, y + n["y"] * scale), _ANCHORS[element.get("text-anchor", "start")]
            pen.text(place, element.text or "", fill=element.get("fill"), font=font, anchor=anchor)
        elif tag == "image":
            data = base64.b64decode(element.get("href", "").split("base64,")[1])
            size = round(n["width"] * scale), round(n["height"] * scale)
            frame = PngImageFile(io.BytesIO(data)).convert("RGBA").resize(size)
            canvas.paste(frame, (round(x + n["x"] * scale), round(y + n["y"] * scale)))
        elif tag == "path":
            _draw_path(element, n, pen, x, y, scale)


def _paint(element: ET.Element, n: dict[str, float], scale: float) -> dict[str, Any]:
    """Pillow's words for how an element is painted. What is half transparent is mixed with the paper under it."""
    fill, stroke = (None if (c := element.get(k)) in (None, "none") else c for k in ("fill", "stroke"))
    if stroke and "opacity" in n:
        stroke = _on_paper(stroke, n["opacity"])
    if fill and "fill-opacity" in n:
        fill = _on_paper(fill, n["fill-opacity"])
    return {"fill": fill, "outline": stroke, "width": max(1, round(n.get("stroke-width", 1) * scale)) if stroke else 0}


def _on_paper(color: str, share: float) -> tuple[int, ...]:
    ink = np.array(ImageColor.getrgb(color))
    return tuple(int(v) for v in 255 + (ink - 255) * share)


def _draw_path(element: ET.Element, n: dict[str, float], pen: ImageDraw.ImageDraw, x: float, y: float, scale: float):
    look = _paint(element, n, scale)
    for line, closed in path_points(element.get("d", "")):
        points = [(x + px * scale, y + py * scale) for px, py in line]
        if look["fill"] and len(points) > 2:
            pen.polygon(points, fill=look["fill"])
        if look["outline"]:
            points = points + points[:1] if closed else points
            dashes = [float(v) * scale for v in element.get("stroke-dasharray", "").split()]
            for piece in _dashed(points, *dashes) if dashes else [points]:
                pen.line(piece, fill=look["outline"], width=look["width"], joint="curve")


def path_points(d: str) -> list[tuple[list[Point], bool]]:
    """The lines of a path as points, and whether each is closed. It knows M, L, C, and m, l, h, v, z.

    >>> path_points("M1 2h3v4z")
    [([(1.0, 2.0), (4.0, 2.0), (4.0, 6.0)], True)]
    """
    lines: list[tuple[list[Point], bool]] = []
    for letter, numbers in re.findall(r"([A-Za-z])([^A-Za-z]*)", d):
        v = [float(number) for number in re.findall(r"-?[\d.]+", numbers)]
        if letter == "M":
            lines.append(([(v[0], v[1])], False))
            continue
        points, _ = lines[-1]
        px, py = points[-1]
        if letter == "m":
            lines.append(([(px + v[0], py + v[1])], False))
            continue
        if letter == "z":
            lines[-1] = (points, True)
        elif letter == "C":
            points += _bezier(points[-1], (v[0], v[1]), (v[2], v[3]), (v[4], v[5]))
        elif letter in "Ll":
            for a, b in zip(v[::2], v[1::2], strict=True):
                px, py = (a, b) if letter == "L" else (px + a, py + b)
                points.append((px, py))
        else:
            points.append({"h": (px + v[0], py), "v": (px, py + v[0])}[letter])
    return lines


def _bezier(a: Point, b: Point, c: Point, d: Point, pieces: int = 24) -> list[Point]:
    s = np.linspace(0, 1, pieces + 1)[1:, None]
    curve = (1 - s) ** 3 * a + 3 * (1 - s) ** 2 * s * b + 3 * (1 - s) * s**2 * c + s**3 * d
    return [(float(px), float(py)) for px, py in curve]


def _dashed(points: list[Point], on: float, off: float) -> list[list[Point]]:
    """The strokes of a straight dashed line."""
    (x1, y1), (x2, y2) = points[0], points[-1]
    length = max(float(np.hypot(x2 - x1, y2 - y1)), 1e-9)
    starts = np.arange(0, length, on + off) / length
    ends = np.minimum(starts + on / length, 1)
    return [[(x1 + (x2 - x1) * s, y1 + (y2 - y1) * s) for s in pair] for pair in zip(starts, ends, strict=True)]


@cache
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)
