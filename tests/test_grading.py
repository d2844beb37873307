"""Grading: what is taken out of a notebook, what crosses the boundary, whose submission is whose, and whole classes."""

import csv
import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import alternatives
import numpy as np
import pytest
import torch
from hostile import HEAD, LESSON, RIGHT, SECOND, SETUP, STUB, WRONG, answer, cell, check, notebook, saved
from test_grading_hostile import left_of

from metarim_lite.course.checks import EXERCISES, judge
from metarim_lite.course.given import GIVEN
from metarim_lite.errors import UserError
from metarim_lite.grading import classroom, sandbox, wire
from metarim_lite.grading.answers import Cell, Notebook, find_answer, read_notebook
from metarim_lite.grading.classroom import grade, lesson_of
from metarim_lite.grading.judging import grade_answer, readable
from metarim_lite.grading.sandbox import Ended, Limits, NoSandbox, Nursery
from metarim_lite.grading.submissions import collect, slug
from metarim_lite.grading.walls import CALLS, FILES, shelves

ROOT = Path(__file__).resolve().parents[1]
LESSONS = tuple(dict.fromkeys(e.lesson for e in EXERCISES.values()))


@pytest.fixture(scope="module")
def nursery():
    with Nursery() as made:
        yield made


@pytest.fixture
def one_nursery(nursery, monkeypatch):
    """Classes are graded with the nursery of these tests: another would take seconds to start."""
    monkeypatch.setattr(classroom, "_nursery", lambda: nursery)
    monkeypatch.setattr(classroom, "_close_nursery", lambda: None)


def book(*sources: str) -> Notebook:
    return Notebook(LESSON, [Cell(number, "code", source) for number, source in enumerate(sources, 1)])


def found_in(*sources: str, name: str = "input_attention", **more):
    return find_answer(name, book(*sources), **more)


def sent(found) -> str:
    return "\n".join(piece.source for piece in found.pieces)


# --- every exercise ---------------------------------------------------------------------------------------------------

TEXT = inspect.getsource(alternatives).replace('@right("', '#@right("')


@pytest.mark.parametrize("name", EXERCISES)
def test_every_exercise_is_graded_as_it_is_checked(nursery, name):
    exercise = EXERCISES[name]
    mine = found_in(SETUP, TEXT, f"{name} = {alternatives.RIGHT[name][0].__name__}", name=name)
    assert grade_answer(exercise, mine, nursery)[1:4] == (exercise.points, exercise.points, "passed")
    stub = found_in(f"def {name}(*args):\n    raise NotImplementedError('your code goes here')", name=name)
    assert grade_answer(exercise, stub, nursery)[1:5] == (0, exercise.points, "not attempted", False)
    constant = found_in(f"def {name}(*args):\n    return 3", name=name)
    outcome = grade_answer(exercise, constant, nursery)
    assert (outcome.points, outcome.attempted, outcome.trace) == (0, True, "") and len(outcome.says) > 20


def test_a_wrong_policy_is_told_its_mistake_and_worlds_stay_with_the_judge(nursery):
    forward = found_in(
        "def explore(image, direction, mission, memory):\n    memory['n'] = 1\n    return 2", name="explore"
    )
    assert grade_answer(EXERCISES["explore"], forward, nursery).says.startswith("your policy always goes forward")
    text = "def explore(image, direction, mission, memory):\n    return image"
    assert (
        "an action is a whole number"
        in grade_answer(EXERCISES["explore"], found_in(text, name="explore"), nursery).says
    )


def test_everybody_gets_inputs_of_their_own_drawn_when_the_answer_is_there(nursery):
    """An answer that waits for nothing knows nothing: the seed is drawn behind its loading."""
    found = found_in(RIGHT)
    outcomes = [grade_answer(EXERCISES["input_attention"], found, nursery) for _ in range(3)]
    assert len({o.seed for o in outcomes}) == 3
    broken = grade_answer(EXERCISES["input_attention"], found_in("input_attention = 1 / 0"), nursery)
    assert broken.seed == torch.Generator().initial_seed()  # never drawn


@pytest.mark.parametrize("name", GIVEN)
def test_what_later_exercises_build_on_is_right(name):
    assert judge(EXERCISES[name], GIVEN[name], 0).says == "passed"


