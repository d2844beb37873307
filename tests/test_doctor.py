"""`metarim doctor`: each thing that can be wrong with a machine is put in its place by a stand-in, and is named."""

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

import metarim_lite as ml
from metarim_lite import doctor as module
from metarim_lite.course.setup_check import NEEDED
from metarim_lite.doctor import BAD, GOOD, NOTE, doctor, version_numbers


def only(part):
    """The one finding of a part."""
    (finding,) = part()
    return finding


@pytest.fixture
def versions(monkeypatch):
    """Versions that are said to be installed, by distribution; None: it is missing."""
    changed, true = {}, importlib.metadata.version

    def version(name):
        if changed.get(name, "") is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return changed.get(name) or true(name)

    monkeypatch.setattr("importlib.metadata.version", version)
    return changed


def test_a_good_machine_gets_a_tick_for_every_part(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("METARIM_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "free_memory_gb", lambda: 8.0)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(module, "DRIVER", tmp_path / "none")
    assert doctor()
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "Everything that the course needs is there."
    parts = {line.split()[1] for line in lines[:-2]}
    assert parts == {"python", "packages", "device", "threads", "memory", "cache", "course", "notebooks"}
    assert not [line for line in lines[:-2] if line.startswith(BAD)]
    version = importlib.metadata.version("torch")  # torch's own has the build in it, as in "+cu130"
    assert any(f"torch {version}, " in line for line in lines)


def test_a_wrong_python(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    assert only(module.python).mark == BAD and "3.11 or newer is needed" in only(module.python).said
    monkeypatch.setattr(sys, "version_info", (3, 15, 0))
    assert only(module.python).mark == NOTE
    for minor in (11, 12, 13):
        monkeypatch.setattr(sys, "version_info", (3, minor, 0))
        assert only(module.python).mark == GOOD


def test_a_missing_package(versions):
    versions["safetensors"] = None
    assert [f.said for f in module.packages() if f.mark == BAD] == [
        "safetensors is missing: pip install -U 'safetensors'"
    ]
    versions["metarim-lite"] = None
    assert "metarim-lite itself is not installed" in only(module.packages).said


def test_an_old_minigrid(versions):
    versions["minigrid"] = "2.3.1"
    assert [f.said for f in module.packages() if f.mark == BAD] == [
        "minigrid 2.3.1 is too old: pip install -U 'minigrid>=3.2.0'"
    ]


def test_the_first_lesson_and_the_doctor_ask_for_what_pyproject_asks_for(monkeypatch):
    declared = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*declared["dependencies"], "no-such-thing; extra == 'lab'"]
    monkeypatch.setattr("importlib.metadata.requires", lambda name: wanted)
    needed = module.requirements()
    assert len(needed) == len(declared["dependencies"]) and needed["minigrid"] == "3.2.0" and needed["tqdm"] == ""
    for name, oldest in NEEDED:
        asked = version_numbers(needed[name])
        assert asked[: len(oldest)] == oldest or not asked
    assert declared["requires-python"] == ">=" + ".".join(map(str, module.TESTED[0]))


def test_a_damaged_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("METARIM_CACHE", str(tmp_path))
    ml.LevelBank.generate("BabyAI-GoToObjS6-v1", seeds=[0, 1000, 2000])
    assert only(module.cache).mark == GOOD and "3 files" in only(module.cache).said
    first, second, _ = sorted(tmp_path.rglob("*.v1"))
    first.write_bytes(first.read_bytes()[:50])
    assert only(module.cache) == (NOTE, f"{first} cannot be read: it counts as absent and is made again; or delete it")
    second.write_bytes(b"")
    assert f"{first} and 1 more cannot be read" in only(module.cache).said


def test_a_home_that_cannot_be_written_to(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("METARIM_CACHE", str(tmp_path / "file" / "cache"))  # also root cannot make a folder there
    mark, said = only(module.cache)
    assert mark == NOTE and "cannot write to" in said and "name a folder that you may write to in METARIM_CACHE" in said
    monkeypatch.setattr("metarim_lite.cache.cache_folder", lambda: None)
    assert "no home folder is known" in only(module.cache).said


@pytest.mark.parametrize(
    ("built_for", "driver", "warned", "mark", "says"),
    [
        (None, False, "", GOOD, "built for CPUs, which is all"),
        (None, True, "", NOTE, "there is a GPU, and this torch is built for CPUs"),
        ("12.8", False, "", NOTE, "no GPU driver is installed"),
        ("12.8", True, "The NVIDIA driver on your system is too old", NOTE, "cannot use it (The NVIDIA driver on"),
    ],
)
def test_a_gpu_without_its_driver(monkeypatch, tmp_path, built_for, driver, warned, mark, says):
    def available():
        if warned:
            import warnings

            warnings.warn(warned, stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", available)
    monkeypatch.setattr(torch.version, "cuda", built_for)
    monkeypatch.setattr(module, "DRIVER", tmp_path if driver else tmp_path / "none")
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = only(module.device)
    assert found.mark == mark and says in found.said
    if built_for and not driver:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        assert "hides the GPU" in only(module.device).said


@pytest.mark.parametrize(("free", "mark"), [(0.4, BAD), (1.4, NOTE), (4.0, GOOD), (None, NOTE)])
def test_too_little_memory(monkeypatch, free, mark):
    monkeypatch.setattr(module, "free_memory_gb", lambda: free)
    assert only(module.memory).mark == mark
    assert mark != BAD or "0.4 GB are free and a lesson needs up to 1.0" in only(module.memory).said


def test_the_tightest_limit_on_memory_counts(monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(module, "_of_system", lambda: 8 * 10**9)
    monkeypatch.setattr(module, "_of_container", lambda: 2 * 10**9)
    assert module.free_memory_gb() == 2.0
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (10**6, 10**6))
    assert module.free_memory_gb() == 0.0
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY,) * 2)
    assert module.free_memory_gb() == 2.0


def test_more_threads_than_cores(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert only(module.threads).mark == NOTE and "set fewer" in only(module.threads).said


def without(names, then):
    """Run Python where these modules are missing."""
    hidden = f"import runpy, sys\nfor name in {names!r}: sys.modules[name] = None\nsys.argv = ['metarim', *{then!r}]\n"
    code = hidden + "runpy.run_module('metarim_lite', run_name='__main__')"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", check=False)


def test_the_doctor_also_comes_where_nothing_else_runs():
    done = without(["torch", "tyro", "numpy", "platformdirs", "minigrid"], ["doctor"])
    assert done.returncode == 1 and done.stderr == ""
    assert "cannot be looked at without torch" in done.stdout and "✓ python" in done.stdout
    assert done.stdout.rstrip().endswith("Mend the lines with ✗ first.")
    other = without(["torch"], ["evaluate", "meta-rim-gotolocal"])
    assert other.returncode == 1 and other.stderr.startswith("metarim: ") and other.stderr.count("\n") == 1
    assert "run metarim doctor" in other.stderr


def test_an_import_without_torch_says_where_help_is():
    code = "import sys; sys.modules['torch'] = None\nimport metarim_lite as ml\nml.train"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "to see why, run: metarim doctor" in done.stderr.splitlines()[-1]


def test_a_terminal_without_ticks_gets_words(monkeypatch):
    class Old:
        encoding = "cp1252"

    monkeypatch.setattr(sys, "stdout", Old())
    assert [module._shown(mark) for mark in (GOOD, NOTE, BAD)] == ["ok", "!", "NO"]
