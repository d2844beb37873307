"""Slides: one file that asks nothing of a network, with the lesson's outputs, its mathematics and its speaker notes.

What they look like is tested in tests/browser.
"""

import re
from pathlib import Path

import nbformat
import pytest

from metarim_lite.course.build import write
from metarim_lite.course.slides import page, slides, with_mathml
from metarim_lite.course.sources import read
from metarim_lite.course.withheld import withhold
from metarim_lite.errors import UserError

pytest.importorskip("latex2mathml")

LESSON = r"""# %% [markdown] slideshow={"slide_type": "slide"}
# # A lesson
#
# It costs \$5 to read $h_n$, `$not math$` and
#
# $$\frac{a}{b} = \sigma(s)$$

# %% slideshow={"slide_type": "subslide"}
from metarim_lite.course import predict
mine = predict("", among="ab")

# %% [markdown] slideshow={"slide_type": "notes"}
# <details><summary>For the teacher</summary>
#
# Ask first.
# </details>

# %% slideshow={"slide_type": "subslide"}
mine.happened("b")

# %% [markdown] tags=["reveals"]
# ## Why
#
# Because *it* is so. <details><summary>answer</summary>yes</details>
"""


@pytest.fixture
def house(tmp_path):
    for folder in ("notebooks", "solutions"):
        (tmp_path / folder / "_source").mkdir(parents=True)
    (tmp_path / "notebooks" / "_source" / "09_shown.py").write_text(LESSON)
    return tmp_path


def built_by_hand(house):
    """As metarim build would, without a kernel."""
    source, target = house / "notebooks" / "_source" / "09_shown.py", house / "notebooks" / "09_shown.ipynb"
    notebook = read(source, "lesson")
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.execution_count = 1
    notebook.cells[-2].outputs = [nbformat.v4.new_output("stream", text="what happened: b\n")]
    withhold(notebook, target)
    write(notebook, target)


def test_slides_are_one_file_with_everything_in_it(house, tmp_path):
    built_by_hand(house)
    (made,) = slides(["09"], tmp_path / "shown", house)
    assert made.name == "09_shown.html"
    text = made.read_text(encoding="utf-8")
    assert not re.findall(r"<script[^>]+src=|@import|url\([\"']?http", text)
    assert "what happened: b" in text  # which the notebook itself keeps back
    assert "reveal.js 5.2" in text and "Hakim El Hattab" in text
    words = re.sub(r"<(script|style).*?</\1>", "", text, flags=re.DOTALL)
    assert not re.findall(r"<(?:link|img)[^>]+(?:src|href)=[\"'](?!data:)", words)
    assert '<aside class="notes">' in words and "Ask first." in words and "For the teacher" not in words
    assert "what came out" not in words and "<summary>answer</summary>" in words
    assert "find_spec" not in words  # the cell that installs is skipped
    assert words.count("<section") == 4  # one slide, with three below each other


def test_slides_of_a_lesson_that_was_not_built_are_refused(house, tmp_path):
    with pytest.raises(UserError, match=r"09_shown.ipynb is not what its source gives; run metarim build first"):
        slides(None, tmp_path / "shown", house)


def test_formulas_become_mathml_and_code_and_money_stay():
    text = with_mathml("$h_n$ and `$x$`\n```\n$y$\n```\n$$\na * b\n$$ \\$5 to $6")
    assert text.count("<math") == 2 and text.count('display="block"') == 1
    assert "`$x$`" in text and "$y$" in text and text.endswith("\\$5 to $6")
    assert "\n$$" not in text and "*" not in text  # Markdown must not read it as emphasis
    with pytest.raises(UserError, match=r"the formula '\\\\frac\{' cannot be drawn"):
        with_mathml(r"$$\frac{$$")


def test_formulas_survive_markdown(house):
    notebook = read(house / "notebooks" / "_source" / "09_shown.py", "lesson")
    text = page(notebook, "x")
    assert re.search(r"<math[^>]*>\s*<mrow>\s*<msub>\s*<mi>h</mi>\s*<mi>n</mi>", text)
    assert re.search(r"<mfrac>", text) and "$not math$" in text and "costs $5 to" in text


def test_the_package_brings_what_slides_are_made_of():
    here = Path(__file__).resolve().parents[1]
    assert '"slideshow/*", "slideshow/static/*"' in (here / "pyproject.toml").read_text(encoding="utf-8")
    assert "Permission is hereby granted" in (
        here / "metarim_lite" / "course" / "slideshow" / "static" / "LICENSE-reveal.js"
    ).read_text(encoding="utf-8")
