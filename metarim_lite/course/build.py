"""Notebooks from their sources: lessons and solutions with outputs, exercises without solutions.

No lesson gives away what it asks to predict. From the first cell that calls `predict("", among="abc")` on, the outputs
are taken out of the notebook and kept beside it, in notebooks/_outputs/ (withheld.py); `pytest --nbval notebooks` goes
on comparing them, since notebooks/conftest.py puts them back. A markdown cell tagged `reveals` is shown folded
(sources.py). This needs no extension, and works the same in JupyterLab, VS Code, Colab and on Binder.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UserError, unknown
from ..files import read_text, replace_file
from .sources import read
from .withheld import completed, from_first_prediction, kept_outputs, withhold

CELL_SECONDS = 600  # a cell that takes longer hangs, on a busy machine too; `--report` tells what a lesson really takes
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
_WIDGET = "application/vnd.jupyter.widget-view+json"


class Job(NamedTuple):
    """One notebook to build. `kind` is "lesson", "solution", "exercise" or "page"; the last two are not executed."""

    source: Path
    target: Path
    kind: str


def repository() -> Path:
    """The folder that holds notebooks/ and solutions/: above the package, or above the current folder.

    Raises:
        UserError: neither has the sources (the package was installed without its repository).
    """
    for folder in (Path(__file__).resolve().parents[2], Path.cwd(), *Path.cwd().parents):
        if (folder / "solutions" / "_source").is_dir():
            return folder
    raise UserError(f"no solutions/_source above {Path.cwd()}; run this inside a clone of the repository.")


def jobs(root: Path, only: Iterable[str] | None = None) -> list[Job]:
    """What a build makes, in order. `only` keeps the lessons whose name starts with one of its entries.

    Raises:
        UserError: an entry of `only` fits no lesson.
    """
    lessons = sorted((root / "notebooks" / "_source").glob("*.py"))
    solutions = sorted((root / "solutions" / "_source").glob("*.py"))
    found = [Job(s, root / "notebooks" / f"{s.stem}.ipynb", "lesson") for s in lessons]
    found += [Job(s, root / "solutions" / f"{s.stem}.ipynb", "solution") for s in solutions]
    found += [Job(s, root / "exercises" / f"{s.stem}.ipynb", "exercise") for s in solutions]
    pages = sorted((root / "notebooks" / "_source").glob("*.md"))
    found += [Job(s, root / "notebooks" / f"{s.stem}.ipynb", "page") for s in pages]
    if only is None:
        return found
    wanted = [only] if isinstance(only, str) else list(only)
    for entry in wanted:
        if not any(job.source.stem.startswith(entry) for job in found):
            raise unknown("lesson", entry, {job.source.stem for job in found})
    return [job for job in found if job.source.stem.startswith(tuple(wanted))]


def build(
    check: bool = False,
    only: Iterable[str] | None = None,
    force: bool = False,
    root: Path | str | None = None,
) -> bool:
    """Bring the committed notebooks up to date with their sources, executing only those whose code changed.

    Args:
        check: change nothing and execute nothing; compare source cells, tags and metadata.
        only: lessons by the beginning of their names, such as ["03"]; None means all.
        force: execute also what has not changed (after a change of the package).
        root: the repository; None finds it.

    Returns:
        True when the notebooks are up to date now. Prints a line per notebook written or, with `check`, per
        difference.

    Raises:
        UserError: a cell fails, its output holds a path of this machine or a memory address, or a source is
            malformed.
    """
    root = Path(root) if root is not None else repository()
    if check:
        found = compare(root, only)
        print("\n".join(found) if found else "notebooks are in sync with their sources")
        return not found
    for job in jobs(root, only):
        if not force and not differences(job):
            continue
        notebook = read(job.source, job.kind)
        if job.kind in ("lesson", "solution") and (force or not keep_outputs(notebook, job)):
            execute(notebook, job, root)
        if job.kind == "lesson":
            withhold(notebook, job.target)
        write(notebook, job.target)
        print(f"wrote {_relative(job.target)}")
    readme = _readme(root)
    if readme is not None:
        replace_file(root / "README.md", readme)
        print("wrote README.md")
    return True


def _readme(root: Path) -> str | None:
    """What README.md should say; None where it says that already, or is not there."""
    from .readme import written

    text = written(root)
    return None if text is None or text == read_text(root / "README.md") else text


def compare(root: Path, only: Iterable[str] | None = None) -> list[str]:
    """Every difference between the committed notebooks and their sources, one line each; nothing is executed."""
    found = [line for job in jobs(root, only) for line in differences(job)]
    if only is not None:
        return found
    stale = ["README.md: differs from what a build writes into it"] if _readme(root) is not None else []
    return found + stale + _orphans(root)


def differences(job: Job) -> list[str]:
    """How the committed notebook differs from what a build would give, outputs aside; one line each."""
    import nbformat

    name = _relative(job.target)
    if not job.target.exists():
        return [f"{name}: missing"]
    try:
        committed = nbformat.read(job.target, as_version=nbformat.NO_CONVERT)
    except Exception as error:  # nbformat raises many kinds for a damaged file
        return [f"{name}: not a notebook ({type(error).__name__})"]
    fresh = read(job.source, job.kind)
    found = []
    if dict(committed.metadata) != dict(fresh.metadata):
        found.append(f"{name}: the notebook's metadata differ")
    if len(committed.cells) != len(fresh.cells):
        return [*found, f"{name}: {len(committed.cells)} cells, its source gives {len(fresh.cells)}"]
    hidden = from_first_prediction(fresh.cells) if job.kind == "lesson" else []
    if {cell.id for cell in hidden} != set(kept_outputs(job.target) if job.kind == "lesson" else ()):
        found.append(f"{name}: _outputs/{job.target.stem}.json holds the outputs of other cells")
    withheld = {id(cell) for cell in hidden}
    for number, (old, new) in enumerate(zip(committed.cells, fresh.cells, strict=True)):
        for part in ("cell_type", "id", "source", "metadata"):
            if old.get(part) != new.get(part):
                found.append(f"{name}: cell {number}: {part} differs")
        if old.cell_type == "code":
            executed = old.get("execution_count") is not None or bool(old.get("outputs"))
            if id(new) in withheld:
                if executed:
                    found.append(f"{name}: cell {number}: shows an output, though a prediction stands above it")
            elif executed != (job.kind != "exercise"):
                found.append(f"{name}: cell {number}: {'has been' if executed else 'was never'} executed")
    return found


def execute(notebook: Any, job: Job, root: Path) -> None:
    """Run `notebook` in place, in a fresh kernel whose working folder is the notebook's own."""
    import nbclient

    job.target.parent.mkdir(parents=True, exist_ok=True)
    try:
        _run_all(notebook, job)
    except nbclient.exceptions.CellExecutionError as error:
        raise UserError(f"{_relative(job.source)} does not run: {error.ename}: {error.evalue}\n{error}") from None
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            cell.outputs = [o for o in map(_tidy, cell.outputs) if o is not None]
            _refuse_noise(cell, f"{_relative(job.source)}: cell {number}", root)
    # the kernel wrote its own version into the metadata
    notebook.metadata = read(job.source, job.kind).metadata


