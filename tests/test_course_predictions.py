"""Nothing that a lesson asks to predict is given away, and what is hidden is compared all the same."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from metarim_lite.course import predict
from metarim_lite.course.build import build, compare
from metarim_lite.course.sources import folded
from metarim_lite.course.withheld import completed, from_first_prediction, kept_at
from metarim_lite.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))

ASKING = """\
# %% [markdown]
# # A lesson

# %%
predict = lambda said, among: said  # (a stand-in that starts at once)
print("before")

# %%
mine = predict("nothing yet", among=("even", "odd"))

# %%
print("you predicted:", mine)
print("what happened: odd")

# %% [markdown] tags=["reveals"]
# ## Why
#
# Because 3 is odd.
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A repository with one lesson that asks for a prediction, built."""
    root = tmp_path_factory.mktemp("house")
    for folder in ("notebooks", "solutions"):
        (root / folder / "_source").mkdir(parents=True)
    (root / "notebooks" / "_source" / "09_asking.py").write_text(ASKING)
    assert build(root=root)
    return root


@pytest.fixture
def house(built, tmp_path):
    """A copy of it."""
    return shutil.copytree(built, tmp_path / "house")


def test_no_lesson_is_shipped_with_an_output_that_a_prediction_asks_for():
    for path in LESSONS:
        notebook = nbformat.read(path, 4)
        hidden = from_first_prediction(notebook.cells)
        assert not any(cell.outputs or cell.execution_count for cell in hidden), path.name
        assert any("Predict" in cell.source for cell in notebook.cells) <= bool(hidden), path.name
        assert any(cell.outputs for cell in from_first_prediction(completed(path).cells)) == bool(hidden)


def test_no_words_below_a_prediction_say_what_came_out_unless_they_are_folded():
    """A figure's description, "you predicted b", "it was c": prose gives away as much as a picture."""
    for path in LESSONS:
        cells = nbformat.read(path, 4).cells
        hidden = {cell.id for cell in from_first_prediction(cells)}
        first = next((n for n, cell in enumerate(cells) if cell.id in hidden), len(cells))
        for cell in cells[first:]:
            if cell.cell_type == "markdown" and not cell.source.startswith("<details>"):
                shown = cell.source.split("<details>")[0].lower()
                assert "the figure in words" not in shown and "it was **" not in shown, f"{path.name}: {shown[:80]}"


def test_a_lesson_is_built_without_what_follows_its_prediction_and_nothing_is_lost(house):
    notebook = nbformat.read(house / "notebooks" / "09_asking.ipynb", 4)
    before, asks, happened = [cell for cell in notebook.cells if cell.cell_type == "code"][1:]
    assert before.outputs[0].text == "before\n" and before.execution_count
    assert [cell.outputs for cell in (asks, happened)] == [[], []] and happened.execution_count is None
    whole = completed(house / "notebooks" / "09_asking.ipynb")
    assert whole.cells[-2].outputs[0].text == "you predicted: nothing yet\nwhat happened: odd\n"
    assert notebook.cells[-1].source.startswith("## Why\n\n<details><summary>When the cells above have run")
    assert notebook.cells[-1].source.endswith("Because 3 is odd.\n\n</details>")
    assert compare(house) == []


@pytest.mark.parametrize("fault", ["output", "lost", "other", "stray"])
def test_a_lesson_that_gives_away_its_outcome_or_has_lost_it_is_not_in_sync(house, fault):
    path = house / "notebooks" / "09_asking.ipynb"
    kept = kept_at(path)
    if fault == "output":
        nbformat.write(completed(path), path)
    elif fault == "lost":
        kept.unlink()
    elif fault == "other":
        kept.write_text(kept.read_text().replace('"outputs"', '"outputs"').replace(path.stem, "x"))
        kept.write_text(json.dumps(dict(list(json.loads(kept.read_text()).items())[1:])))
    else:
        kept.with_name("10_gone.json").write_text("{}")
    says = {"output": "shows an output", "lost": "other cells", "other": "other cells", "stray": "has no source"}
    assert compare(house) and all(says[fault] in line for line in compare(house))


def test_nbval_fails_when_a_hidden_output_changes_and_at_no_other_cell(house):
    """The hook of notebooks/conftest.py: `pytest --nbval` compares what the notebook does not show."""
    (house / "notebooks" / "conftest.py").write_bytes((ROOT / "notebooks" / "conftest.py").read_bytes())
    kept = kept_at(house / "notebooks" / "09_asking.ipynb")
    whole = kept.read_text(encoding="utf-8")
    kept.write_text(whole.replace("what happened: odd", "what happened: even"), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "--nbval", "-p", "no:cacheprovider", "notebooks"]
    said = subprocess.run(command, cwd=house, capture_output=True, text=True, check=False).stdout
    assert "1 failed, 4 passed" in said and "Cell outputs differ" in said, said  # four cells, and their memory


def test_a_prediction_is_one_of_those_that_are_offered(capsys):
    predict(" B ", among="abc").happened("c")
    predict("", among="abc").happened("a")
    said = "you predicted: {}\nwhat happened: {}\n"
    assert capsys.readouterr().out == said.format("b", "c") + said.format("nothing yet", "a")
    for wrong in ("d", "ab", 1, None):
        with pytest.raises(UserError, match=r"your prediction is .*; choose 'a', 'b' or 'c', in quotes"):
            predict(wrong, among="abc")
    with pytest.raises(UserError, match="what happened is 'x'"):
        predict("a", among="abc").happened("x")


def test_a_lesson_whose_kept_outputs_are_lost_is_not_completed_without_a_word(house):
    path = house / "notebooks" / "09_asking.ipynb"
    kept_at(path).unlink()
    with pytest.raises(UserError, match="run metarim build"):
        completed(path)


def test_what_is_folded_keeps_its_heading_above_the_fold():
    assert folded("Only words.").startswith("<details>")
    assert folded("## Why\n\nWords.\n").startswith("## Why\n\n<details>")
