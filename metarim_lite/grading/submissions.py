"""What was handed in, whatever platform it comes from: students, and their notebooks as bytes.

    a folder of notebooks        alice.ipynb, alice_03_attention_bottlenecks.ipynb; Canvas: lee_LATE_12_345_03.ipynb
    a folder of folders          alice/03_attention_bottlenecks.ipynb; Moodle: Ann Lee_123_assignsubmission_file_/
    a folder of zips             alice.zip
    a zip of any of these        as platforms export a class

Nothing is unpacked to the disk, no link is followed, and a size is not believed but counted. Everything that is no
notebook is ignored. A student is whoever the file or the first folder is named after, or whom a table (CSV with the
columns `file` and `student`) names for it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import stat
import unicodedata
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError
from ..files import read_text

MOST_BYTES = 200 << 20  # of one notebook; what a lesson's figures take is a hundredth of it
MOST_NAMES, DEEPEST = 2000, 6
MOODLE = re.compile(r"(.+)_(\d+)_assignsubmission_\w+?_?")
CANVAS = re.compile(r"([^_]+)(?:_LATE)?_(\d+)_\d+_.+")
COPY = re.compile(r"( ?\(\d+\)|-Copy\d+|-\d)$")


class File(NamedTuple):
    """A notebook, or a file that should have been one: then `problem` says what is wrong."""

    path: Path
    member: str | None = None  # its name in the zip at `path`
    problem: str = ""

    @property
    def name(self) -> str:
        return self.member or self.path.name

    def read(self) -> bytes:
        """Raises ValueError with a sentence for the report."""
        if self.problem:
            raise ValueError(self.problem)
        try:
            if self.member is None:
                with open(self.path, "rb") as file:
                    data = file.read(MOST_BYTES + 1)
            else:
                with zipfile.ZipFile(self.path) as archive, archive.open(self.member, "r") as file:
                    data = file.read(MOST_BYTES + 1)
        except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError) as error:
            raise ValueError(f"the file cannot be read ({type(error).__name__}); hand it in again.") from None
        if len(data) > MOST_BYTES:
            raise ValueError(f"the file is larger than {MOST_BYTES >> 20} MB; clear its outputs and hand it in again.")
        return data


class Submission(NamedTuple):
    """All that one student has handed in."""

    student: str
    files: tuple[File, ...]


Entry = tuple[
    tuple[str, ...], File | None
]  # parts of its path below the folder; None: a folder or zip without a notebook


def collect(place: Path, lessons: Iterable[str] = (), table: Path | None = None) -> list[Submission]:
    """All submissions, by student.

    Args:
        place: a folder or a zip.
        lessons: names that may stand behind a student's in the name of a file.
        table: CSV with columns `file` (a path below `place`, or the first part of one) and `student`.

    Raises:
        UserError: there is nothing at `place`, or the table has other columns.
    """
    if place.is_dir():
        entries = list(_in_folder(place, ()))
    elif zipfile.is_zipfile(place):
        entries = list(_in_zip(place, ()))
    else:
        raise UserError(f"{str(place)!r} is neither a folder nor a zip; name what your learning platform gave you")
    named = _read_table(table) if table is not None else {}
    names: dict[str, str] = {}
    numbers: dict[str, str] = {}
    files: dict[str, list[File]] = defaultdict(list)
    for parts, file in entries:
        told = next((named[n] for n in ("/".join(parts), parts[0], Path(parts[0]).stem, parts[-1]) if n in named), None)
        student, number = (told, "") if told is not None else _who(parts, tuple(lessons))
        key = f"{student}\n{number}"
        names[key], numbers[key] = student, number
        files[key] += [] if file is None else [file]
    twice = [name for name in names.values() if list(names.values()).count(name) > 1]
    shown = {key: f"{name} ({numbers[key]})" if name in twice and numbers[key] else name for key, name in names.items()}
    found = [Submission(_clean(shown[key]), tuple(sorted(files[key], key=_natural))) for key in files]
    if not found:
        raise UserError(f"there are no notebooks and no folders of students in {str(place)!r}")
    return sorted(found, key=lambda s: s.student)


def _in_folder(folder: Path, above: tuple[str, ...]) -> Iterator[Entry]:
    for path in sorted(folder.iterdir()):
        parts = (*above, path.name)
        if _ignored(path.name):
            continue
        if path.is_symlink():
            if not above or path.suffix == ".ipynb":
                yield parts, File(path, problem="a link was handed in; hand in the notebook itself.")
        elif path.is_dir():
            below = list(_in_folder(path, parts)) if len(parts) < DEEPEST else []
            yield from below or ([(parts, None)] if not above else [])
        elif path.suffix in (".ipynb", ".zip") and not stat.S_ISREG(path.stat().st_mode):
            yield parts, File(path, problem="what was handed in is no ordinary file.")
        elif path.suffix == ".ipynb":
            yield parts, File(path)
        elif path.suffix == ".zip":
            yield from _in_zip(path, parts)


def _in_zip(path: Path, above: tuple[str, ...]) -> Iterator[Entry]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist()[:MOST_NAMES] if not info.is_dir()]
    except (OSError, zipfile.BadZipFile, ValueError, RuntimeError) as error:
        yield above, File(path, problem=f"the zip cannot be read ({type(error).__name__}); hand it in again.")
        return
    paths = {name: tuple(part for part in re.split(r"[/\\]", name) if part not in ("", ".")) for name in names}
    paths = {name: p for name, p in paths.items() if p and ".." not in p and not any(map(_ignored, p))}
    notebooks = {name: parts for name, parts in paths.items() if parts[-1].endswith(".ipynb")}
    if len(above) == 1 and any(MOODLE.fullmatch(p[0]) or CANVAS.fullmatch(p[0]) for p in paths.values()):
        above = ()  # not one student's, but a class's
    for name, parts in notebooks.items():
        yield (*above, *parts), File(path, name)
    if above and not notebooks:
        yield above, None
    if not above:
        with_one = {parts[0] for parts in notebooks.values()}
        yield from (((p,), None) for p in {parts[0] for parts in paths.values() if len(parts) > 1} - with_one)


def _ignored(name: str) -> bool:
    return name.startswith((".", "~$")) or name == "__MACOSX" or name.endswith("-checkpoint.ipynb")


def _read_table(table: Path) -> dict[str, str]:
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(table))))
    except (FileNotFoundError, UnicodeDecodeError, csv.Error):
        rows = []
    if not rows or not {"file", "student"} <= set(rows[0]):
        raise UserError(f"{str(table)!r} is no table of students; it should be a CSV with the columns file and student")
    return {row["file"].strip().rstrip("/"): row["student"].strip() for row in rows if row["file"] and row["student"]}


def _who(parts: tuple[str, ...], lessons: tuple[str, ...]) -> tuple[str, str]:
    """(student, number that the platform gave them)."""
    first = parts[0]
    known = MOODLE.fullmatch(first) or CANVAS.fullmatch(first)
    if known:
        return known[1], known[2]
    name = re.sub(r"\.(ipynb|zip)$", "", first)
    if len(parts) == 1 or first.endswith(".zip"):
        name = COPY.sub("", name) if any(lesson in name for lesson in lessons) else name
        for lesson in lessons:
            name = re.sub(rf"(?<=.)[ _.-]+{re.escape(lesson)}$", "", name)
    return name, ""


def _clean(name: str) -> str:
    name = unicodedata.normalize("NFC", "".join(c if c.isprintable() else " " for c in name)).strip()
    return name[:100] or "(no name)"


def _natural(file: File) -> list[tuple[int, str]]:
    """So that 10 comes behind 9."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part)
        for part in re.split(r"(\d+)", str(file.member or file.path))
    ]


def slug(student: str) -> str:
    """A name for files: readable, and no two students have the same."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", unicodedata.normalize("NFKD", student).encode("ascii", "ignore").decode())
    return f"{plain.strip('-')[:40] or 'student'}-{hashlib.sha256(student.encode()).hexdigest()[:6]}"
