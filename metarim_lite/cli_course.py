"""The commands around the course and what comes with the package: check, exercises, build and ship."""

from __future__ import annotations

import sys
from pathlib import Path

import tyro

Words = tyro.conf.Positional


def check(notebooks: Words[tuple[Path, ...]]) -> None:
    """Check exercise notebooks: exercise, points, passed or the likely mistake.

    Args:
        notebooks: your copies, such as exercises/03_attention_bottlenecks.ipynb.
    """
    from .course.student import check_notebooks

    raise SystemExit(check_notebooks(notebooks))


def grade(
    submissions: Words[Path],
    out: Path = Path("report"),
    lesson: str | None = None,
    students: Path | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
) -> None:
    """Grade what students handed in: OUT/grades.csv, a page for each student, a summary in OUT/index.html.

    Every answer runs in a process of its own, which cannot reach files, network or other processes; points come from
    hidden inputs. A second run grades only what changed; one that was killed is gone on with. Exit status 0 when every
    submission was graded, whatever the grades.

    Args:
        submissions: a folder of notebooks, of folders or of zips, or the zip that your learning platform exports.
        out: where the reports are written.
        lesson: grade this lesson alone, such as 03; default: all that were handed in.
        students: a CSV with the columns file and student, where names of files do not say it.
        workers: submissions side by side; default: one for each core.
        scheduler: tcp://HOST:PORT of a Dask scheduler, for a large class.
    """
    from .grading.classroom import grade

    done = grade(submissions, out, lesson, students, workers, scheduler)
    print(f"{done.graded} graded, {done.unchanged} unchanged; see {out / 'index.html'} and {out / 'grades.csv'}")
    for student, why in done.failures.items():
        print(f"not graded: {student}: {why}", file=sys.stderr)
    if done.failures:
        raise SystemExit(1)


def exercises(json: bool = False) -> None:
    """List the exercises of the course.

    Args:
        json: one line of JSON for each: lesson, exercise, title, difficulty, importance, minutes, points, mistakes.
    """
    from .course.checks import EXERCISES
    from .course.declaring import table_of

    print(table_of(EXERCISES.values(), json))


def build(
    lessons: Words[tuple[str, ...]] = (),
    check: bool = False,
    force: bool = False,
    slides: bool = False,
    report: bool = False,
) -> None:
    """Execute the sources of notebooks, solutions and exercises that changed, and write them.

    Args:
        lessons: only these, by the beginning of their names, such as 03; none means all.
        check: write nothing; fail when what is committed differs from what a build gives.
        force: execute all of them, changed or not (after shipping another agent, say).
        slides: write lessons as slides instead, one HTML file each in runs/slides, which needs no network to be shown.
        report: write nothing; run every notebook, exercises unsolved, and print how long it takes and its peak memory.
    """
    if report:
        from .course.report import report as run_all

        raise SystemExit(0 if run_all(lessons or None) else 1)
    if slides:
        from .course.slides import slides as write_slides

        print("\n".join(f"wrote {path}" for path in write_slides(lessons or None)))
        return
    from .course.build import build

    if not build(check=check, force=force, only=lessons or None):
        raise SystemExit(1)


def doctor() -> None:
    """Examine this machine: versions, device, threads, memory, cache; what has to be mended, and how."""
    from .doctor import doctor

    raise SystemExit(not doctor())


def ship(folder: Words[Path], name: Words[str], episodes: int = 1000) -> None:
    """Put the agent of a finished run among those that come with the package.

    Args:
        folder: the run's folder.
        name: its name from then on.
        episodes: held-out levels to evaluate it on.
    """
    from .experiments.shipped import ship

    record = ship(folder, name, episodes)
    seen = record.held_out["seen"]
    known = f" ({seen:.1%} of the levels identical to training levels)" if seen else ""
    print(f"{name}: held-out success {record.held_out['value']:.3f}{known}, made by: {record.command}")
