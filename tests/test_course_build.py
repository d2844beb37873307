"""Notebooks come from their sources: in sync, deterministic, and without solutions where none belong."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import nbformat
import pytest

from metarim_lite.course import build as building
from metarim_lite.course.build import build, compare, jobs
from metarim_lite.course.checks import EXERCISES
from metarim_lite.course.launch import home, install_cell, launch_links
from metarim_lite.course.readme import written
from metarim_lite.course.sources import read, without_markers, without_solution
from metarim_lite.errors import UserError

ROOT = Path(__file__).resolve().parents[1]

PARTS = ("launch", "lessons", "results", "cite")

LESSON = """\
# %% [markdown] slideshow={"slide_type": "slide"}
# # A lesson

# %%
print(1 + 1)
"""

SOLUTION = """\
# %% metarim={"exercise": "double", "role": "answer"}
def double(x):
    # SOLUTION-BEGIN
    return 2 * x
    # SOLUTION-END

# %% tags=["solution-only"]
print("only for teachers")

# %% metarim={"exercise": "double", "role": "check"}
print("checked")
"""


@pytest.fixture
def house(tmp_path):
    """A repository with one lesson and its solution."""
    for folder, source in (("notebooks", LESSON), ("solutions", SOLUTION)):
        (tmp_path / folder / "_source").mkdir(parents=True)
        (tmp_path / folder / "_source" / "09_tiny.py").write_text(source)
    return tmp_path


def everything(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*.ipynb"))}


def test_what_is_committed_is_what_a_build_gives():
    assert compare(ROOT) == []


def test_a_build_makes_lesson_solution_and_exercise_the_same_every_time(house, capsys):
    assert build(check=True, root=house) is False
    assert "notebooks/09_tiny.ipynb: missing" in capsys.readouterr().out

    assert build(root=house)
    assert capsys.readouterr().out.splitlines() == [
        "wrote notebooks/09_tiny.ipynb",
        "wrote solutions/09_tiny.ipynb",
        "wrote exercises/09_tiny.ipynb",
    ]
    first = everything(house)
    assert build(root=house, force=True)
    assert everything(house) == first
    capsys.readouterr()

    assert build(check=True, root=house) is True
    assert build(root=house)  # nothing changed: nothing is executed or written
    assert "wrote" not in capsys.readouterr().out

    lesson = nbformat.read(house / "notebooks" / "09_tiny.ipynb", 4)
    assert [o.text for o in lesson.cells[-1].outputs] == ["2\n"]
    assert lesson.cells[0].metadata == {"slideshow": {"slide_type": "slide"}}
    assert lesson.cells[1].metadata["tags"] == ["install"] and lesson.cells[1].outputs == []  # below the title
    exercise = nbformat.read(house / "exercises" / "09_tiny.ipynb", 4)
    assert "return 2 * x" not in str(exercise) and "only for teachers" not in str(exercise)
    assert [c.source for c in exercise.cells if c.id == "double-answer"] == [
        'def double(x):\n    raise NotImplementedError("your code goes here")'
    ]
    solution = nbformat.read(house / "solutions" / "09_tiny.ipynb", 4)
    assert "SOLUTION" not in str(solution) and "return 2 * x" in str(solution)
    assert solution.cells[-1].id == exercise.cells[-1].id == "double-check"


@pytest.mark.parametrize("change", ["source", "tag", "id", "metadata", "cell", "unexecuted"])
def test_every_change_to_a_committed_notebook_is_found(house, change):
    built = read(house / "notebooks" / "_source" / "09_tiny.py", "lesson")
    for cell in built.cells:
        if cell.cell_type == "code":
            cell.execution_count = 1
    target = house / "notebooks" / "09_tiny.ipynb"
    nbformat.write(built, target)
    job = jobs(house)[0]
    assert [line for line in compare(house) if "notebooks/" in line] == []
    if change == "source":
        built.cells[-1].source += "\n"
    elif change == "tag":
        built.cells[-1].metadata["tags"] = ["nbval-skip"]
    elif change == "id":
        built.cells[-1].id = "other"
    elif change == "metadata":
        built.metadata["kernelspec"]["name"] = "other"
    elif change == "cell":
        del built.cells[-1]
    else:
        built.cells[-1].execution_count = None
    nbformat.write(built, job.target)
    assert len([line for line in compare(house) if "notebooks/" in line]) == 1


def test_a_notebook_without_source_and_a_damaged_one_are_found(house):
    (house / "exercises").mkdir()
    (house / "exercises" / "10_stray.ipynb").write_text("{}")
    (house / "notebooks" / "09_tiny.ipynb").write_text("no json")
    found = compare(house)
    assert "exercises/10_stray.ipynb: has no source" in found
    assert any(line.startswith("notebooks/09_tiny.ipynb: not a notebook") for line in found)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import pathlib; print(pathlib.Path.cwd())", "prints a path of this machine"),
        ("print(object())", "prints a memory address"),
        ("import sys; print('careful', file=sys.stderr)", "writes to stderr: careful"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_output_that_would_differ_elsewhere_stops_the_build(house, code, says):
    (house / "notebooks" / "_source" / "09_tiny.py").write_text(f"# %%\n{code}\n")
    with pytest.raises(UserError, match=says):
        build(root=house)
    assert not (house / "notebooks" / "09_tiny.ipynb").exists()


def test_one_lesson_can_be_chosen_and_a_wrong_name_is_told(house):
    assert [job.kind for job in jobs(house, ["09"])] == ["lesson", "solution", "exercise"]
    with pytest.raises(UserError, match="unknown lesson '08_tiny'; did you mean '09_tiny'"):
        jobs(house, ["08_tiny"])


def test_a_solution_is_cut_at_the_indentation_of_its_markers():
    source = "def f():\n    if True:\n        # SOLUTION-BEGIN\n        a = 1\n        # SOLUTION-END\n    return a"
    assert without_markers(source, "x") == "def f():\n    if True:\n        a = 1\n    return a"
    cut = 'def f():\n    if True:\n        raise NotImplementedError("your code goes here")\n    return a'
    assert without_solution(source, "x") == cut


@pytest.mark.parametrize("source", ["# SOLUTION-BEGIN\na", "a\n# SOLUTION-END", "# SOLUTION-BEGIN\n# SOLUTION-BEGIN"])
def test_markers_that_do_not_pair_are_refused(source):
    with pytest.raises(UserError, match="SOLUTION"):
        without_solution(source, "x")


def test_cell_ids_survive_an_insertion_elsewhere(house):
    path = house / "notebooks" / "_source" / "09_tiny.py"
    before = [c.id for c in read(path, "lesson").cells]
    path.write_text("# %% [markdown]\n# New on top.\n\n" + LESSON)
    after = [c.id for c in read(path, "lesson").cells]
    assert set(before) < set(after) and len(set(after)) == len(after)


def test_every_exercise_in_a_source_has_all_its_cells_and_the_points_it_is_worth():
    """Header, check and hints come from the declaration. (An exercise that no source has yet is none of a notebook.)"""
    found = {}
    for source in (ROOT / "solutions" / "_source").glob("*.py"):
        for cell in read(source, "exercise").cells:
            if ours := cell.metadata.get("metarim"):
                found.setdefault((source.stem, ours["exercise"]), {})[ours["role"]] = cell
    assert ("03_attention_bottlenecks", "input_attention") in found
    for (lesson, name), mine in found.items():
        exercise = EXERCISES[name]
        assert lesson == exercise.lesson and list(mine) == ["header", "answer", "example", "check", "hints", "next"]
        for role in ("header", "answer", "check"):
            assert mine[role].metadata["metarim"]["points"] == exercise.points
        assert f"| {exercise.points} |" in mine["header"].source and exercise.formula in mine["header"].source
        assert mine["check"].source == f'check("{name}", {name})'
        assert mine["hints"].source.count("<details>") == 3 and exercise.hints[2] in mine["hints"].source
        assert "raise NotImplementedError" in mine["answer"].source and "SOLUTION" not in mine["answer"].source


def test_a_source_may_write_header_check_or_hints_itself(house):
    source = house / "solutions" / "_source" / "03_own.py"
    role = '# %% metarim={"exercise": "blocks", "role": '
    source.write_text(f'{role}"answer"}}\ndef blocks(h, W):\n    ...\n\n{role}"check"}}\nprint("own")\n')
    cells = read(source, "solution").cells[-4:]
    assert [c.metadata["metarim"]["role"] for c in cells] == ["header", "answer", "hints", "check"]
    assert cells[-1].source == 'print("own")' and cells[0].id == "blocks-header"


@pytest.fixture
def missing(monkeypatch):
    """Nothing is installed but torch and numpy, and pip only notes what it was asked for."""
    asked = []

    def pip(command, **options):
        asked.append((command, Path(command[command.index("-c") + 1]).read_text()))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("importlib.util.find_spec", lambda name: name in ("torch", "numpy") or None)
    monkeypatch.setattr("subprocess.run", pip)
    return asked


def test_without_package_and_address_the_first_cell_says_in_one_sentence_what_to_set_and_where(missing):
    with pytest.raises(ModuleNotFoundError) as told:
        exec(install_cell(None), {})
    assert missing == []
    for named in ("REPOSITORY", "pyproject.toml", "[project.urls]", "pip install -e '.[lab]'", "metarim build"):
        assert named in str(told.value)
    assert not re.search(r"[.!?] [A-Z]", str(told.value))  # one sentence


def test_the_first_cell_installs_what_is_missing_keeps_torch_and_numpy_and_prints_one_line(missing, capsys):
    exec(install_cell("https://github.com/someone/somewhere"), {})
    ((command, kept),) = missing
    constraints = command[6]
    assert command[1:] == ["-m", "pip", "install", "-q", "-c", constraints, "git+https://github.com/someone/somewhere"]
    assert kept.splitlines() == [f"{name}=={version(name)}" for name in ("torch", "numpy")]  # ipywidgets is not there
    assert capsys.readouterr().out == f"installed metarim_lite {version('metarim-lite')}\n"


def test_what_pip_could_not_do_is_told(missing, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "ERROR: no network")
    monkeypatch.setattr("subprocess.run", lambda *a, **k: failed)
    with pytest.raises(ModuleNotFoundError, match="from https://github.com/a/b: ERROR: no network"):
        exec(install_cell("https://github.com/a/b"), {})


@pytest.mark.parametrize("address", [None, "https://github.com/someone/somewhere"])
def test_where_the_package_is_installed_the_first_cell_does_nothing_and_says_nothing(monkeypatch, capsys, address):
    monkeypatch.setattr("subprocess.run", lambda *a, **k: pytest.fail("nothing should be installed"))
    for _ in range(2):
        exec(install_cell(address), {})
    assert capsys.readouterr().out == ""


def test_an_address_set_in_pyproject_reaches_every_notebook_without_running_one(house, capsys, monkeypatch):
    assert build(root=house)
    before = {job.target: nbformat.read(job.target, 4) for job in jobs(house)}
    assert all(c.cell_type != "markdown" or "colab" not in c.source for n in before.values() for c in n.cells)
    address = "https://github.com/someone/somewhere"
    (house / "pyproject.toml").write_text(f'[project]\nversion = "1.2"\nurls.Repository = "{address}"\n')
    assert home(house) == (address, "1.2")
    assert build(check=True, root=house) is False

    monkeypatch.setattr("metarim_lite.course.build.execute", lambda *a: pytest.fail("nothing should be executed"))
    assert build(root=house)
    assert build(check=True, root=house) is True
    for path, old in before.items():
        new = nbformat.read(path, 4)
        launch, install = (
            [c for c in new.cells if name in c.metadata.get("tags", [])] for name in ("launch", "install")
        )
        place = f"{path.parent.name}/{path.name}"
        assert f"github/someone/somewhere/blob/main/{place})" in launch[0].source
        assert f"gh/someone/somewhere/main?urlpath=lab/tree/{place})" in launch[0].source
        assert f'REPOSITORY = "{address}"' in install[0].source
        rest = [[c for c in n.cells if c.id not in ("launch", "install")] for n in (old, new)]
        assert rest[0] == rest[1]  # outputs and all


def test_the_readme_gets_its_parts_between_their_marks_and_keeps_the_rest(house, capsys):
    readme = house / "README.md"
    readme.write_text("Mine.\n" + "".join(f"<!-- {p}: by metarim build -->\nold\n<!-- /{p} -->\n{p}!\n" for p in PARTS))
    (house / "notebooks" / "_source" / "08_other.py").write_text(
        "# %% [markdown]\n# # 08 · Other\n#\n# **What is\n# asked?**\n\n# %%\n1\n"
    )
    assert "README.md: differs from what a build writes into it" in compare(house)
    (house / "pyproject.toml").write_text('[project]\nversion = "1.2"\nurls.Repository = "https://github.com/a/b"\n')
    text = written(house)
    assert text.startswith("Mine.\n") and "\nold\n" not in text and all(f"{part}!" in text for part in PARTS)
    assert "| [08 · Other](notebooks/08_other.ipynb) | What is asked? |  |" in text
    assert "| [A lesson](notebooks/09_tiny.ipynb) |  | [exercises](exercises/09_tiny.ipynb) |" in text
    assert "github/a/b/blob/main/notebooks/08_other.ipynb" in text
    assert "version = {1.2}," in text and "url = {https://github.com/a/b}," in text
    (house / "pyproject.toml").unlink()
    assert "url =" not in written(house) and "colab" not in written(house)
    assert build(root=house) and "wrote README.md" in capsys.readouterr().out
    assert build(root=house) and "wrote" not in capsys.readouterr().out


def test_changed_code_is_executed_again_and_changed_prose_is_not(house):
    path = house / "notebooks" / "_source" / "09_tiny.py"
    assert build(root=house, only=["09"])
    executed = []

    def outputs():
        executed.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("metarim_lite.course.build.execute", lambda *a: executed.append(a))
            build(root=house, only=["09"])
        return len(executed)

    path.write_text(LESSON.replace("A lesson", "The same lesson"))
    assert outputs() == 0
    path.write_text(LESSON.replace("1 + 1", "1 + 2"))
    assert outputs() == 1


@pytest.mark.parametrize(
    "address", ["github.com/a/b", "http://github.com/a/b", "https://github.com", 'https://g.org/a/"']
)
def test_an_address_that_no_browser_could_open_is_refused(tmp_path, address):
    (tmp_path / "pyproject.toml").write_text(f"[project]\nversion = '1'\nurls.Repository = '{address}'\n")
    with pytest.raises(UserError, match="write it as https://github.com/OWNER/NAME"):
        home(tmp_path)


def test_launch_links_are_left_out_where_no_service_could_follow_them():
    assert launch_links(None, "notebooks/x.ipynb") == launch_links("https://example.org/a/b", "notebooks/x.ipynb") == ""


def test_a_notebook_that_needs_too_much_memory_fails_its_last_test(tmp_path):
    """The hook of notebooks/conftest.py beside `pytest --nbval`: one notebook needs 300 MB, one hardly any."""
    for name, cell in (("large", "x = b'1' * 300_000_000"), ("small", "x = 1")):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
    hook = (ROOT / "notebooks" / "conftest.py").read_text(encoding="utf-8")
    (tmp_path / "conftest.py").write_text(hook + "\nMEMORY = 0.25e9\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "--nbval-lax", "-rA", "-p", "no:cacheprovider", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    if "skipped" in done.stdout:
        pytest.skip("this system does not say how much memory a process needed")
    assert "large.ipynb needed 0.3" in done.stdout and "allowed are 0.25" in done.stdout
    assert "1 failed, 3 passed" in done.stdout, done.stdout


@pytest.mark.parametrize(("says", "tries"), [("Kernel died before replying to kernel_info", 2), ("something else", 1)])
def test_a_kernel_whose_port_was_taken_is_started_once_more(says, tries, house, monkeypatch):
    began, real = [], building.client_for

    class Dead:
        def execute(self, env):
            raise RuntimeError(says)

    def client_for(notebook, job):
        began.append(job)
        return Dead() if len(began) == 1 else real(notebook, job)

    monkeypatch.setattr(building, "client_for", client_for)
    (lesson, *_) = jobs(house)
    notebook = read(lesson.source, lesson.kind)
    if tries == 1:
        with pytest.raises(RuntimeError, match=says):
            building.execute(notebook, lesson, house)
    else:
        building.execute(notebook, lesson, house)
        assert [cell.outputs[0]["text"] for cell in notebook.cells if cell.get("outputs")] == ["2\n"]
    assert len(began) == tries
