"""Around the lessons: notation and glossary, what a lesson suggests to try, what a notebook costs."""

import ast
import re
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from metarim_lite.course.build import build, compare
from metarim_lite.course.checks import EXERCISES
from metarim_lite.course.figures import COLORS, STYLES, show, subplots
from metarim_lite.course.report import report
from metarim_lite.course.sources import read
from metarim_lite.errors import UserError
from metarim_lite.experiments.sequences import SEQUENCES, train_sequence
from metarim_lite.lens.what_if_widget import LEVELS

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "notebooks" / "_source"
# design's notation, as a student meets it
SYMBOLS = "B T N k D H d_k d_v A L x_t h_t c_t θ_M θ_A α β".split()
EXERCISE = """\
# %% metarim={"exercise": "blocks", "role": "answer"}
def blocks(h, W):
    # SOLUTION-BEGIN
    return h
    # SOLUTION-END

# %% metarim={"exercise": "blocks", "role": "check"}
def check(answer): answer(1, 2)
check(blocks)

# %%
print("goes on")
"""


def test_every_symbol_of_the_notation_is_on_the_card():
    card = (SOURCES / "notation.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:3] for line in card.splitlines() if line.startswith("| ")]
    explained = {letter.strip() for letters, meaning in rows if meaning.strip() for letter in letters.split(",")}
    assert set(SYMBOLS) <= explained
    assert "Time is the first axis" in card and "an episode *begins* at step t" in card


def test_notation_and_glossary_are_one_page_each_and_every_lesson_links_to_both():
    for name in ("notation", "glossary"):
        text = (SOURCES / f"{name}.md").read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 50 and "(00_start_here.ipynb)" in text
        (cell,) = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells
        assert cell.cell_type == "markdown" and cell.source == text.rstrip("\n")
        for lesson in SOURCES.glob("*.py"):
            assert f"({name}.ipynb)" in lesson.read_text(encoding="utf-8"), f"{lesson.name} does not link to {name}"


def test_the_glossary_is_in_alphabetical_order_and_has_no_word_twice():
    text = (SOURCES / "glossary.md").read_text(encoding="utf-8")
    words = [line.split("|")[1].strip().lower() for line in text.splitlines() if line.startswith("| ")][1:]
    assert words == sorted(set(words)) and len(words) > 20


def test_every_readers_question_has_its_place_at_the_end_of_lesson_00():
    text = (SOURCES / "00_start_here.py").read_text(encoding="utf-8")
    table = text[text.index("# ## Your questions have a place") :]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("# | ")][1:]
    assert len(rows) == 8
    for row in rows:
        places = re.split(r"\[0\d\]\((0\d_\w+)\.ipynb\)", row[2])
        assert len(places) > 1, row
        for lesson, sections in zip(places[1::2], places[2::2], strict=True):
            source = SOURCES / f"{lesson}.py"
            there = source.read_text(encoding="utf-8") if source.exists() else None  # a lesson that is still to come
            for section in re.findall(r'"(.+?)"', sections):
                assert there is None or f"# ## {section}\n" in there, f"{lesson} has no section {section!r}"


def test_the_map_of_the_course_leads_to_every_lesson():
    text = (SOURCES / "00_start_here.py").read_text(encoding="utf-8")
    for lesson in SOURCES.glob("0[1-8]*.py"):
        assert f"]({lesson.stem}.ipynb) |" in text


def reading_minutes(source: Path, words_a_minute: int = 200, seconds_a_line: int = 10) -> float:
    """What a lesson's prose and code take to read, folds for teachers left out. Its cells run while one reads."""
    cells = [c for c in read(source, "lesson").cells if "For the teacher" not in c.source and c.id != "install"]
    prose = re.sub(r"\]\([^)]*\)|<[^>]+>", "", " ".join(c.source for c in cells if c.cell_type == "markdown"))
    lines = [line for c in cells if c.cell_type == "code" for line in c.source.splitlines() if line.strip()]
    return len(re.findall(r"\w+", prose)) / words_a_minute + len(lines) * seconds_a_line / 60


@pytest.mark.parametrize("source", sorted(SOURCES.glob("0*.py")), ids=lambda p: p.stem)
def test_a_lesson_says_how_long_it_takes_and_the_map_and_its_exercises_say_the_same(source):
    said = int(re.search(r"(\d+) minutes", source.read_text(encoding="utf-8"))[1])
    assert 0.75 * reading_minutes(source) <= said <= 2 * reading_minutes(source)
    text = (SOURCES / "00_start_here.py").read_text(encoding="utf-8")
    title = source.stem.replace("_", " ")
    (row,) = (line for line in text.splitlines() if line.startswith("# | ") and title in line.split("|")[1])
    asked = sum(e.minutes for e in EXERCISES.values() if e.lesson == source.stem)
    assert row.split("|")[-2].split(" + ")[0].strip() == str(said)
    if asked:
        assert row.split("|")[-2].strip() == f"{said} + {asked}"
        exercises = (ROOT / "solutions" / "_source" / source.name).read_text(encoding="utf-8")
        assert f"{asked} minutes" in exercises.split("# %% slideshow")[0]


def test_what_lesson_04_suggests_to_try_can_be_tried():
    text = (SOURCES / "04_recurrent_independent_mechanisms.py").read_text(encoding="utf-8")
    suggested = re.findall(r"`(replace\(SEQUENCES.*?\))`", text)
    assert len(suggested) == 3 and "from dataclasses import replace" in text
    for change in suggested:
        config = eval(change, {"replace": replace, "SEQUENCES": SEQUENCES})
        run = train_sequence(replace(config, updates=1, test_sequences=2), progress=False)
        assert run.metrics[-1]["update"] == 1


