"""The wheel holds what `pip install` is to bring, and not more. (It is built by setuptools, without a network.)"""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    setuptools = pytest.importorskip("setuptools")
    if int(setuptools.__version__.split(".")[0]) < 77:
        pytest.skip("needs setuptools 77 or newer, as pyproject.toml says")
    import shutil

    copy = tmp_path_factory.mktemp("wheel") / "copy"  # setuptools leaves build/ and egg-info where it works
    copy.mkdir()
    shutil.copytree(ROOT / "metarim_lite", copy / "metarim_lite", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    code = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, "."], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return copy / done.stdout.splitlines()[-1]


def test_every_file_of_the_package_is_in_the_wheel_and_it_is_small(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    ours = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "metarim_lite").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert ours - inside == set()
    assert "metarim_lite/data/meta-rim-gotolocal.safetensors" in inside
    assert {name.split("/")[0].split("-")[0] for name in inside} == {"metarim_lite"}  # no tests, no notebooks
    assert wheel.stat().st_size < 10e6


def test_the_wheel_brings_the_command_and_asks_for_what_pyproject_asks_for(wheel):
    archive = zipfile.ZipFile(wheel)
    info = next(name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name)
    assert "metarim = metarim_lite.__main__:main" in archive.read(f"{info}/entry_points.txt").decode()
    assert "Requires-Dist: ipywidgets>=7.7" in archive.read(f"{info}/METADATA").decode()
