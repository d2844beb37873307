"""One answer in its sandbox: graded as it is checked, on inputs of its own, behind walls that hold."""

import inspect
import sys
from pathlib import Path

import alternatives
import pytest
import torch
from handed_in import HEAD, RIGHT, SETUP, found_in

from metarim_lite.course.checks import EXERCISES, judge
from metarim_lite.course.given import GIVEN
from metarim_lite.grading import sandbox
from metarim_lite.grading.judging import grade_answer, readable
from metarim_lite.grading.sandbox import Ended, Limits, NoSandbox, Nursery
from metarim_lite.grading.walls import CALLS, FILES, shelves

# --- every exercise ---------------------------------------------------------------------------------------------------

TEXT = "\n".join(map(inspect.getsource, alternatives.FILES)).replace('@right("', '#@right("')


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


def test_what_is_open_of_the_package_can_be_imported(nursery):
    text = "from metarim_lite.envs.cells import ACTIONS, TYPE\nfrom metarim_lite.course import once_written\n"
    text += "from metarim_lite.envs import cells\nimport metarim_lite as ml\n"
    text += RIGHT.replace(
        "    s =", "    assert cells.TYPE is TYPE and ACTIONS[2] == 'forward' and once_written and ml\n    s ="
    )
    assert grade_answer(EXERCISES["input_attention"], found_in(text), nursery).says == "passed"


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