def test_given_functions_stand_in_for_the_package_s_where_an_exercise_builds_on_them(nursery):
    uses = "from metarim_lite.course.exercises.lesson3 import input_attention, over_batch"
    text = "def rim_step(*a):\n    return input_attention(*a)"
    given = {"input_attention": "def input_attention(*a): return 'given'"}
    assert sent(found_in(uses, text, name="rim_step", given=given)) == f"{given['input_attention']}\n{text}"
    own = "def input_attention(*a): return 'mine'"
    assert own in sent(found_in(uses, own, text, name="rim_step", given=given))
    assert "lesson3.input_attention of the package" in found_in(uses, text, name="rim_step").reason


# --- what an answer needs ---------------------------------------------------------------------------------------------


def test_an_answer_takes_along_what_it_needs_and_nothing_else():
    found = found_in(
        "import torch, not_here\nfrom math import sqrt, pi",
        "scale = 2\nscale *= 3\nunused = 1 / 0",
        "table = {}\nfor i in range(3):\n    table[i] = scale\ntable.update(a=1)\nprint(table)",
        "@staticmethod\ndef helper(a):\n    return sqrt(a) * table[0]; print(1)",
        f"{HEAD}    return helper(torch.ones(1))\ninput_attention(1)",
        "scale = 77",
    )
    assert sent(found).splitlines() == [
        "import torch",
        "from math import sqrt",
        "scale = 2",
        "scale *= 3",
        "table = {}",
        "for i in range(3):",
        "    table[i] = scale",
        "table.update(a=1)",
        "@staticmethod",
        "def helper(a):",
        "    return sqrt(a) * table[0]; print(1)",
        HEAD.strip(),
        "    return helper(torch.ones(1))",
    ]


def test_names_are_looked_up_above_then_below_then_in_the_published_notebook_then_by_default():
    text = f"{HEAD}    return a, b, np, F, palette"
    published = [Cell(1, "code", "palette = 'blue'\nb = 'published'\nanswer = 3")]
    found = found_in("a = 1", "a = 2", text, "a = 3\nb = 4", published=published)
    defaults = {"import torch.nn.functional as F", "import numpy as np"}
    *first, palette, a, head, last, b = sent(found).splitlines()
    assert set(first) == defaults and (palette, a, b) == ("palette = 'blue'", "a = 2", "b = 4")


def test_the_last_answer_counts_wherever_it_stands_and_wrappers_of_it_count_too():
    found = found_in(WRONG, STUB, RIGHT, "def input_attention(:")
    assert sent(found).endswith(RIGHT.strip()) and "cells 1, 3 all make" in found.notes[0]
    assert "cannot be read as Python" in found.notes[1]
    wrapped = found_in(f"import functools\n{RIGHT}\ninput_attention = functools.cache(input_attention)")
    assert sent(wrapped).splitlines()[-1] == "input_attention = functools.cache(input_attention)"
    assert RIGHT.strip() in sent(wrapped)


def test_star_imports_come_along_but_not_those_of_the_package():
    found = found_in("from math import *\nfrom metarim_lite.models import *", f"{HEAD}    return sqrt(h)")
    assert sent(found).startswith("from math import *\ndef") and not found.reason


@pytest.mark.parametrize(
    ("sources", "says"),
    [
        (["x = 1"], "no cell of your notebook makes"),
        ([f"{HEAD}  return ("], "cannot be read as Python: SyntaxError: '(' was never closed"),
        (
            ["from metarim_lite.training.ppo import gae", f"{HEAD}    return gae(h)"],
            "uses metarim_lite.training.ppo.gae",
        ),
        (
            ["import metarim_lite.models", f"{HEAD}    return metarim_lite.models.RIM"],
            "uses metarim_lite.models of the",
        ),
        ([f"{HEAD}    import metarim_lite.lens as l\n    return l"], "uses metarim_lite.lens of the package"),
        (
            ["from metarim_lite.course import EXERCISES", f"{HEAD}    return EXERCISES"],
            "course.EXERCISES of the package",
        ),
    ],
)
def test_where_there_is_nothing_to_run_a_sentence_says_why(sources, says):
    found = found_in(*sources)
    assert says in found.reason and not found.pieces


def test_what_is_open_of_the_package_can_be_imported(nursery):
    text = "from metarim_lite.envs.cells import ACTIONS, TYPE\nfrom metarim_lite.course import once_written\n"
    text += "from metarim_lite.envs import cells\nimport metarim_lite as ml\n"
    text += RIGHT.replace(
        "    s =", "    assert cells.TYPE is TYPE and ACTIONS[2] == 'forward' and once_written and ml\n    s ="
    )
    assert grade_answer(EXERCISES["input_attention"], found_in(text), nursery).says == "passed"


