"""Whole classes: graded once and again, killed on the way, on a cluster, and with an exercise of one's own."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from handed_in import RIGHT, SECOND, STUB, WRONG, answer, cell, check, notebook, saved
from test_grading_hostile import left_of

from metarim_lite.course.checks import EXERCISES
from metarim_lite.errors import UserError
from metarim_lite.grading import classroom
from metarim_lite.grading.classroom import grade
from metarim_lite.grading.sandbox import Limits
from metarim_lite.grading.submissions import slug

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def one_nursery(nursery, monkeypatch):
    """Classes are graded with the nursery of these tests: another would take seconds to start."""
    monkeypatch.setattr(classroom, "_nursery", lambda: nursery)
    monkeypatch.setattr(classroom, "_close_nursery", lambda: None)


def test_where_a_worker_dies_the_others_are_graded_all_the_same(tmp_path, monkeypatch):
    from metarim_lite.grading import classroom

    place = class_of(tmp_path / "class", **{f"s{i}": RIGHT for i in range(4)})
    monkeypatch.setattr(classroom, "_in_worker", die_or_grade)
    done = grade(place, tmp_path / "out", lesson="03", root=tmp_path, workers=2, progress=False)
    assert list(done.failures) == ["s2"] and done.graded == 3 and len(rows(tmp_path / "out")) == 3


def die_or_grade(student, key, *rest):
    if student == "s2":
        os._exit(9)
    time.sleep(0.1)
    lessons = {"03_attention_bottlenecks": {"file": "x", "outcomes": []}}
    return {"student": student, "key": key, "remarks": [], "lessons": lessons, "walls": [], "files": []}


def class_of(folder: Path, **answers: str) -> Path:
    for student, text in answers.items():
        (folder / student).mkdir(parents=True, exist_ok=True)
        saved(notebook(answer(text), check()))(folder / student, folder)
    return folder


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "grades.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_second_run_grades_nothing_and_a_changed_notebook_is_graded_alone(tmp_path, one_nursery):
    place, out = class_of(tmp_path / "class", ann=RIGHT, bo=WRONG, **{"=1+1": STUB}), tmp_path / "out"

    def again(**more):
        done = grade(place, out, workers=1, root=tmp_path, progress=False, **more)
        return done.graded, done.unchanged

    assert again() == (3, 0)
    first, log = (out / "grades.csv").read_bytes(), (out / "log.txt").read_text(encoding="utf-8")
    assert again() == (0, 3)
    assert (out / "grades.csv").read_bytes() == first and (out / "log.txt").read_text(encoding="utf-8") == log
    class_of(place, bo=RIGHT)
    assert again() == (1, 2)
    lines = (out / "grades.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "student,input_attention,active_set,gradient_paths,communicate,total"
    assert lines[1:] == ["'=1+1,0,2,0,0,2", "ann,3,2,0,0,5", "bo,3,2,0,0,5"]
    (out / "records" / f"{slug('ann')}.json").write_text("{half", encoding="utf-8")
    assert again() == (1, 2)
    assert (out / "log.txt").read_text(encoding="utf-8").count("\tann\t") == 8
    for path in (place / "bo").iterdir():
        path.unlink()
    (place / "bo").rmdir()
    assert again() == (0, 2) and [row["student"] for row in rows(out)] == ["'=1+1", "ann"]
    assert sorted(p.name for p in (out / "students").iterdir()) == sorted(f"{slug(s)}.html" for s in ("ann", "=1+1"))
    index = (out / "index.html").read_text(encoding="utf-8")
    assert "2 students" in index and "input_attention" in index and (out / "students").is_dir()


def metarim(*words, **more):
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | more.pop("env", {})
    return subprocess.Popen([sys.executable, "-m", "metarim_lite.cli", *map(str, words)], env=env,
                            stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **more)  # fmt: skip


def test_killed_in_the_middle_and_started_again_it_is_complete_and_nothing_twice(tmp_path):
    slow = RIGHT.replace("    s =", "    __import__('time').sleep(0.3)\n    s =")
    place, out = class_of(tmp_path / "class", **{f"s{i}": slow for i in range(6)}), tmp_path / "out"
    (tmp_path / "temporary").mkdir()
    home = {"TMPDIR": str(tmp_path / "temporary")}
    first = metarim("grade", place, "--out", out, "--workers", 2, "--lesson", "03", env=home)
    until = time.monotonic() + 120
    while len(list((out / "records").glob("*.json")) if out.exists() else []) < 2 and time.monotonic() < until:
        assert first.poll() is None, first.communicate()
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    done = len(list((out / "records").glob("*.json")))
    assert 2 <= done < 6
    second = metarim("grade", place, "--out", out, "--workers", 2, "--lesson", "03", env=home)
    said, progress = second.communicate()
    assert second.returncode == 0 and f"{6 - done} graded, {done} unchanged" in said, said + progress
    assert "100%" in progress and [row["input_attention"] for row in rows(out)] == ["3"] * 6
    graded = [line.split("\t")[1:4] for line in (out / "log.txt").read_text(encoding="utf-8").splitlines()]
    # Of the one who was being written down at the kill the lines may be missing; nobody's are there twice.
    assert len(graded) == len(set(map(tuple, graded))) >= 5
    until = time.monotonic() + 10
    while (left := left_of(tmp_path / "temporary")) and time.monotonic() < until:
        time.sleep(0.2)
    assert not left


def test_a_class_on_a_dask_cluster(tmp_path, one_nursery):
    distributed = pytest.importorskip("distributed")
    place = class_of(tmp_path / "class", ann=RIGHT, bo=WRONG)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
    ) as cluster:
        done = grade(place, tmp_path / "out", root=tmp_path, scheduler=cluster.scheduler_address, progress=False)
    assert (done.graded, done.failures) == (2, {})
    assert [row["total"] for row in rows(tmp_path / "out")] == ["5", "2"]


def test_where_processes_cannot_be_walled_in_one_sentence_says_so(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "fork")
    with pytest.raises(UserError, match="metarim grade needs Linux or macOS"):
        grade(class_of(tmp_path / "class", ann=RIGHT), tmp_path / "out", progress=False)


def test_an_unknown_lesson_and_a_run_beside_it_are_refused(tmp_path):
    from filelock import FileLock

    place, out = class_of(tmp_path / "class", ann=RIGHT), tmp_path / "out"
    with pytest.raises(UserError, match="unknown lesson"):
        grade(place, out, lesson="33", progress=False)
    out.mkdir(exist_ok=True)
    with FileLock(out / ".lock"), pytest.raises(UserError, match="another run is grading"):
        grade(place, out, progress=False)


def published_solutions() -> list[Path]:
    return sorted((ROOT / "solutions").glob("*.ipynb"))


@pytest.mark.parametrize("path", published_solutions(), ids=lambda p: p.stem)
def test_our_own_solutions_get_all_points(path, tmp_path, one_nursery):
    (tmp_path / "class" / "us").mkdir(parents=True)
    (tmp_path / "class" / "us" / path.name).write_bytes(path.read_bytes())
    done = grade(tmp_path / "class", tmp_path / "out", workers=1, root=ROOT, progress=False)
    (result,) = done.records[0]["lessons"].values()
    assert [(o["exercise"], o["points"], o["says"]) for o in result["outcomes"]] == [
        (o["exercise"], o["out_of"], "passed") for o in result["outcomes"]
    ]


def test_two_notebooks_of_one_lesson(tmp_path, one_nursery):
    place = tmp_path / "class"
    (place / "ann").mkdir(parents=True)
    saved(notebook(answer(WRONG)), "draft 10.ipynb")(place / "ann", place)
    saved(notebook(answer(RIGHT)), "draft 9.ipynb")(place / "ann", place)
    saved(notebook(cell(SECOND)), "unnamed.ipynb")(place / "ann", place)
    (place / "ann" / "unnamed.ipynb").unlink()
    done = grade(place, tmp_path / "out", workers=1, root=tmp_path, progress=False)
    assert "draft 10.ipynb counts, draft 9.ipynb does not" in done.records[0]["remarks"][0]
    assert rows(tmp_path / "out")[0]["input_attention"] == "0"


GUIDE = (ROOT / "notebooks" / "guides" / "grading.md").read_text(encoding="utf-8")


def test_an_exercise_of_ones_own_is_built_checked_and_graded_like_ours(tmp_path):
    """As the guide has it, in a copy of the repository."""
    declared, source = re.findall(r"```python\n(.*?)```", GUIDE, re.S)
    assert len([line for text in (declared,) for line in text.splitlines() if line.strip()]) <= 20
    shutil.copytree(
        ROOT / "metarim_lite", tmp_path / "metarim_lite", ignore=shutil.ignore_patterns("__pycache__", "data")
    )
    (tmp_path / "metarim_lite" / "data").symlink_to(ROOT / "metarim_lite" / "data")
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    (tmp_path / "metarim_lite" / "course" / "exercises" / "lesson9.py").write_text(declared, encoding="utf-8")
    for folder in ("solutions", "notebooks"):
        (tmp_path / folder / "_source").mkdir(parents=True)
    (tmp_path / "solutions" / "_source" / "09_my_lesson.py").write_text(source, encoding="utf-8")
    place = tmp_path / "class"
    place.mkdir()
    steps = r"""
