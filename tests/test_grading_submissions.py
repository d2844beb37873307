"""Whose submission is whose: folders, zips, exports of platforms, and tables."""

import os
import zipfile
from pathlib import Path

import pytest
from handed_in import LESSON

from metarim_lite.course.checks import EXERCISES
from metarim_lite.errors import UserError
from metarim_lite.grading.submissions import collect, slug

LESSONS = tuple(dict.fromkeys(e.lesson for e in EXERCISES.values()))


def students(place, table=None):
    return {s.student: [f.name for f in s.files] for s in collect(place, LESSONS, table)}


def put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}", encoding="utf-8")
    return folder


def test_a_folder_of_notebooks(tmp_path):
    put(tmp_path, "Zoë.ipynb", f"alice_{LESSON}.ipynb", f"alice_{LESSON} (1).ipynb", f"bob-{LESSONS[3]}.ipynb",
        "notes.md",
        ".ipynb_checkpoints/Zoë-checkpoint.ipynb", "conftest.py", "__MACOSX/x.ipynb")  # fmt: skip
    assert students(tmp_path) == {
        "Zoë": ["Zoë.ipynb"], "alice": [f"alice_{LESSON} (1).ipynb", f"alice_{LESSON}.ipynb"],
        "bob": [f"bob-{LESSONS[3]}.ipynb"],
    }  # fmt: skip


def test_folders_zips_and_exports_of_platforms(tmp_path):
    put(tmp_path / "folders", "alice/a/b/x.ipynb", "bob/3.ipynb", "bob/4.ipynb", "carol/essay.pdf")
    assert students(tmp_path / "folders") == {"alice": ["x.ipynb"], "bob": ["3.ipynb", "4.ipynb"], "carol": []}
    moodle = tmp_path / "moodle"
    put(moodle, "Ann Lee_12_assignsubmission_file_/x.ipynb", "Ann Lee_13_assignsubmission_file_/x.ipynb",
        "Bo_14_assignsubmission_file/y.ipynb")  # fmt: skip
    assert list(students(moodle)) == ["Ann Lee (12)", "Ann Lee (13)", "Bo"]
    canvas = tmp_path / "canvas"
    put(canvas, "leeann_LATE_12_99_x.ipynb", "leeann_12_98_y.ipynb", "bo_14_97_x-1.ipynb")
    assert {name: len(files) for name, files in students(canvas).items()} == {"leeann": 2, "bo": 1}
    for source in (moodle, canvas):
        with zipfile.ZipFile(tmp_path / "class.zip", "w") as archive:
            for path in source.rglob("*.ipynb"):
                archive.write(path, path.relative_to(source).as_posix())
        assert list(students(tmp_path / "class.zip")) == list(students(source))
        (tmp_path / "holder").mkdir(exist_ok=True)
        (tmp_path / "holder" / "export.zip").write_bytes((tmp_path / "class.zip").read_bytes())
        assert list(students(tmp_path / "holder")) == list(students(source))
    zips = tmp_path / "zips"
    zips.mkdir()
    with zipfile.ZipFile(zips / "dora.zip", "w") as archive:
        archive.writestr("my work/x.ipynb", "{}")
    with zipfile.ZipFile(zips / "emil.zip", "w") as archive:
        archive.writestr("essay.txt", "hello")
    assert students(zips) == {"dora": ["my work/x.ipynb"], "emil": []}


def test_a_table_says_whose_file_it_is(tmp_path):
    put(tmp_path / "class", "a.ipynb", "deep/b.ipynb", "c.ipynb")
    table = tmp_path / "who.csv"
    table.write_text("\ufefffile,student,group\na,Ann Lee,1\ndeep/b.ipynb,Ann Lee,1\n", encoding="utf-8")
    assert students(tmp_path / "class", table) == {"Ann Lee": ["a.ipynb", "b.ipynb"], "c": ["c.ipynb"]}
    table.write_text("name\nx\n", encoding="utf-8")
    for wrong in (table, tmp_path / "none.csv"):
        with pytest.raises(UserError, match="columns file and student"):
            students(tmp_path / "class", wrong)
    with pytest.raises(UserError, match="neither a folder nor a zip"):
        students(table)
    with pytest.raises(UserError, match="no notebooks"):
        students(put(tmp_path / "empty", "a.txt"))


def test_what_is_no_ordinary_file_is_never_opened(tmp_path):
    put(tmp_path, "honest.ipynb")
    for name in ("pipe.ipynb", "pipe.zip"):
        os.mkfifo(tmp_path / name)
    found = {s.student: s.files[0].problem for s in collect(tmp_path, LESSONS)}
    assert found == {"honest": "", "pipe": "what was handed in is no ordinary file."}


def test_names_of_files_differ_as_students_do():
    assert slug("Ann Lee") != slug("Ann-Lee") and slug("../../x").startswith("x-") and slug("李").startswith("student-")