@pytest.mark.parametrize(
    "evil", ["(" * 9999, "x" + ".a" * 40_000, "-" * 90_000 + "1", "a;" * 45_000, "a" * 200_000, "a\0"]
)
def test_what_is_hard_to_read_is_left_out_in_no_time(evil):
    began = time.process_time()
    assert sent(found_in(RIGHT, evil)).endswith(RIGHT.strip())
    assert "your cell" in found_in(f"{HEAD}    return (\n" + evil).reason
    assert time.process_time() - began < 20


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


def test_a_notebook_is_read_whatever_jupyter_wrote_it():
    old = {"worksheets": [{"cells": [{"cell_type": "code", "input": ["a = 1\r\n", "b = 2"]}]}]}
    assert read_notebook(json.dumps(old).encode()).cells == [Cell(1, "code", "a = 1\nb = 2")]
    by_id = {"cells": [{"cell_type": "code", "source": "x", "id": "gae-answer"}], "metadata": {}}
    assert read_notebook(b"\xef\xbb\xbf" + json.dumps(by_id).encode()).cells[0][3:] == ("gae", "answer")
    assert lesson_of(read_notebook(json.dumps(by_id).encode()), "x") == "02_recurrent_controllers"
    assert lesson_of(book("def gae(x): pass")._replace(lesson=None), "x") == "02_recurrent_controllers"
    assert lesson_of(Notebook(None, [Cell(1, "code", "")]), "05_catastrophic_forgetting (3).ipynb").startswith("05")


# --- the wire ----------------------------------------------------------------------------------------------------


def through(value):
    packed = memoryview(wire.pack(value))
    taken = [0]

    def read(count):
        taken[0] += count
        return bytes(packed[taken[0] - count : taken[0]])

    return wire.receive(read)


@pytest.mark.parametrize("dtype", wire.DTYPES)
def test_arrays_arrive_as_they_were(dtype):
    for shape in ((), (0, 3), (2, 3, 4)):
        tensor = (10 * torch.rand(shape)).to(getattr(torch, dtype))
        assert through(tensor.mT if tensor.ndim > 1 else tensor).equal(tensor.mT if tensor.ndim > 1 else tensor)
        if dtype in wire.NUMPY:
            array = tensor.numpy()
            got = through([array])[0]
            assert got.dtype == array.dtype and got.shape == array.shape and (got == array).all()


def test_plain_values_arrive_as_they_were_and_others_as_a_name():
    value = [None, True, 3, -0.5, "ü", (1, [2]), {"a": (torch.ones(2).tolist(),)}]
    assert through(value) == value and type(through(value)[5]) is tuple

    class Odd(torch.Tensor):
        pass

    got = through([Odd(), {1: 2}, np.float32(2), torch.ones(2).to_sparse(), object()])
    assert [type(x).__name__ for x in got] == ["Odd", "dict", "ndarray", "Tensor_of_torch.sparse_coo", "object"]
    assert isinstance(got[0], wire.Foreign) and isinstance(got[1], wire.Foreign)


def message(tree, body=b"", lengths=(None, None)):
    text = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
    return wire.LENGTHS.pack(lengths[0] or len(text), lengths[1] or len(body)) + text + body


BAD = [
    message(b"\xff\xfe"), message(b"[" * 10**5), message(b"9" * 5000), message({"a": 1}), message(["tensor"]),
    message([]),
    message(["tensor", "float32", [2]]), message(["tensor", "float32", [-1]]), message(["tensor", "float32", [1e9]]),
    message(["tensor", "object", [1]], b"12345678"), message(["array", "bfloat16", [1]], b"12"),
    message(["tensor", "float32", [True]], b"1234"), message(["tensor", "Generator", []]), message(["code", "1"]),
    message(1, b"left over"), message(["dict", [[["a"], 1]]]) + b"", message(["tensor", "float32", [1] * 99], b"1234"),
    message(["tensor", "float32", [2**30] * 16]), message(["list", 3]), message(["other"]),
]  # fmt: skip


