"""What came of it, for people and for spreadsheets: grades.csv, index.html, a page for each student.

Whatever a student wrote is data here, too: it is escaped in pages, and a name cannot be a spreadsheet's formula.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from ..course.checks import EXERCISES
from ..files import make_folder, replace_file
from .submissions import slug

Record = dict[str, Any]
NOTHING = "no notebook of this lesson was handed in."
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
body { background: #fff } table { border-collapse: collapse; width: 100%; margin: 1rem 0 }
th, td { text-align: left; padding: .4rem .6rem; vertical-align: top }
tr { border-bottom: 1px solid #ddd } td.n { text-align: right; white-space: nowrap } small { color: #555 }
.bar { display: flex; height: 1rem; min-width: 8rem } .bar span { height: 100% }
.p { background: #0072b2 } .f { background: #e69f00 } .o { background: #ddd } ul { padding-left: 1.1rem }
@media (max-width: 40rem) { body { font-size: 14px } th, td { padding: .3rem .25rem } .bar { min-width: 3rem }
  code { overflow-wrap: anywhere; font-size: 12px } }
@media (prefers-color-scheme: dark) { body { background: #1b1f24; color: #e6e9ec } tr { border-color: #444c56 }
  small { color: #a8b1ba } .o { background: #57606a } a { color: #79c0ff } }
"""
ENCLOSED = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'


def write_reports(records: list[Record], out: Path) -> None:
    """All reports, from the records of all students, in their order."""
    columns = exercises_of(records)
    table = [(record, outcomes(record, columns)) for record in records]
    replace_file(out / "grades.csv", grades(table, columns))
    pages = make_folder(out / "students")
    wanted = {f"{slug(record['student'])}.html": student_page(record, found) for record, found in table}
    for name, page in wanted.items():
        if not (pages / name).exists() or (pages / name).read_text(encoding="utf-8") != page:
            replace_file(pages / name, page)
    for old in pages.glob("*.html"):
        if old.name not in wanted:  # of somebody who is not among the submissions any more
            old.unlink()
    replace_file(out / "index.html", summary_page(table, columns))


def exercises_of(records: Iterable[Record]) -> list[str]:
    """Exercises of all lessons that anybody handed in, in the order of the course."""
    names = {o["exercise"] for r in records for lesson in r["lessons"].values() for o in lesson["outcomes"]}
    return [name for name in EXERCISES if name in names]


def outcomes(record: Record, columns: list[str]) -> list[dict[str, Any]]:
    """One for each column."""
    found = {o["exercise"]: o for lesson in record["lessons"].values() for o in lesson["outcomes"]}
    nothing = {"points": 0, "says": NOTHING, "attempted": False, "notes": []}
    return [found.get(n) or {"exercise": n, "out_of": EXERCISES[n].points, **nothing} for n in columns]


Table = list[tuple[Record, list[dict[str, Any]]]]


def grades(table: Table, columns: list[str]) -> str:
    """A row for each student: `student`, each exercise, `total`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["student", *columns, "total"])
    for record, found in table:
        points = [o["points"] for o in found]
        name = record["student"]
        writer.writerow([f"'{name}" if name.startswith(("=", "+", "-", "@")) else name, *points, sum(points)])
    return text.getvalue()


def student_page(record: Record, found: list[dict[str, Any]]) -> str:
    rows = []
    for o in found:
        notes = "".join(f"<br><small>{escape(note)}</small>" for note in o["notes"])
        title = f"{EXERCISES[o['exercise']].number} <code>{escape(o['exercise'])}</code>"
        rows.append(f'<tr><td>{title}<td class="n">{o["points"]} / {o["out_of"]}<td>{escape(o["says"])}{notes}')
    total, out_of = sum(o["points"] for o in found), sum(o["out_of"] for o in found)
    rows.append(f'<tr><th>total<th class="n" style="text-align:right">{total} / {out_of}<th>')
    remarks = "".join(f"<li>{escape(remark)}" for remark in record["remarks"])
    files = ", ".join(escape(lesson["file"]) for lesson in record["lessons"].values()) or "nothing that could be graded"
    head = f"<title>{escape(record['student'])}</title><style>{STYLE}</style>"
    body = f"<h1>{escape(record['student'])}</h1><p>Graded: {files}.</p>" + (f"<ul>{remarks}</ul>" if remarks else "")
    return f"{ENCLOSED}{head}{body}<table><tr><th>exercise<th>points<th>what came of it{''.join(rows)}</table>\n"


def summary_page(table: Table, columns: list[str]) -> str:
    rows = []
    for i, name in enumerate(columns):
        all_of_it = [found[i] for _, found in table]
        passed = sum(o["points"] > 0 for o in all_of_it)
        failed = [o["says"] for o in all_of_it if not o["points"] and o["attempted"]]
        open_ = len(all_of_it) - passed - len(failed)
        parts = zip("pfo", (passed, len(failed), open_), strict=True)
        bar = "".join(f'<span class="{kind}" style="flex:{n}"></span>' for kind, n in parts)
        common = "".join(f"<li>{n} × {escape(says)}" for says, n in Counter(failed).most_common(3))
        rows.append(
            f'<tr><td>{EXERCISES[name].number} <code>{escape(name)}</code><td><div class="bar">{bar}</div>'
            f'<td class="n">{passed} · {len(failed)} · {open_}<td><ul style="margin:0">{common}</ul>'
        )
    students = []
    for record, found in table:
        link = f'<a href="students/{slug(record["student"])}.html">{escape(record["student"])}</a>'
        total, out_of = sum(o["points"] for o in found), sum(o["out_of"] for o in found)
        students.append(f'<tr><td>{link}<td class="n">{total} / {out_of}<td>{escape(" ".join(record["remarks"]))}')
    walls = sorted({", ".join(record["walls"]) for record in (r for r, _ in table)})
    return (
        f"{ENCLOSED}<title>Grades</title><style>{STYLE}</style><h1>Grades</h1>"
        f"<p>{len(table)} students. The walls around their code: {escape('; '.join(walls))}.</p>"
        "<table><tr><th>exercise<th>blue: passed, orange: failed, grey: open<th>passed · failed · open"
        f"<th>commonest mistakes{''.join(rows)}</table>"
        f"<table><tr><th>student<th>total<th>remarks{''.join(students)}</table>\n"
    )