import re, shutil
from metarim_lite.course.build import build
from metarim_lite.course.student import inspect_notebook
from metarim_lite.grading.classroom import grade
from metarim_lite.course.checks import EXERCISES
from pathlib import Path
assert list(EXERCISES)[-1] == "centre"
build(only=["09"])
solved, stub = Path("solutions/09_my_lesson.ipynb"), Path("exercises/09_my_lesson.ipynb")
print(*inspect_notebook(solved).results)
shutil.copy(solved, "class/ann.ipynb")
shutil.copy(stub, "class/bo.ipynb")
text = re.sub(r"raise NotImplementedError\(.*?\)", "return x - x.mean(0)", stub.read_text())
Path("class/cy.ipynb").write_text(text)
done = grade(Path("class"), Path("report"), workers=1, progress=False)
for record in done.records:
    print(record["student"], *(o["says"] for r in record["lessons"].values() for o in r["outcomes"]), sep=": ")
"""
    env = os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", steps], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-4:] == [
        "Result(exercise='centre', points=1, out_of=1, says='passed')",
        "ann: passed",
        "bo: not attempted",
        "cy: you take the mean over the batch; take it over the D numbers of each row.",
    ]
    lines = (tmp_path / "report" / "grades.csv").read_text(encoding="utf-8").splitlines()
    assert lines == ["student,centre,total", "ann,1,1", "bo,0,0", "cy,0,0"]


def test_the_guide_says_what_is_true():
    for wall in ("Landlock", "seccomp", "fence"):
        assert wall in GUIDE
    assert "20 seconds an exercise, 120 for `explore`" in GUIDE
    slow = {e.name: e.seconds for e in EXERCISES.values() if e.seconds != 20}
    assert slow == {"explore": 120} and Limits().seconds == 20 and Limits().memory == 1 << 30
