"""The README's Python runs as printed (with less training), and its commands exist."""

import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_python_in_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL))
    assert "frames=2_000_000" in code
    names = {}
    exec(code.replace("frames=2_000_000", "frames=10_000, num_envs=16, steps=20, train_levels=50"), names)  # noqa: S102
    assert (tmp_path / "replay.html").exists() and (tmp_path / "runs" / "mine" / "agent.safetensors").exists()


def test_every_command_in_the_readme_exists():
    from metarim_lite.cli import COMMANDS

    used = set(re.findall(r"^    metarim ([a-z-]+)", README, flags=re.MULTILINE))
    assert used and used <= set(COMMANDS)
    targets = set(re.findall(r"^    make ([a-z]+)", README, flags=re.MULTILINE))
    makefile = (Path(__file__).parent.parent / "Makefile").read_text()
    assert targets and all(re.search(rf"^{t}:", makefile, flags=re.MULTILINE) for t in targets)


def test_pictures_in_the_readme_exist():
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (Path(__file__).parent.parent / path).is_file(), path


def test_the_readme_names_every_method():
    from metarim_lite.training import METHODS

    assert set(METHODS) <= set(re.findall(r"`([a-z-]+)`", README))
