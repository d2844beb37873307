"""The class of broken.py and hostile.py, graded once: no point unearned, no reason missing, nothing left behind."""

import csv
import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from broken import BROKEN
from handed_in import LESSON, RIGHT, answer, check, notebook, saved
from hostile import HOSTILE

from metarim_lite.grading.classroom import grade
from metarim_lite.grading.sandbox import Limits
from metarim_lite.grading.submissions import slug

HONEST = ("honest first", "zz honest last")
ALL = BROKEN + HOSTILE
IDS = [trouble.name for trouble in ALL]


def left_of(temporary: Path) -> list[str]:
    """Processes, nurseries and all that come from them, whose home is in this folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (
                str(temporary) in os.readlink(entry / "cwd")
                or f"={temporary}/".encode() in (entry / "environ").read_bytes()
            ):
                found.append(entry.name)
    return found


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "temporary").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder / "temporary"))
        yield grade_the_class(folder)


def grade_the_class(folder: Path):
    place, outside = folder / "class", folder / "outside"
    place.mkdir(), outside.mkdir()
    (outside / "canary").write_text("alive", encoding="utf-8")
    for name in HONEST:
        (place / name).mkdir()
        saved(notebook(answer(RIGHT), check()))(place / name, outside)
    for trouble in ALL:
        (place / trouble.name).mkdir()
        trouble.write(place / trouble.name, outside)
    before = sorted(path for path in place.rglob("*"))
    limits = Limits(seconds=1, patience=4, memory=200 << 20)
    done = grade(place, folder / "report", lesson="03", workers=1, root=folder, limits=limits, progress=False)
    assert not done.failures and done.graded == len(ALL) + len(HONEST)
    with (folder / "report" / "grades.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    records = {record["student"]: record for record in done.records}
    return folder, rows, records, before


@pytest.mark.parametrize("trouble", ALL, ids=IDS)
def test_what_comes_of_it(graded, trouble):
    folder, rows, records, _ = graded
    row, record = rows[trouble.name], records[trouble.name]
    found = {o["exercise"]: o for lesson in record["lessons"].values() for o in lesson["outcomes"]}
    said = found.get("input_attention", {}).get("says", "") + " ".join(record["remarks"])
    assert re.search(trouble.says, said), said
    assert (int(row["input_attention"]), int(row["active_set"])) == (trouble.points, trouble.second), said
    assert int(row["total"]) == trouble.points + trouble.second
    assert trouble.note in " ".join(found.get("input_attention", {}).get("notes", []))
    assert not any(o["trace"] for o in found.values())
    page = (folder / "report" / "students" / f"{slug(trouble.name)}.html").read_text(encoding="utf-8")
    assert "<script" not in page


def test_nobody_gains_nothing_is_left_and_the_honest_get_theirs(graded, capsys):
    folder, rows, _, before = graded
    gained = [
        t.name for t in ALL if int(rows[t.name]["input_attention"]) > t.points or int(rows[t.name]["active_set"]) > 2
    ]
    left = left_of(folder / "temporary")
    with capsys.disabled():
        print(f"\n{len(ALL)} submissions, {len(gained)} gained points, {len(left)} processes left")
    assert gained == left == []
    for name in HONEST:
        assert (rows[name]["input_attention"], rows[name]["active_set"], rows[name]["total"]) == ("3", "2", "5")
    assert list((folder / "temporary").iterdir()) == []
    outside = folder / "outside"
    assert [p.name for p in outside.iterdir()] == ["canary"] and (outside / "canary").read_text() == "alive"
    assert sorted(path for path in (folder / "class").rglob("*")) == before
    assert not [p for p in (Path("/tmp/metarim-hostile"), Path("/dev/shm/metarim-hostile")) if p.exists()]


def test_every_group_of_trouble_is_there():
    groups = {trouble.group for trouble in ALL}
    assert groups == {"structure", "accident", "resources", "cheating"} and len(set(IDS)) == len(ALL) >= 80
    assert LESSON.startswith("03")