def _run_all(notebook: Any, job: Job) -> None:
    """Run every cell. Two kernels that begin at the same moment may choose the same port, and one of them dies before
    it says a word: then once more."""
    try:
        client_for(notebook, job).execute(env=kernel_environment())
    except RuntimeError as error:
        if "died before replying" not in str(error):
            raise
        client_for(notebook, job).execute(env=kernel_environment())


def client_for(notebook: Any, job: Job) -> Any:
    """An nbclient for `notebook`, in the folder where students run it."""
    import nbclient

    return nbclient.NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],  # the kernel's talk about its transport is not for the author
        resources={"metadata": {"path": str(job.target.parent)}},
    )


def kernel_environment() -> dict[str, str]:
    """Ours, but for a backend chosen for a terminal, which would keep figures out of the notebook."""
    return {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}


def keep_outputs(notebook: Any, job: Job) -> bool:
    """Give `notebook` the outputs of the committed one, if both run the same code; False if they do not.

    The cell that installs counts for nothing: where a notebook is built, it does nothing.
    """
    import nbformat

    try:
        committed = completed(job.target) if job.kind == "lesson" else nbformat.read(job.target, as_version=4)
    except Exception:  # nbformat raises many kinds for a damaged file
        return False
    old = [cell for cell in committed.cells if cell.cell_type == "code"]
    new = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if [*map(_what_runs, old)] != [*map(_what_runs, new)] or any(cell.execution_count is None for cell in old):
        return False
    for cell, executed in zip(new, old, strict=True):
        cell.outputs, cell.execution_count = executed.outputs, executed.execution_count
    return True


def _what_runs(cell: Any) -> tuple[str, list[str]]:
    tags = cell.metadata.get("tags", [])
    return ("" if "install" in tags else cell.source), tags


def _tidy(output: Any) -> Any | None:
    """`output` without a widget's view, which only a live kernel can draw; None when no picture is left."""
    data = output.get("data")
    if data is None:
        return output
    if data.pop(_WIDGET, None) is not None and set(data) <= {"text/plain"}:
        return None
    alt = output.metadata.get("image/png", {}).get("alt")
    output.metadata = {"image/png": {"alt": alt}} if alt else {}
    return output


def _refuse_noise(cell: Any, where: str, root: Path) -> None:
    """Raises UserError when a text output could not be the same on another machine."""
    private = {str(root.resolve()), os.path.expanduser("~"), tempfile.gettempdir() + os.sep} - {"/", "//", "~"}
    for output in cell.outputs:
        texts = [output.get("text", ""), *(v for v in output.get("data", {}).values() if isinstance(v, str))]
        for text in texts:
            if any(path in text for path in private):
                raise UserError(f"{where} prints a path of this machine; print a relative path instead.")
            if _ADDRESS.search(text):
                raise UserError(f"{where} prints a memory address; give the object a repr or print a value.")
        if output.get("name") == "stderr":
            raise UserError(f"{where} writes to stderr: {output['text'].strip()[:200]}")


def write(notebook: Any, target: Path) -> None:
    """Write `notebook` to `target` at once or not at all."""
    import nbformat

    nbformat.validate(notebook)
    target.parent.mkdir(parents=True, exist_ok=True)
    replace_file(target, nbformat.writes(notebook) + "\n")


def _orphans(root: Path) -> list[str]:
    """Committed notebooks that no source gives."""
    made = {job.target for job in jobs(root)}
    committed = [p for folder in ("notebooks", "solutions", "exercises") for p in (root / folder).glob("*.ipynb")]
    alone = [f"{_relative(path)}: has no source" for path in sorted(committed) if path not in made]
    kept = sorted((root / "notebooks" / "_outputs").glob("*.json"))
    lessons = {job.target.stem for job in jobs(root) if job.kind == "lesson"}
    return alone + [f"notebooks/_outputs/{path.name}: has no source" for path in kept if path.stem not in lessons]


def _relative(path: Path) -> str:
    """folder/file, as a person in the repository would write it."""
    folder = path.parent.parent.name + "/_source" if path.parent.name == "_source" else path.parent.name
    return f"{folder}/{path.name}"