@pytest.mark.parametrize("data", BAD, ids=range(len(BAD)))
def test_a_message_that_is_none_is_garbled_and_does_nothing(data):
    at = [0]

    def read(count):
        at[0] += count
        return data[at[0] - count : at[0]]

    try:
        value = wire.receive(read)
    except wire.Garbled:
        return
    assert value == {"['a']": 1}  # the one that is harmless: a key is a word


def test_a_length_is_not_believed():
    for lengths in ((2**31, None), (None, 2**31)):
        data = message(1, lengths=lengths)
        with pytest.raises(wire.TooLarge):
            wire.receive(lambda count, data=data: data[:count])
    with pytest.raises(wire.TooLarge):
        wire.pack(torch.zeros(1).expand(10**12))


# --- walls, and what remains without them --------------------------------------------------------------------------


def run_alone(nursery, code: str, limits=Limits(seconds=3, patience=6)) -> str:  # noqa: B008
    """What `input_attention` says whose body is this."""
    text = HEAD + "".join(f"    {line}\n" for line in code.splitlines())
    return grade_answer(EXERCISES["input_attention"], found_in(text), nursery, limits).says


def test_this_system_has_all_walls_or_says_so(nursery):
    if not sys.platform.startswith("linux"):
        pytest.skip("Landlock and seccomp are Linux's")
    assert nursery.walls[0] == "limits"
    for wall in (FILES, CALLS):
        if wall not in nursery.walls:
            pytest.skip(f"this kernel does not have {wall}")


def test_a_daemon_is_found_and_ended_also_where_no_wall_forbids_it():
    code = "import ctypes, os, time\nc = ctypes.CDLL(None)\nif c.fork() == 0:\n    c.setsid()\n    if c.fork() == 0:\n"
    code += (
        "        os.close(3) if False else None\n        time.sleep(600)\n    os._exit(0)\ntime.sleep(0.2)\nreturn 1"
    )
    with Nursery(without=FILES + CALLS) as bare:
        assert bare.walls == ["limits"]
        says = run_alone(bare, code)
        assert bare.strays >= 1 and bare.left == 0 and "one int" in says, says
        assert "may not read files of the course" in run_alone(bare, f"open({str(sandbox.PACKAGE / 'cli.py')!r})")
        assert "may not use a network" in run_alone(bare, "import socket; socket.socket()")
        assert "another process" in run_alone(bare, "import os; os.fork()")


def test_a_child_that_kills_its_nursery_costs_nobody_anything():
    with Nursery(without=FILES + CALLS) as bare:
        kill = "import ctypes, os; ctypes.CDLL(None).kill(os.getppid(), 9)\nimport time; time.sleep(9)"
        with pytest.raises((NoSandbox, Ended)):
            run_alone(bare, kill)
            bare.end(0)


def test_folders_open_but_for_what_is_hidden(tmp_path):
    for name in ("lib/a", "lib/site/b", "lib/site/secret/c"):
        (tmp_path / name).mkdir(parents=True)
    hidden = [tmp_path / "lib" / "site" / "secret"]
    opened = {path.relative_to(tmp_path).as_posix(): whole for path, whole in shelves([tmp_path / "lib"], hidden)}
    assert opened == {"lib": False, "lib/a": True, "lib/site": False, "lib/site/b": True}
    assert list(shelves([tmp_path / "lib" / "site" / "secret" / "c", tmp_path / "nowhere"], hidden)) == []


def test_what_a_child_leaves_behind_is_gone_and_the_next_starts_afresh(nursery):
    code = "open('mine', 'w').write('x')\nimport os, torch, sys\nsys.mine = 1\nreturn os.getcwd()"
    says = run_alone(nursery, code)
    assert "is a str" in says or "one str" in says
    assert "raises AttributeError" in run_alone(nursery, "import os, sys\nassert os.listdir() == []\nreturn sys.mine")
    assert not [p for p in Path(nursery._home.name).glob("answer-*")]


def test_the_environment_tells_nothing(nursery, monkeypatch):
    monkeypatch.setenv("SECRET", "42")
    says = run_alone(nursery, "import os; raise ValueError(','.join(sorted(os.environ)))")
    assert "SECRET" not in says and "HOME" in says


def test_one_line_of_readable_letters():
    assert readable("a\n\tb\x1b[31m\u202e  c") == "a b [31m c" and len(readable("x" * 9999)) == 400


# --- whose is what ------------------------------------------------------------------------------------------


def students(place, table=None):
    return {s.student: [f.name for f in s.files] for s in collect(place, LESSONS, table)}


