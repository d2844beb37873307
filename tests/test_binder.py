"""binder/ installs what was tested, once, and only that: with this folder there, Binder reads nothing else."""

import os
import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from metarim_lite.course import banks
from metarim_lite.doctor import TESTED, version_numbers

ROOT = Path(__file__).parent.parent
BINDER = ROOT / "binder"
WANTED = (BINDER / "requirements.txt").read_text(encoding="utf-8").splitlines()
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
PINS = {canonicalize_name(line.split("==")[0]): line for line in WANTED if "==" in line}


def needed(requirements):
    """Names of these and of everything that they need here, as far as it is installed."""
    found, ahead = set(), [Requirement(line) for line in requirements]
    while ahead:
        requirement = ahead.pop()
        name, extras = canonicalize_name(requirement.name), requirement.extras | {""}
        asked = {(name, extra) for extra in extras}
        if asked <= found:
            continue
        found |= asked
        try:
            lines = map(Requirement, metadata.requires(name) or [])
        except metadata.PackageNotFoundError:
            continue
        ahead += [q for q in lines if not q.marker or any(q.marker.evaluate({"extra": extra}) for extra in extras)]
    return {name for name, _ in found}


def test_everything_that_the_package_and_jupyter_need_is_pinned_as_it_was_tested():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    direct = [*project["dependencies"], *project["optional-dependencies"]["lab"]]
    assert needed(direct) - {"setuptools"} <= set(PINS)  # torch's; what is there will do
    assert set(PINS.values()) <= set(CONSTRAINTS)


def test_torch_comes_from_the_index_for_cpus():
    assert "--extra-index-url https://download.pytorch.org/whl/cpu" in WANTED
    assert PINS["torch"].startswith("torch==") and not [name for name in PINS if name.startswith("nvidia")]


def test_the_package_is_added_without_asking_anew_what_it_needs():
    text = (BINDER / "postBuild").read_text(encoding="utf-8")
    assert re.search(r"^set -e", text, re.MULTILINE)
    assert re.search(r"pip install .*--no-deps.* -e \.$", text, re.MULTILINE)
    assert "metarim_lite.course.banks" in text and "compileall" in text


def test_python_is_one_that_was_tested():
    version = version_numbers((BINDER / "runtime.txt").read_text(encoding="utf-8").removeprefix("python-"))
    assert TESTED[0] <= version <= TESTED[1]


@pytest.mark.skipif(os.name == "nt", reason="scripts of Linux")
def test_the_start_script_caps_threads_and_runs_what_it_is_given():
    for script in ("start", "postBuild"):
        assert os.access(BINDER / script, os.X_OK)
        assert subprocess.run(["bash", "-n", BINDER / script], check=False).returncode == 0
    ask = [BINDER / "start", "bash", "-c", 'echo "$OMP_NUM_THREADS $0"', "given"]
    assert subprocess.run(ask, capture_output=True, text=True, check=True).stdout == "1 given\n"


def test_banks_are_made_of_every_level_that_a_lesson_names(tmp_path, monkeypatch):
    source = tmp_path / "notebooks" / "_source"
    source.mkdir(parents=True)
    (source / "01_x.py").write_text('ml.Stepper("BabyAI-GoToObjS6-v1"); "BabyAI-NoSuchLevel-v0"', encoding="utf-8")
    assert banks.levels_of_lessons(tmp_path) == ["BabyAI-GoToLocal-v0", "BabyAI-GoToObjS6-v1"]
    assert {"BabyAI-GoToLocal-v0"} <= set(banks.levels_of_lessons(ROOT))

    monkeypatch.setenv("METARIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(banks, "SEEDS", 3)
    monkeypatch.setattr(banks, "PATIENCE", 0.0)
    banks.make_banks(tmp_path)
    made = sorted(path.relative_to(tmp_path / "cache").parts[2:] for path in (tmp_path / "cache").rglob("*.v1"))
    levels = ("BabyAI-GoToLocal-v0", "BabyAI-GoToObjS6-v1")
    assert made == [(level, name) for level in levels for name in ("0.v1", "1000.v1")]
