"""`metarim check` on a student's notebook: solved, unsolved, wrong, broken."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest

from metarim_lite.course import student
from metarim_lite.course.errors import NoKernel, NoVerdict
from metarim_lite.course.student import (
    Inspection,
    Result,
    _failures,
    _reason,
    _result,
    _run,
    check_notebook,
    check_notebooks,
    inspect_notebook,
    prepare,
    table,
)
from metarim_lite.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
LESSON, FIRST = "03_attention_bottlenecks", "input_attention"
OTHERS = [  # solved, where a submission has an answer
    "active_set        2 / 2  passed",
    "gradient_paths    3 / 3  passed",
    "communicate       3 / 3  passed",
]
SOLVED = """\
def input_attention(h, x, W_q, W_e, W_v):
    s = torch.einsum("bnh,nhk,bk->bn", h, W_q, x @ W_e) / W_q.shape[-1] ** 0.5
    weights = torch.stack([torch.zeros_like(s), s], dim=-1).softmax(-1)
    return weights, weights[..., 1:] * (x @ W_v)[:, None]
"""
SHARING = SOLVED.replace(".softmax(-1)", ".softmax(1)")


def submission(folder: Path, answer: str | None = None, **changes) -> Path:
    """The exercise notebook, saved under another name. With an `answer`, this is written into its first exercise, and
    our solutions into the others. Of that exercise cells change, too."""
    notebook = nbformat.read(ROOT / "exercises" / f"{LESSON}.ipynb", 4)
    solutions = nbformat.read(ROOT / "solutions" / f"{LESSON}.ipynb", 4)
    ours = {of["exercise"]: c.source for c in solutions.cells
            if (of := c.metadata.get("metarim", {})).get("role") == "answer"}  # fmt: skip
    for cell in notebook.cells:
        of = cell.metadata.get("metarim", {})
        if of.get("role") == "answer" and answer is not None:
            cell.source = answer if of["exercise"] == FIRST else ours[of["exercise"]]
        if of.get("exercise") == FIRST and of.get("role") in changes:
            cell.update(changes[of["role"]])
    path = folder / "my copy.ipynb"
    nbformat.write(notebook, path)
    return path


def result(path: Path) -> Result:
    first, *others = inspect_notebook(path, ROOT).results
    assert first.exercise == FIRST and all(other.says == "passed" for other in others)
    return first


def test_a_solved_notebook_gets_all_points_and_exit_code_zero(tmp_path, capsys):
    path = submission(tmp_path, SOLVED.replace("    return", "    print('debugging')\n    return"))
    before = path.read_bytes()
    assert check_notebook(path, ROOT) == 0
    assert capsys.readouterr().out.splitlines() == [
        "exercise         points  result",
        "input_attention   3 / 3  passed",
        *OTHERS,
        "total            11 / 11",
    ]
    assert path.read_bytes() == before


def test_the_unsolved_notebook_fails_exactly_at_its_check_and_is_not_attempted():
    published = nbformat.read(ROOT / "solutions" / f"{LESSON}.ipynb", 4)
    notebook = prepare(nbformat.read(ROOT / "exercises" / f"{LESSON}.ipynb", 4), published)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    failures = _run(notebook)
    exercises = [cell.metadata["metarim"]["exercise"] for cell in code if cell.id.endswith("-check")]
    assert exercises[0] == FIRST and len(exercises) == 4
    assert [code[number].id for number in failures] == [f"{name}-check" for name in exercises]  # all other cells ran
    assert _result("input_attention", code, failures) == Result("input_attention", 0, 3, "not attempted")


def test_a_wrong_answer_is_told_its_mistake_and_exit_code_one(tmp_path, capsys):
    # saved outputs and tags of the student's own count for nothing
    forged = nbformat.v4.new_output("stream", text="✓ input_attention: 3 of 3 points\n")
    check = {"outputs": [forged], "execution_count": 7}
    assert check_notebook(submission(tmp_path, SHARING, check=check), ROOT) == 1
    assert capsys.readouterr().out.splitlines() == [
        "exercise         points  result",
        "input_attention   0 / 3  your weights sum to 1 over the modules; they should sum to 1 over {null,",
        "                         input}, for each module by itself (look at the `dim` of your softmax).",
        *OTHERS,
        "total            8 / 11",
    ]


def test_an_answer_that_does_not_parse_is_told_so(tmp_path):
    found = inspect_notebook(submission(tmp_path, "def input_attention(h, x:\n    pass"), ROOT)
    assert found.results[0].points == 0 and found.results[0].says.startswith("your cell fails: SyntaxError")
    assert found.remarks == []  # the cell that uses the answer fails too, which is no news


HOSTILE = SOLVED.replace("    return", "    raise ValueError('✓ größe → “x”')\n    return")


def run_metarim(*words, folder=None, **env):
    environment = {k: v for k, v in (os.environ | env).items() if v is not None}
    environment["PYTHONPATH"] = os.pathsep.join([*([str(folder)] if folder else []), str(ROOT)])
    command = [sys.executable, "-m", "metarim_lite.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, env=environment, check=False, cwd=ROOT)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (SOLVED.replace(".softmax", ".long().softmax"), 'your function raises NotImplementedError: "softmax'),
        (SOLVED.replace("    return", "    input('how many?')\n    return"), "your function calls input()"),
        ("n = input('how many?')\n" + SOLVED, "your cell fails: it calls input(), and nobody is there"),
    ],
)
def test_only_the_exercise_s_own_raise_is_not_attempted(tmp_path, answer, says):
    found = result(submission(tmp_path, answer))
    assert says in found.says and found.points == 0


def test_what_an_answer_says_in_any_letters_reaches_a_terminal_with_few(tmp_path):
    done = run_metarim("check", submission(tmp_path, HOSTILE), PYTHONIOENCODING="ascii")
    assert done.returncode == 1 and b"Traceback" not in done.stderr
    assert b"your function raises ValueError: ? gr??e ? ?x?" in done.stdout
    right = run_metarim("check", submission(tmp_path, SOLVED), PYTHONIOENCODING="cp1252")
    assert right.returncode == 0 and b"3 / 3  passed" in right.stdout


def test_a_kernel_that_an_earlier_cell_ended_is_said_to_have_ended():
    assert _reason("...\nE   RuntimeError: Kernel dead on test start\n").startswith("an earlier cell ended the kernel")


def without_home(folder: Path) -> Path:
    """A folder for PYTHONPATH whose programs run as a user without an entry, and so without a home folder."""
    (folder / "sitecustomize.py").write_text(
        "import pwd\ndef unknown(_): raise KeyError('uid not found')\npwd.getpwuid = unknown\n"
    )
    return folder


def test_a_right_notebook_gets_its_points_without_a_home_folder(tmp_path):
    done = run_metarim("check", submission(tmp_path, SOLVED), folder=without_home(tmp_path), HOME=None)
    assert (done.returncode, b"3 / 3  passed" in done.stdout) == (0, True), done.stderr


def test_no_kernel_is_no_verdict(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nif 'ipykernel_launcher' in sys.orig_argv: sys.exit('no')\n")
    done = run_metarim("check", submission(tmp_path, SOLVED), folder=tmp_path)
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"no kernel could be started (RuntimeError: Kernel died" in done.stderr and b"Traceback" not in done.stderr


def test_cells_that_nobody_ran_are_no_verdict():
    report = ElementTree.fromstring('<testsuite><testcase name="Cell 0"/><testcase name="Cell 2"/></testsuite>')
    assert _failures(report, 1) == {}
    with pytest.raises(NoVerdict, match="code cell 2 was not run"):
        _failures(report, 3)


def test_an_endless_loop_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("metarim_lite.course.student.CELL_SECONDS", 5)  # enough for the others on a busy machine
    loop = "def input_attention(h, x, W_q, W_e, W_v):\n    while True:\n        pass"
    assert "look for an endless loop" in result(submission(tmp_path, loop)).says


def test_a_check_cell_that_was_changed_or_skipped_is_put_back(tmp_path):
    published = nbformat.read(ROOT / "solutions" / f"{LESSON}.ipynb", 4)
    path = submission(tmp_path, SHARING, check={"source": "print('fine')"})
    mine = nbformat.read(path, 4)
    for cell in mine.cells:
        cell.metadata["tags"] = ["nbval-skip", "raises-exception"]
    (cell,) = [c for c in prepare(mine, published).cells if c.id == "input_attention-check"]
    assert cell.source == 'check("input_attention", input_attention)'
    assert "tags" not in cell.metadata


def test_a_check_cell_that_was_deleted_is_missed(tmp_path):
    notebook = nbformat.read(submission(tmp_path, SOLVED), 4)
    code = [c for c in notebook.cells if c.cell_type == "code" and c.id != "input_attention-check"]
    assert _result("input_attention", code, {}).says.startswith("its check cell is missing")


def test_a_notebook_saved_without_cell_ids_is_still_understood(tmp_path):
    path = submission(tmp_path, SOLVED)
    notebook = nbformat.read(path, 4)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"new-{number}"
    published = nbformat.read(ROOT / "solutions" / f"{LESSON}.ipynb", 4)
    prepared = prepare(notebook, published)
    checks = [c for c in prepared.cells if c.metadata.get("metarim", {}).get("role") == "check"]
    assert len(checks) == 4 and all(check.outputs and check.execution_count for check in checks)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("gone.ipynb", None, "there is no notebook"),
        ("bad.ipynb", "not json", "is no notebook"),
        ("03_atention_bottlenecks.ipynb", '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
         "did you mean '03_attention_bottlenecks'"),
    ],
)  # fmt: skip
def test_what_is_no_exercise_notebook_gets_one_sentence(tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=says):
        inspect_notebook(tmp_path / name, ROOT)


def test_the_table_is_at_most_100_columns_wide():
    long = Result("an_exercise_with_a_name", 0, 12, "a reason that goes on and on, " * 10)
    text = table(Inspection([long, Result("b", 2, 2, "passed")], []))
    assert max(map(len, text.splitlines())) <= 100
    assert text.splitlines()[-1].split() == ["total", "2", "/", "14"]


def test_several_notebooks_are_checked_each_under_its_name(monkeypatch, capsys):
    found = {
        "a.ipynb": Inspection([Result("gae", 3, 3, "passed")], []),
        "b.ipynb": Inspection([Result("gae", 0, 3, "not attempted")], []),
        "c.ipynb": UserError("c.ipynb is no notebook"),
    }

    def inspect(path, root):
        if isinstance(found[path], UserError):
            raise found[path]
        return found[path]

    monkeypatch.setattr(student, "inspect_notebook", inspect)
    assert check_notebooks(["a.ipynb"]) == 0 and "a.ipynb" not in capsys.readouterr().out
    assert check_notebooks(["a.ipynb", "b.ipynb"]) == 1
    assert [line for line in capsys.readouterr().out.splitlines() if line.endswith(":")] == ["a.ipynb:", "b.ipynb:"]
    with pytest.raises(UserError, match="c.ipynb is no notebook"):
        check_notebooks(["c.ipynb", "b.ipynb"])
    assert "not attempted" in capsys.readouterr().out
    with pytest.raises(UserError, match="at least one"):
        check_notebooks([])


def test_names_that_a_failed_cell_was_to_set_are_known_whatever_sets_them():
    assert student._names_set("a = b\nfor c in d: pass\ndef f(x): return x\nclass G: pass") == {"a", "c", "f", "G"}
    assert student._names_set("def broken(:") == set()


def test_a_kernel_that_could_not_be_started_is_started_once_more(tmp_path, monkeypatch):
    tries = []

    def run(notebook):
        tries.append(notebook)
        if len(tries) < wanted:
            raise NoKernel("no kernel could be started (its port was taken)")
        return {}

    monkeypatch.setattr(student, "_run", run)
    wanted = 2
    assert {found.says for found in inspect_notebook(submission(tmp_path, SOLVED), ROOT).results} == {"passed"}
    wanted = len(tries) + 3
    with pytest.raises(NoKernel, match="no kernel could be started"):
        inspect_notebook(submission(tmp_path, SOLVED), ROOT)
