"""`metarim check`: a student's own notebook, run against the published outputs.

Right for an honest self-check, no protection against a dishonest one: the code runs as the student, here.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from ..errors import UserError, unknown
from ..files import user_path
from ..machine import available_cores
from .build import repository
from .checks import EXERCISES
from .errors import NoKernel, NoVerdict

CELL_SECONDS = 60
NOTEBOOK_SECONDS = 600
_COLOUR = re.compile(r"(?:\x1b|#x1B)\[[0-9;]*m")
_ERROR = re.compile(r"^(\w+(?:\.\w+)*(?:Error|Exception|Interrupt|Exit|Warning)): ?(.*)$")


class Result(NamedTuple):
    """What one exercise came to: `says` is "passed", "not attempted" or the reason."""

    exercise: str
    points: int
    out_of: int
    says: str

    @property
    def passed(self) -> bool:
        return self.says == "passed"


class Inspection(NamedTuple):
    """All exercises of a notebook, and remarks on other cells (no points hang on these)."""

    results: list[Result]
    remarks: list[str]


def check_notebooks(paths: Iterable[Path | str], root: Path | str | None = None) -> int:
    """`check_notebook` for several, each under its name; 0 when all exercises passed.

    Raises:
        UserError: as `check_notebook`, when all others have been checked.
    """
    paths, worst, refused = list(paths), 0, None
    if not paths:
        raise UserError("name at least one notebook, such as exercises/03_attention_bottlenecks.ipynb")
    with ThreadPoolExecutor(max(1, min(available_cores(), len(paths)))) as threads:  # each waits for a kernel
        found = [threads.submit(inspect_notebook, path, root) for path in paths]
        for path, inspection in zip(paths, found, strict=True):
            if len(paths) > 1:
                print(f"{path}:")
            try:
                print(table(inspection.result()))
                worst = max(worst, 0 if all(r.passed for r in inspection.result().results) else 1)
            except UserError as error:
                if len(paths) > 1:
                    print(f"  {error}")
                refused = refused or error
    if refused is not None:
        raise refused
    return worst


def check_notebook(path: Path | str, root: Path | str | None = None) -> int:
    """Check the exercises in the notebook `path`, print a table; 0 when all passed, 1 otherwise.

    Raises:
        UserError: `path` is no notebook, or belongs to no lesson.
        NoVerdict: as `inspect_notebook`.
    """
    found = inspect_notebook(path, root)
    print(table(found))
    return 0 if all(r.passed for r in found.results) else 1


def table(found: Inspection) -> str:
    """The inspection as text, 100 columns wide at most."""
    width = max(len("exercise"), *(len(r.exercise) for r in found.results))
    lines = [f"{'exercise':<{width}}  points  result"]
    for result in found.results:
        says = textwrap.wrap(result.says, 100 - width - 10)
        lines.append(f"{result.exercise:<{width}}  {f'{result.points} / {result.out_of}':>6}  {says[0]}")
        lines += [" " * (width + 10) + more for more in says[1:]]
    total, out_of = sum(r.points for r in found.results), sum(r.out_of for r in found.results)
    lines.append(f"{'total':<{width}}  {f'{total} / {out_of}':>6}")
    return "\n".join([*lines, *(f"note: {remark}" for remark in found.remarks)])


def inspect_notebook(path: Path | str, root: Path | str | None = None) -> Inspection:
    """Run the notebook `path` under nbval in a temporary folder.

    The check cells and all expected outputs come from the published solution; the outputs saved in the
    notebook count for nothing, nor do changes the student made to a check cell.

    Args:
        path: the student's notebook; it is not changed.
        root: the repository that holds solutions/; None finds it.

    Raises:
        UserError: `path` is no notebook, or belongs to no lesson.
        NoVerdict: no kernel could be started, or not every cell was run.
    """
    path = user_path(path)
    notebook = _read(path)
    published = _published(notebook, path, user_path(root) if root is not None else repository())
    prepared = prepare(notebook, published)
    try:
        failures = _run(prepared)
    except NoKernel:  # another one, that began at the same moment, may have taken its port
        failures = _run(prepared)
    cells = [c for c in prepared.cells if c.cell_type == "code"]
    results = [_result(name, cells, failures) for name in _exercises(published)]
    return Inspection(results, list(_remarks(cells, failures, results)))


def prepare(notebook: Any, published: Any) -> Any:
    """A copy of `notebook` whose check cells, tags and expected outputs are those of `published`."""
    import copy

    prepared = copy.deepcopy(notebook)
    by_id = {c.get("id"): c for c in published.cells if c.cell_type == "code"}
    by_role = {_role(c): c for c in by_id.values() if _role(c)}
    by_source = {c.source: c for c in by_id.values()}
    for cell in prepared.cells:
        if cell.cell_type != "code":
            continue
        ours = by_id.get(cell.get("id")) or by_role.get(_role(cell)) or by_source.get(cell.source)
        cell.outputs, cell.execution_count = [], None  # nbval compares no outputs of a cell that never ran
        cell.metadata["tags"] = []
        if ours is None:
            continue
        cell.metadata = copy.deepcopy(ours.metadata)
        role = (_role(ours) or ("", ""))[1]
        if role == "check":
            cell.source = ours.source
        # what an example or a "next" cell prints depends on whether the exercise is solved
        if cell.source == ours.source and role not in ("example", "next"):
            cell.outputs, cell.execution_count = copy.deepcopy(ours.outputs), ours.execution_count
    return prepared


def _role(cell: Any) -> tuple[str, str] | None:
    ours = cell.metadata.get("metarim", {})
    return (ours["exercise"], ours["role"]) if "exercise" in ours and "role" in ours else None


def _exercises(published: Any) -> list[str]:
    return [role[0] for role in map(_role, published.cells) if role and role[1] == "check"]


def _read(path: Path) -> Any:
    import nbformat

    if not path.exists():
        raise UserError(f"there is no notebook {str(path)!r}; name a file such as exercises/03_….ipynb.")
    try:
        return nbformat.read(path, as_version=4)
    except Exception as error:  # nbformat raises many kinds for a damaged file
        raise UserError(f"{path.name} is no notebook ({type(error).__name__}); save it again from Jupyter.") from None


def _published(notebook: Any, path: Path, root: Path) -> Any:
    import nbformat

    known = {p.stem: p for p in (root / "solutions").glob("*.ipynb")}
    lesson = notebook.metadata.get("metarim", {}).get("lesson", path.stem)
    if lesson not in known:
        raise unknown("lesson", lesson, known)
    published = nbformat.read(known[lesson], as_version=4)
    if not _exercises(published):
        raise UserError(f"lesson {lesson!r} has no exercises to check.")
    return published


def _run(notebook: Any) -> dict[int, str]:
    """Run nbval; the failure text of each code cell that failed, by its number among the code cells."""
    import nbformat

    with tempfile.TemporaryDirectory(prefix="metarim-check-") as folder:
        nbformat.write(notebook, Path(folder) / "notebook.ipynb")
        # an empty configuration of our own: nothing beside the student's notebook or above it is read
        (Path(folder) / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "notebook.ipynb", "--nbval", "--nbval-current-env"]
        command += [f"--nbval-cell-timeout={CELL_SECONDS}", "--noconftest", "-c", "pytest.ini", "--rootdir=."]
        command += ["-p", "no:cacheprovider", "-q", "--color=no", "--junitxml=report.xml"]
        settings = {"encoding": "utf-8", "errors": "replace", "env": _environment(Path(folder))}
        try:
            ran = subprocess.run(command, cwd=folder, capture_output=True, timeout=NOTEBOOK_SECONDS, **settings)
        except subprocess.TimeoutExpired:
            raise UserError(f"the notebook ran longer than {NOTEBOOK_SECONDS} s; look for an endless loop.") from None
        report = Path(folder) / "report.xml"
        if not report.exists():
            raise NoVerdict(f"nbval did not run; install the extra 'lab'. It said: {ran.stderr.strip()[-300:]}")
        count = sum(cell.cell_type == "code" for cell in notebook.cells)
        return _failures(ElementTree.parse(report), count)


def _environment(folder: Path) -> dict[str, str]:
    """Ours for pytest and the kernel that it starts, which needs folders to write to even where there is no home.

    Nothing that a user has set for another pytest, a terminal or their own kernels has a say.
    """
    env = {k: v for k, v in os.environ.items() if k not in ("PYTEST_ADDOPTS", "MPLBACKEND")}
    package = str(Path(__file__).resolve().parents[2])
    env["PYTHONPATH"] = os.pathsep.join(p for p in (package, os.environ.get("PYTHONPATH", "")) if p)
    env["PYTHONIOENCODING"] = "utf-8"
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        env[name] = str(folder / name.lower())
    if not Path(os.path.expanduser("~")).is_absolute():
        env["HOME"] = env["USERPROFILE"] = str(folder)
    return env


def _failures(report: Any, count: int) -> dict[int, str]:
    """
    Args:
        report: JUnit's XML.
        count: code cells of the notebook.

    Raises:
        NoVerdict: no kernel could be started (NoKernel), or a cell was not even tried.
    """
    failures, tried = {}, set()
    for case in report.iter("testcase"):
        number = re.search(r"Cell (\d+)", case.get("name", ""))
        bad = case.find("failure")
        if (error := case.find("error")) is not None:  # not in a cell, but before
            said = [line[2:].strip() for line in (error.text or "").splitlines() if line.startswith("E ")]
            raise NoKernel(
                f"no kernel could be started ({(said or ['no reason given'])[-1]}), so nothing is known about the "
                "exercises; see whether python -m ipykernel_launcher starts, then check again"
            )
        tried |= {int(number[1])} if number else set()
        if bad is None and case.find("skipped") is not None:  # an earlier cell ran out of time
            failures.setdefault(int(number[1]) if number else -1, "not run, since an earlier cell ran out of time")
        elif bad is not None and number:
            failures[int(number[1])] = _COLOUR.sub("", bad.text or bad.get("message", ""))
    if left := sorted(set(range(count)) - tried):
        raise NoVerdict(f"code cell {left[0] + 1} was not run, so nothing is known about the exercises; check again")
    return failures


def _result(name: str, cells: list[Any], failures: dict[int, str]) -> Result:
    out_of = EXERCISES[name].points
    at = {role[1]: number for number, cell in enumerate(cells) if (role := _role(cell)) and role[0] == name}
    if "check" not in at:
        says = "its check cell is missing; copy it back from the exercise notebook"
    elif at["check"] not in failures:
        return Result(name, out_of, out_of, "passed")
    elif at.get("answer") in failures:
        says = f"your cell fails: {_reason(failures[at['answer']])}"
    else:
        says = _reason(failures[at["check"]]).removeprefix(f"{name}: ")
    return Result(name, 0, out_of, says)


def _reason(failure: str) -> str:
    """The sentence of a failure: what a check said, else the last error line, else what nbval found."""
    for line in failure.splitlines():
        if line.startswith("NotAttempted: "):
            return "not attempted"
        if line.startswith("CheckFailed: "):
            return line.removeprefix("CheckFailed: ").strip()
    if "Kernel dead on test start" in failure:
        return "an earlier cell ended the kernel; does it call exit(), or need more memory than there is?"
    errors = [match for line in failure.splitlines() if (match := _ERROR.match(line.strip()))]
    if errors and errors[-1][1] == "StdinNotImplementedError":
        return "it calls input(), and nobody is there to answer; write the value into the cell"
    if errors:
        return errors[-1][0]
    if "Timeout" in failure or "ran out of time" in failure:
        return f"a cell ran longer than {CELL_SECONDS} s or ended its kernel; look for an endless loop"
    return "the check printed something else than published"


def _remarks(cells: list[Any], failures: dict[int, str], results: list[Result]) -> Any:
    """A line for each failing cell, but for those that fail because an exercise is not solved, or for want of a name
    that a cell above them was to set and failed."""
    passed, lost = {r.exercise for r in results if r.passed}, set()
    for number, failure in sorted(failures.items()):
        cell = cells[number] if 0 <= number < len(cells) else None
        if cell is None:
            continue
        first = next((line for line in cell.source.splitlines() if line.strip()), "")
        why = "its output differs from the published one" if "outputs differ" in failure else _reason(failure)
        wants = re.search(r"NameError: name '(\w+)' is not defined", why)
        if not ((role := _role(cell)) and role[0] not in passed) and not (wants and wants[1] in lost):
            yield f"code cell {number + 1} (`{first[:60]}`): {why}"
        lost |= _names_set(cell.source)


def _names_set(source: str) -> set[str]:
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:
        return set()
    assigned = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return assigned | {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