def put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}", encoding="utf-8")
    return folder


def test_a_folder_of_notebooks(tmp_path):
    put(tmp_path, "Zoë.ipynb", f"alice_{LESSON}.ipynb", f"alice_{LESSON} (1).ipynb", f"bob-{LESSONS[3]}.ipynb",
        "notes.md",
        ".ipynb_checkpoints/Zoë-checkpoint.ipynb", "conftest.py", "__MACOSX/x.ipynb")  # fmt: skip
    assert students(tmp_path) == {
        "Zoë": ["Zoë.ipynb"], "alice": [f"alice_{LESSON} (1).ipynb", f"alice_{LESSON}.ipynb"],
        "bob": [f"bob-{LESSONS[3]}.ipynb"],
    }  # fmt: skip


def test_folders_zips_and_exports_of_platforms(tmp_path):
    put(tmp_path / "folders", "alice/a/b/x.ipynb", "bob/3.ipynb", "bob/4.ipynb", "carol/essay.pdf")
    assert students(tmp_path / "folders") == {"alice": ["x.ipynb"], "bob": ["3.ipynb", "4.ipynb"], "carol": []}
    moodle = tmp_path / "moodle"
    put(moodle, "Ann Lee_12_assignsubmission_file_/x.ipynb", "Ann Lee_13_assignsubmission_file_/x.ipynb",
        "Bo_14_assignsubmission_file/y.ipynb")  # fmt: skip
    assert list(students(moodle)) == ["Ann Lee (12)", "Ann Lee (13)", "Bo"]
    canvas = tmp_path / "canvas"
    put(canvas, "leeann_LATE_12_99_x.ipynb", "leeann_12_98_y.ipynb", "bo_14_97_x-1.ipynb")
    assert {name: len(files) for name, files in students(canvas).items()} == {"leeann": 2, "bo": 1}
    for source in (moodle, canvas):
        with zipfile.ZipFile(tmp_path / "class.zip", "w") as archive:
            for path in source.rglob("*.ipynb"):
                archive.write(path, path.relative_to(source).as_posix())
        assert list(students(tmp_path / "class.zip")) == list(students(source))
        (tmp_path / "holder").mkdir(exist_ok=True)
        (tmp_path / "holder" / "export.zip").write_bytes((tmp_path / "class.zip").read_bytes())
        assert list(students(tmp_path / "holder")) == list(students(source))
    zips = tmp_path / "zips"
    zips.mkdir()
    with zipfile.ZipFile(zips / "dora.zip", "w") as archive:
        archive.writestr("my work/x.ipynb", "{}")
    with zipfile.ZipFile(zips / "emil.zip", "w") as archive:
        archive.writestr("essay.txt", "hello")
    assert students(zips) == {"dora": ["my work/x.ipynb"], "emil": []}


def test_a_table_says_whose_file_it_is(tmp_path):
    put(tmp_path / "class", "a.ipynb", "deep/b.ipynb", "c.ipynb")
    table = tmp_path / "who.csv"
    table.write_text("\ufefffile,student,group\na,Ann Lee,1\ndeep/b.ipynb,Ann Lee,1\n", encoding="utf-8")
    assert students(tmp_path / "class", table) == {"Ann Lee": ["a.ipynb", "b.ipynb"], "c": ["c.ipynb"]}
    table.write_text("name\nx\n", encoding="utf-8")
    for wrong in (table, tmp_path / "none.csv"):
        with pytest.raises(UserError, match="columns file and student"):
            students(tmp_path / "class", wrong)
    with pytest.raises(UserError, match="neither a folder nor a zip"):
        students(table)
    with pytest.raises(UserError, match="no notebooks"):
        students(put(tmp_path / "empty", "a.txt"))


def test_what_is_no_ordinary_file_is_never_opened(tmp_path):
    put(tmp_path, "honest.ipynb")
    for name in ("pipe.ipynb", "pipe.zip"):
        os.mkfifo(tmp_path / name)
    found = {s.student: s.files[0].problem for s in collect(tmp_path, LESSONS)}
    assert found == {"honest": "", "pipe": "what was handed in is no ordinary file."}


def test_names_of_files_differ_as_students_do():
    assert slug("Ann Lee") != slug("Ann-Lee") and slug("../../x").startswith("x-") and slug("李").startswith("student-")


# --- a class ------------------------------------------------------------------------------------------


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
