"""Many students: in parallel, only what has changed, and nothing twice.

REPORT/records      what came of each student, as JSON, with a fingerprint of what it came from; written at once, so
                    that a run that is killed is gone on with
REPORT/log.txt      a line for each exercise that was graded: when, points, the seed of its inputs
REPORT/grades.csv, index.html, students/    see reports.py: made anew from the records
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, as_completed
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from ..course.build import repository
from ..course.checks import EXERCISES
from ..course.given import sources
from ..errors import UserError, unknown
from ..files import append_line, make_folder, read_text, write_json
from ..machine import available_cores
from .answers import Cell, Found, Notebook, Unreadable, find_answer, read_notebook
from .judging import Outcome, grade_answer
from .reports import write_reports
from .sandbox import PACKAGE, Limits, NoSandbox, Nursery, check_system
from .submissions import Submission, collect, slug

VERSION = 1
Record = dict[str, Any]


class Grading(NamedTuple):
    """What a run of `grade` did. `failures`: students about whom nothing is known, with a sentence each."""

    graded: int
    unchanged: int
    failures: dict[str, str]
    records: list[Record]


def grade(
    place: Path,
    out: Path,
    lesson: str | None = None,
    students: Path | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    root: Path | None = None,
    limits: Limits | None = None,
    progress: bool = True,
) -> Grading:
    """Grade all submissions at `place` that have changed since the last time, and write the reports into `out`.

    Args:
        place: see submissions.py.
        lesson: the beginning of a lesson's name, whose exercises alone are graded; None: of all that were handed in.
        students: a table that says whose file is whose.
        workers: processes on this machine; None: one for each core.
        scheduler: tcp://HOST:PORT of a Dask scheduler.
        root: the repository; None finds it, and does without where there is none.
        limits: for every answer; None: as each exercise says.

    Raises:
        UserError: nothing can be graded at all: no such folder, lesson or table; another run is at work in `out`.
    """
    check_system()
    place, out, root = place.resolve(), make_folder(out).resolve(), root or _repository()
    lessons = _lessons(lesson)
    submissions = collect(place, dict.fromkeys(e.lesson for e in EXERCISES.values()), students)
    records = make_folder(out / "records")
    try:
        with FileLock(out / ".lock").acquire(timeout=1):
            return _grade(submissions, records, lessons, place, root, limits, workers, scheduler, progress)
    except Timeout:
        raise UserError(f"another run is grading into {str(out)!r}; wait for it, or end it") from None


def _grade(
    submissions: list[Submission], folder: Path, lessons: list[str], place: Path, root: Path | None,
    limits: Limits | None, workers: int | None, scheduler: str | None, progress: bool,
) -> Grading:  # fmt: skip
    hidden = _hidden(place, folder.parent, root)
    published = {lesson: _published(lesson, root) for lesson in lessons}
    base = fingerprint(*_sources(), json.dumps([lessons, published, VERSION]).encode())
    kept: dict[str, Record] = {}
    jobs, failures = [], {}
    for submission in submissions:
        contents = [_content(file) for file in submission.files]
        key = fingerprint(base.encode(), *(part for content in contents for part in content[:2]))
        record = _read_record(folder / f"{slug(submission.student)}.json")
        if record.get("key") == key and record.get("student") == submission.student:
            kept[submission.student] = record
        else:
            handed = [(name.decode(), data if not problem else None, problem) for name, data, problem in contents]
            jobs.append((submission.student, key, handed, lessons, published, hidden, limits))
    use = min(workers or available_cores(), len(jobs))
    with tqdm(total=len(submissions), initial=len(kept), desc="grading", unit="student", disable=not progress) as bar:
        for student, record in _side_by_side(jobs, use, scheduler):
            if isinstance(record, str):
                failures[student] = record
            else:
                write_json(folder / f"{slug(student)}.json", record)
                _log(folder.parent / "log.txt", record)
                kept[student] = record
            bar.update(1)
    ordered = [kept[s.student] for s in submissions if s.student in kept]
    write_reports(ordered, folder.parent)
    return Grading(len(jobs) - len(failures), len(submissions) - len(jobs), failures, ordered)


def _repository() -> Path | None:
    try:
        return repository()
    except UserError:  # the package is installed without it: then there are no published notebooks to compare with
        return None


def _lessons(start: str | None) -> list[str]:
    known = list(dict.fromkeys(e.lesson for e in EXERCISES.values()))
    chosen = [name for name in known if start is None or name.startswith(start)]
    if not chosen:
        raise unknown("lesson", start, known)
    return chosen


def _published(lesson: str, root: Path | None) -> dict[str, Any]:
    """Of the notebook that students were given: its exercises in order, and its code cells beside them."""
    declared = [e.name for e in EXERCISES.values() if e.lesson == lesson]
    path = root / "exercises" / f"{lesson}.ipynb" if root is not None else None
    if path is None or not path.exists():
        return {"exercises": declared, "cells": []}
    cells = read_notebook(path.read_bytes()).cells
    asked = [c.exercise for c in cells if c.role == "answer" and c.exercise in EXERCISES]
    others = [[c.number, c.kind, c.source] for c in cells if c.kind == "code" and c.exercise is None]
    return {"exercises": asked or declared, "cells": others}


def _hidden(place: Path, out: Path, root: Path | None) -> tuple[Path, ...]:
    """What no answer may read: other submissions, reports, solutions."""
    if root is None:
        return place, out
    inside = root in Path(sys.prefix).resolve().parents  # a virtual environment in the repository stays readable
    return (place, out, *((root / "solutions", root / "metarim_lite", root / ".git") if inside else (root,)))


@cache
def _sources() -> tuple[bytes, ...]:
    """What a verdict depends on, beside the answer."""
    return tuple(path.read_bytes() for path in sorted(PACKAGE.rglob("*.py")))


def fingerprint(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _content(file: Any) -> tuple[bytes, bytes, str]:
    """(name, content or sentence, sentence)."""
    name = file.name.encode("utf-8", "replace")
    try:
        return name, file.read(), ""
    except ValueError as problem:
        return name, str(problem).encode(), str(problem)


def _read_record(path: Path) -> Record:
    try:
        record = json.loads(read_text(path))
    except (FileNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _log(path: Path, record: Record) -> None:
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    for lesson, result in record["lessons"].items():
        for o in result["outcomes"]:
            points, seed = f"{o['points']}/{o['out_of']}", f"seed {o['seed']}"
            append_line(path, "\t".join([now, record["student"], lesson, o["exercise"], points, seed, o["says"]]))
            if o["trace"]:
                append_line(path, o["trace"].replace("\n", "\n    "))


# --- one student, in whatever process -------------------------------------------------------------------------------


def grade_student(
    student: str, key: str, handed: list[tuple[str, bytes | None, str]], lessons: list[str],
    published: dict[str, dict[str, Any]], hidden: tuple[Path, ...], limits: Limits | None,
) -> Record:  # fmt: skip
    """What came of a student's notebooks.

    Raises:
        NoSandbox: nothing is known, through no fault of theirs.
    """
    remarks, notebooks = [], {}
    for name, data, problem in handed:
        try:
            if data is None:
                raise Unreadable(problem)
            notebook = read_notebook(data)
        except Unreadable as unreadable:
            remarks.append(f"{name}: {unreadable}")
            continue
        lesson = lesson_of(notebook, name)
        if lesson is None:
            remarks.append(f"{name}: this notebook belongs to no lesson.")
            continue
        if lesson in notebooks and lesson in lessons:
            remarks.append(
                f"there are two notebooks of lesson {lesson}; {name} counts, {notebooks[lesson][0]} does not."
            )
        notebooks[lesson] = (name, notebook)
    remarks += [] if handed else ["no notebook was handed in."]
    others = [lesson for lesson in notebooks if lesson not in lessons]
    remarks += [f"{notebooks[lesson][0]}: this is lesson {lesson}, which was not asked for." for lesson in others]
    results = {}
    for lesson in lessons:
        if lesson in notebooks:
            name, notebook = notebooks[lesson]
            cells = [Cell(*cell) for cell in published[lesson]["cells"]]
            outcomes = [_outcome(e, notebook, cells, hidden, limits)._asdict() for e in published[lesson]["exercises"]]
            results[lesson] = {"file": name, "outcomes": outcomes}
    return {"student": student, "key": key, "remarks": remarks, "lessons": results, "walls": _nursery().walls,
            "files": [name for name, *_ in handed]}  # fmt: skip


def _outcome(
    name: str, notebook: Notebook, published: list[Cell], hidden: tuple[Path, ...], limits: Limits | None
) -> Outcome:
    exercise = EXERCISES[name]
    try:
        found = find_answer(name, notebook, published, sources(exercise.builds_on))
    except RecursionError:
        found = Found(reason="your code is nested too deeply to be read.")
    try:
        return grade_answer(exercise, found, _nursery(), limits, hidden)
    except NoSandbox:  # once more, with everything new: whatever went wrong is to harm nobody twice
        _close_nursery()
        return grade_answer(exercise, found, _nursery(), limits, hidden)


@cache
def _nursery() -> Nursery:
    """One for each process that grades, for as long as it does."""
    return Nursery()


def _close_nursery() -> None:
    _nursery().close()
    _nursery.cache_clear()


def lesson_of(notebook: Notebook, name: str) -> str | None:
    """The lesson that a notebook belongs to: by its metadata, by its exercises, or by its name."""
    known = {e.lesson for e in EXERCISES.values()}
    if notebook.lesson in known:
        return notebook.lesson
    of_cells = Counter(EXERCISES[c.exercise].lesson for c in notebook.cells if c.exercise in EXERCISES)
    made = {m for c in notebook.cells if c.kind == "code" for m in re.findall(r"^def (\w+)", c.source, re.M)}
    for count in (of_cells, Counter(EXERCISES[m].lesson for m in made if m in EXERCISES)):
        if count:
            return count.most_common(1)[0][0]
    return next((lesson for lesson in sorted(known) if lesson in name), None)


# --- many of them ---------------------------------------------------------------------------------------------------


def _side_by_side(
    jobs: list[tuple[Any, ...]], workers: int, scheduler: str | None
) -> Iterator[tuple[str, Record | str]]:
    """(student, their record, or why there is none), as they come."""
    if scheduler is None and workers <= 1:
        for job in jobs:
            yield job[0], _told(lambda job=job: grade_student(*job))
        if jobs:
            _close_nursery()
        return
    with _pool(workers) if scheduler is None else _cluster(scheduler) as (submit, completed):
        futures = {submit(_in_worker, *job): job for job in jobs}
        alone = []
        for future in completed(futures):
            if scheduler is None and isinstance(future.exception(), BrokenExecutor):
                alone.append(futures[future])
            else:
                yield futures[future][0], _told(future.result)
    for job in alone:  # a worker died, and others with it: now each by itself, so that one alone is to blame
        with _pool(1) as (submit, _):
            yield job[0], _told(submit(_in_worker, *job).result)


def _told(work: Callable[[], Record]) -> Record | str:
    try:
        return work()
    except Exception as error:  # also of joblib's and Dask's own kinds: their worker died
        return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def _in_worker(*job: Any) -> Record:
    _end_with_parent()
    return grade_student(*job)


@cache
def _end_with_parent() -> None:
    """A worker whose parent was killed ends at once, and its nursery with it."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


Placing = tuple[Callable[..., Any], Callable[[Iterable[Any]], Iterator[Any]]]


@contextmanager
def _pool(workers: int) -> Iterator[Placing]:
    from joblib.externals.loky import ProcessPoolExecutor

    pool = ProcessPoolExecutor(workers, env={"OMP_NUM_THREADS": "1"})
    try:
        yield pool.submit, as_completed
    finally:
        pool.shutdown(wait=True, kill_workers=True)


@contextmanager
def _cluster(address: str) -> Iterator[Placing]:
    """As `metarim sweep` does it; notebooks travel with the task, so that no folder need be shared."""
    from ..experiments.many import check_scheduler

    check_scheduler(address)
    from distributed import Client
    from distributed import as_completed as completed

    with Client(address) as client:
        yield lambda *work: client.submit(*work, pure=False, retries=1), completed
