"""Instructor's guides: one for each lesson, whole, and speaking of the lesson as it is now."""

import re
from pathlib import Path

import pytest

from metarim_lite.course.checks import EXERCISES

ROOT = Path(__file__).resolve().parents[1]
GUIDES, SOURCES = ROOT / "notebooks" / "guides", ROOT / "notebooks" / "_source"
LESSONS = sorted(path.stem for path in SOURCES.glob("*.py"))
SECTIONS = [
    "Before the class",
    "Timing",
    "Predictions to ask for",
    "Wrong answers and what they reveal",
    "When a demo misbehaves",
    "The 10-minute path",
    "The 50-minute path",
]

MAY_HAVE = ["The two-minute demo"]


def guide(lesson: str) -> dict[str, str]:
    """The guide's sections by title; "" is what stands before the first."""
    text = (GUIDES / f"{lesson}.md").read_text(encoding="utf-8")
    first, *others = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return {"": first} | dict(zip(others[::2], others[1::2], strict=True))


def rows(section: str) -> list[list[str]]:
    """The cells of a section's table, below its head."""
    lines = [line.strip().strip("|") for line in section.splitlines() if line.lstrip().startswith("|")]
    return [[cell.strip() for cell in line.split("|")] for line in lines[2:]]


def headings(lesson: str) -> set[str]:
    text = (SOURCES / f"{lesson}.py").read_text(encoding="utf-8")
    return set(re.findall(r"^# ## (.+)$", text, flags=re.MULTILINE))


def test_no_guide_without_its_lesson():
    assert {path.stem for path in GUIDES.glob("*.md")} <= {*LESSONS, "grading"}


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_lesson_has_a_guide_with_all_its_sections(lesson):
    sections = guide(lesson)
    assert sections[""].startswith(f"# Teaching lesson {lesson[:2]} · ")
    assert f"[the lesson](../{lesson}.ipynb)" in sections[""]
    assert [title for title in sections if title and title not in MAY_HAVE] == SECTIONS
    assert [title for title in SECTIONS if len(sections[title].split()) < 8] == []


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_guide_names_parts_that_the_lesson_has_and_its_paths_fit_their_minutes(lesson):
    sections = guide(lesson)
    timed = {}
    for title in ("Timing", "The 10-minute path", "The 50-minute path"):
        assert {part for part, *_ in rows(sections[title])} <= headings(lesson), title
        timed[title] = sum(int(minutes) for _, minutes, *_ in rows(sections[title]))
    assert timed["Timing"] > 0 and 5 <= timed["The 10-minute path"] <= 10
    assert timed["The 50-minute path"] <= 50
    assert {part for part, *_ in rows(sections["Timing"])} == headings(lesson)


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_guide_quotes_what_the_check_says_and_leaves_no_exercise_out(lesson):
    """A wrong answer is (exercise, what is seen, what it reveals, what to ask). In quotation marks: the beginning of
    what the check says, word for word."""
    told = rows(guide(lesson)["Wrong answers and what they reveal"])
    for exercise, seen, *others in told:
        assert len(others) == 2 and all(others), (exercise, seen)
        if seen.startswith("“"):
            sentences = [mistake.says for mistake in EXERCISES[exercise.strip("`")].mistakes]
            assert any(s.startswith(seen.strip("“”…").rstrip()) for s in sentences), seen
    ours = {e.name for e in EXERCISES.values() if e.lesson == lesson}
    assert ours <= {exercise.strip("`") for exercise, *_ in told} | left_to_others(lesson)


def left_to_others(lesson: str) -> set[str]:
    """Exercises that no notebook poses yet."""
    posed = ROOT / "solutions" / "_source" / f"{lesson}.py"
    text = posed.read_text(encoding="utf-8") if posed.exists() else ""
    return {name for name in EXERCISES if f'"exercise": "{name}"' not in text}
