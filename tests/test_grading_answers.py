"""What is taken out of a notebook: an answer with all that it needs and nothing else, or a sentence why not."""

import json
import time

import pytest
from handed_in import HEAD, RIGHT, STUB, WRONG, book, found_in, sent

from metarim_lite.grading.answers import Cell, Notebook, read_notebook
from metarim_lite.grading.classroom import lesson_of


def test_given_functions_stand_in_for_the_package_s_where_an_exercise_builds_on_them():
    uses = "from metarim_lite.course.exercises.lesson3 import input_attention, over_batch"
    text = "def rim_step(*a):\n    return input_attention(*a)"
    given = {"input_attention": "def input_attention(*a): return 'given'"}
    assert sent(found_in(uses, text, name="rim_step", given=given)) == f"{given['input_attention']}\n{text}"
    own = "def input_attention(*a): return 'mine'"
    assert own in sent(found_in(uses, own, text, name="rim_step", given=given))
    assert "lesson3.input_attention of the package" in found_in(uses, text, name="rim_step").reason


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


@pytest.mark.parametrize(
    "evil", ["(" * 9999, "x" + ".a" * 40_000, "-" * 90_000 + "1", "a;" * 45_000, "a" * 200_000, "a\0"]
)
def test_what_is_hard_to_read_is_left_out_in_no_time(evil):
    began = time.process_time()
    assert sent(found_in(RIGHT, evil)).endswith(RIGHT.strip())
    assert "your cell" in found_in(f"{HEAD}    return (\n" + evil).reason
    assert time.process_time() - began < 20


def test_a_notebook_is_read_whatever_jupyter_wrote_it():
    old = {"worksheets": [{"cells": [{"cell_type": "code", "input": ["a = 1\r\n", "b = 2"]}]}]}
    assert read_notebook(json.dumps(old).encode()).cells == [Cell(1, "code", "a = 1\nb = 2")]
    by_id = {"cells": [{"cell_type": "code", "source": "x", "id": "gae-answer"}], "metadata": {}}
    assert read_notebook(b"\xef\xbb\xbf" + json.dumps(by_id).encode()).cells[0][3:] == ("gae", "answer")
    assert lesson_of(read_notebook(json.dumps(by_id).encode()), "x") == "02_recurrent_controllers"
    assert lesson_of(book("def gae(x): pass")._replace(lesson=None), "x") == "02_recurrent_controllers"
    assert lesson_of(Notebook(None, [Cell(1, "code", "")]), "05_catastrophic_forgetting (3).ipynb").startswith("05")
