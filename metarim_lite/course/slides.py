"""A lesson as slides: one HTML file with everything in it, which any browser shows without a network.

nbconvert does the work, by the slide tags of the cells: "slide" begins one, "subslide" begins one below it, "fragment"
comes with a key, "notes" is for the speaker alone (key S), "skip" is left out. Ours is the template in slideshow/,
which holds reveal.js 5.2 instead of fetching it, and mathematics as MathML, which browsers draw themselves. What would
not fit a slide is drawn smaller until it does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import make_folder, replace_file
from .build import differences, jobs, repository
from .sources import REVEALED
from .withheld import completed

_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
_MATH = re.compile(r"\$\$(?P<block>.+?)\$\$|(?<![\\$])\$(?P<inline>[^\s$](?:[^$]*?[^\s$\\])?)\$(?!\d)", re.DOTALL)
_FOLD = re.compile(
    r"<details>\s*<summary>(?:For the teacher|" + re.escape(REVEALED) + r")</summary>(.*?)</details>", re.DOTALL
)


def slides(
    only: Iterable[str] | None = None, folder: Path | str = "runs/slides", root: Path | None = None
) -> list[Path]:
    """Write the slides of the lessons (all, or those of `only`) as built, outputs included.

    Args:
        only: lessons by the beginning of their names; None means all.
        folder: where NN_name.html are written.
        root: the repository; None finds it.

    Raises:
        UserError: a lesson has changed since it was built, a formula cannot be read, a library is missing.
    """
    root = repository() if root is None else root
    made = []
    for job in jobs(root, only):
        if job.kind != "lesson":
            continue
        if differences(job):
            raise UserError(f"{job.target.name} is not what its source gives; run metarim build first.")
        target = make_folder(folder) / f"{job.source.stem}.html"
        replace_file(target, page(completed(job.target), job.source.stem))
        made.append(target)
    return made


def page(notebook: Any, name: str) -> str:
    """The HTML of a notebook's slides."""
    try:
        from nbconvert import SlidesExporter
    except ImportError as missing:
        raise UserError(f"slides need {missing.name}; run pip install -e '.[lab]'") from None

    for cell in notebook.cells:
        if cell.cell_type == "markdown":  # the speaker, and who shows what came out, need no folds
            cell.source = with_mathml(_FOLD.sub(r"\1", cell.source))
    here = str(Path(__file__).parent)
    exporter = SlidesExporter(template_name="slideshow", extra_template_basedirs=[here], exclude_input_prompt=True)
    body, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": name}})
    return body


def with_mathml(text: str) -> str:
    """Markdown with its formulas, $…$ and $$…$$ outside of code, as MathML.

    Raises:
        UserError: a formula cannot be read.
    """
    try:
        from latex2mathml.converter import convert
    except ImportError as missing:
        raise UserError(f"slides need {missing.name}; run pip install -e '.[lab]'") from None

    def mathml(found: re.Match[str]) -> str:
        kind = "block" if found["block"] else "inline"
        formula = found["block"] or found["inline"]
        try:
            drawn = convert(formula.strip(), display=kind)
        except Exception as error:  # the library raises many kinds
            raise UserError(f"the formula {formula.strip()!r} cannot be drawn on slides: {error!r}") from None
        for mark in "*_|[]`":  # they mean nothing here, and must not mean anything to Markdown
            drawn = drawn.replace(mark, f"&#{ord(mark)};")
        return re.sub(r"\s*\n\s*", "", drawn)

    pieces, at = [], 0
    for code in _CODE.finditer(text):
        pieces += [_MATH.sub(mathml, text[at : code.start()]), code[0]]
        at = code.end()
    return "".join([*pieces, _MATH.sub(mathml, text[at:])])
