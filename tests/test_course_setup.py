"""The check of a student's set-up: what is missing is named with the command that mends it."""

import sys

import torch

from metarim_lite.course import setup_check as module
from metarim_lite.course.setup_check import setup_check
from metarim_lite.doctor import TRIED, version_numbers


def test_a_good_setup_says_yes_everywhere_and_leaves_the_dice_alone(capsys):
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    assert setup_check()
    assert torch.equal(torch.rand(2), expected)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "You are set up."
    assert all(line.endswith("yes") for line in lines[:-2]) and len(lines) == 9


def test_what_is_missing_or_too_old_is_named_with_its_remedy(capsys, monkeypatch):
    monkeypatch.setattr(module, "NEEDED", (("no-such-thing", (1, 2)), ("torch", (99,))))
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    monkeypatch.setitem(TRIED, "a world can be made and stepped", lambda: 1 / 0)
    assert not setup_check()
    said = capsys.readouterr().out
    assert "NO: install a newer Python" in said
    assert "NO: pip install -U 'no-such-thing>=1.2'" in said
    assert "NO: pip install -U 'torch>=99'" in said
    assert "NO: ZeroDivisionError: division by zero" in said
    assert "an agent can look at it and act    yes" in said


def test_versions_are_compared_by_number():
    assert version_numbers("2.13.0+cpu") == (2, 13, 0)
    assert version_numbers("2.13.0") > version_numbers("2.6")
    assert version_numbers("unreadable") == ()