WIDTH = 100  # characters of code that JupyterLab shows in a window of 1280 pixels with its file browser open, uncut


def too_long(source: Path, kind: str) -> list[str]:
    """Lines of code that a student would have to scroll sideways for."""
    code = [cell.source for cell in read(source, kind).cells if cell.cell_type == "code"]
    return [line for text in code for line in text.splitlines() if len(line) > WIDTH]


@pytest.mark.parametrize("source", sorted(ROOT.glob("*/_source/*.py")), ids=lambda p: f"{p.parts[-3]}-{p.stem}")
def test_no_line_of_code_is_cut_at_the_window_s_edge(source):
    for kind in ("lesson",) if source.parts[-3] == "notebooks" else ("solution", "exercise"):
        assert too_long(source, kind) == []


def test_a_line_of_code_that_would_be_cut_is_found_and_long_prose_is_not(tmp_path):
    source = tmp_path / "notebooks" / "_source" / "09_wide.py"
    source.parent.mkdir(parents=True)
    fits, cut = (f"x = '{'-' * n}'" for n in (WIDTH - 6, WIDTH - 5))
    source.write_text(f"# %% [markdown]\n# {'word ' * 40}\n\n# %%\n{fits}\n{cut}\n", encoding="utf-8")
    assert too_long(source, "lesson") == [cut]


def to_press(source: Path) -> list[str]:
    """What a lesson says to press: names in italics after the word."""
    prose = " ".join(source.read_text(encoding="utf-8").replace("\n# ", " ").split())
    phrases = re.findall(r"[Pp]ress ((?:\*[^*]+\*(?:, or |, | or | and )?)+)", prose)
    return [name for phrase in phrases for name in re.findall(r"\*([^*]+)\*", phrase)]


def test_what_a_lesson_says_to_press_is_a_button():
    folders = [ROOT / "metarim_lite" / name for name in ("lens", "course")]
    code = "\n".join(path.read_text(encoding="utf-8") for folder in folders for path in folder.glob("*.py"))
    said = {name: source.name for source in SOURCES.glob("*.py") for name in to_press(source)}
    assert len(said) >= 5
    for name, lesson in said.items():
        assert f'"{name}"' in code.replace("{LEVELS}", str(LEVELS)), f"{lesson} says to press {name!r}"


def silent_trainings(source: str) -> list[int]:
    """Lines of calls that show neither a bar nor, by `on_report`, a line now and then."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    given = ((call.lineno, {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}) for call in calls)
    return [line for line, words in given if words.get("progress") == "False" and "on_report" not in words]


def test_what_takes_long_shows_how_far_it_is():
    for source in ROOT.glob("*/_source/*.py"):
        assert silent_trainings(source.read_text(encoding="utf-8")) == [], source.name
    shown = "sweep(c)\ntrain(c, progress=True)\ntrain(c, progress=False, on_report=say)\n"
    assert silent_trainings(shown) == [] and silent_trainings(shown + "train(c, progress=False)\n") == [4]


@pytest.fixture
def house(tmp_path):
    for folder in ("notebooks", "solutions"):
        (tmp_path / folder / "_source").mkdir(parents=True)
    return tmp_path


def test_a_page_is_shown_and_never_run(house):
    (house / "notebooks" / "_source" / "words.md").write_text("# Words\n\nSome.\n")
    assert build(root=house) and compare(house) == []
    (cell,) = nbformat.read(house / "notebooks" / "words.ipynb", 4).cells
    assert cell.source == "# Words\n\nSome."
    (house / "notebooks" / "_source" / "words.md").write_text("# Words\n\nOthers.\n")
    assert compare(house) == ["notebooks/words.ipynb: cell 0: source differs"]


def test_the_report_runs_exercises_unsolved_and_says_what_each_notebook_costs(house, capsys, monkeypatch):
    (house / "solutions" / "_source" / "04_recurrent_independent_mechanisms.py").write_text(EXERCISE)
    assert report(root=house)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "notebook",
        *(f"{n}/04_recurrent_independent_mechanisms.ipynb" for n in ("solutions", "exercises")),
        "all",
    ]
    assert all(0 < float(line.split()[1]) < 240 and "limit" not in line for line in lines[1:3])
    monkeypatch.setattr("metarim_lite.course.report.MEMORY", 1e6)
    assert report(root=house, only=["04"]) is False
    assert "over the limit" in capsys.readouterr().out


def test_the_report_stops_where_something_other_than_a_check_fails(house):
    (house / "notebooks" / "_source" / "09_bad.py").write_text("# %%\n1 / 0\n")
    with pytest.raises(UserError, match="09_bad.ipynb stops at cell 1: ZeroDivisionError"):
        report(root=house)


def test_run_all_goes_on_below_a_check_that_fails(house):
    source = house / "solutions" / "_source" / "04_recurrent_independent_mechanisms.py"
    source.write_text(EXERCISE)
    tags = {
        kind: [c.metadata.get("tags", []) for c in read(source, kind).cells if c.id == "blocks-check"]
        for kind in ("exercise", "solution")
    }
    assert tags == {"exercise": [["raises-exception"]], "solution": [[]]}


def test_a_figure_has_its_sentence_beside_it_and_in_it(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *a, **k: shown.append((a, k)))
    figure, axes = subplots(size=(3, 2))
    axes.plot([0, 1], [1, 2], color=COLORS[0], linestyle=STYLES[0])
    show(figure, "a line that rises.")
    (picture, options), (words, _) = shown
    assert options["metadata"]["image/png"]["alt"] == "a line that rises."
    assert picture[0]["image/png"].startswith(b"\x89PNG") and "a line that rises." in words[0].data
