"""What README.md and CONTRIBUTING.md print is true: their Python runs (with less training), their commands take the
words that are printed, cheap ones run; files and links are there.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from metarim_lite.cli import COMMANDS, _read
from metarim_lite.course import readme
from metarim_lite.experiments.conditions import CONDITIONS, training_condition
from metarim_lite.experiments.meta_shipped import shipped_rows

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")


def commands(text):
    """Every command in an indented line or `backticks`, as words without the comment."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    lines = re.findall(r"^    ((?:metarim|make|torchrun) .+)$", text, re.MULTILINE)
    lines += [" ".join(found.split()) for found in re.findall(r"`((?:metarim|make|pip|python)\s[^`]+)`", text)]
    return [shlex.split(line.split("  #")[0], comments=True) for line in lines]


ALL = commands(README) + commands(CONTRIBUTING)
OURS = [words for words in ALL if words[0] == "metarim" and words[1] != "COMMAND"]
OURS += [["metarim", *words[words.index("metarim_lite.cli") + 1 :]] for words in ALL if words[0] == "torchrun"]
OURS = [list(words) for words in dict.fromkeys(map(tuple, OURS))]
CHEAP = [["metarim", "doctor"], ["metarim", "exercises", "--json"], ["metarim", "study", "copying", "--shipped"]]
STAND_INS = {"AGENT": "meta-rim-gotolocal", "NOTEBOOK": "exercises/03_attention_bottlenecks.ipynb", "NN": "03"}


def test_the_python_in_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL))
    assert "frames=2_000_000" in code
    names = {}
    exec(code.replace("frames=2_000_000", "frames=10_000, num_envs=16, steps=20, train_levels=50"), names)  # noqa: S102
    assert (tmp_path / "replay.html").exists() and (tmp_path / "runs" / "mine" / "agent.safetensors").exists()


def test_the_python_in_contributing_runs(tmp_path):
    """In a process of its own: it registers a level, a method and an exercise."""
    blocks = re.findall(r"```python\n(.*?)```", CONTRIBUTING, flags=re.DOTALL)
    assert len(blocks) == 3
    look = "worlds = ml.GridWorlds(bank, 1)\nworlds.reset()\nprint(worlds.mission_text(0))"
    code = "\n".join(["import metarim_lite as ml", *blocks, look])
    (tmp_path / "code.py").write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, "code.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "go to the blue key"


def test_every_command_is_one_that_there_is():
    assert len(OURS) > 20 and {words[1] for words in OURS} <= set(COMMANDS)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {words[1] for words in ALL if words[0] == "make"}
    assert {"demo", "test", "lab", "setup", "check"} <= targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_from_where_jupyter_is_started_the_exercises_can_be_reached(monkeypatch):
    """Started in notebooks/, a server shows nothing beside it, and every link to exercises/ is dead."""
    serverapp = pytest.importorskip("jupyter_server.serverapp")
    monkeypatch.chdir(ROOT)
    starts = re.findall(r"jupyter lab[^`\n]*", README + (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert len(starts) == 2
    for start in starts:
        server = serverapp.ServerApp()
        server.parse_command_line(shlex.split(start)[2:])
        assert Path(server.root_dir).resolve() == ROOT.resolve(), start


@pytest.mark.parametrize("words", [words for words in OURS if len(words) > 2], ids=" ".join)
def test_every_command_takes_the_words_that_are_printed(words, tmp_path, monkeypatch):
    """Parsed to the last word; nothing is started. The config file that one of them reads is put there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "config.toml").write_text('method = "rim"\n', encoding="utf-8")
    given = [STAND_INS.get(word, word) for word in words[1:]]
    assert callable(_read(given))


@pytest.mark.parametrize("words", CHEAP, ids=" ".join)
def test_what_is_cheap_is_run(words):
    assert words in OURS
    command = [sys.executable, "-m", "metarim_lite", *words[1:]]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.stdout and (done.returncode == 0 or words[1] == "doctor"), done.stderr


@pytest.mark.parametrize(
    ("text", "folder"), [(README, ROOT), (CONTRIBUTING, ROOT / ".github")], ids=["README", "CONTRIBUTING"]
)
def test_links_and_files_are_there(text, folder):
    for path in re.findall(r"\]\(([^)]+)\)", text):
        assert path.startswith("https://") or (folder / path).is_file(), path
    for path in re.findall(r"`((?:metarim_lite|tests|notebooks|exercises|solutions|binder)/[\w./-]*)`", text):
        assert re.search("NN|lessonN", path) or (ROOT / path).exists(), path


def test_the_readme_names_every_method():
    from metarim_lite.training import METHODS

    assert set(METHODS) <= set(re.findall(r"`([a-z-]+)`", README))


def test_no_host_of_packages_is_named_but_pytorch_s_for_cpus():
    """A mirror that one of us uses would fail everybody else."""
    tracked = [p for p in ROOT.rglob("*") if p.suffix in (".py", ".toml", ".txt", ".md", ".sh", "") and p.is_file()]
    folders = {"notebooks", "metarim_lite", "exercises", "solutions", "tests", "binder", ".github", ".ci"}
    ours = [p for p in tracked if p.parent == ROOT or p.relative_to(ROOT).parts[0] in folders]
    for path in ours:
        text = path.read_text(encoding="utf-8", errors="ignore")
        for found in re.findall(r"--(?:extra-)?index-url[= ]+(\S+)|--find-links[= ]+(\S+)", text):
            url = next(filter(None, found)).strip('`"')
            assert url == "https://download.pytorch.org/whl/cpu" or path == Path(__file__), (path, url)
        hosts = re.findall(r"https?://[\w.-]*(?:pypi|mirror|conda|anaconda|artifactory|nexus)[\w.-]*", text)
        assert not hosts or path == Path(__file__), (path, hosts)


def test_claims_that_wait_for_runs_are_named(monkeypatch):
    assert "Too few runs" not in readme.results(ROOT)
    rows = [row for row in shipped_rows() if not row["setting"].startswith("rim,")]
    monkeypatch.setattr(readme, "shipped_rows", lambda: rows)
    assert "over seeds. Too few runs for a verdict: claim 11.\n" in readme.results(ROOT)
    rows = [row for row in rows if not row["setting"].startswith("meta-rim,")]
    assert "Too few runs for a verdict: claim 11, claim 12.\n" in readme.results(ROOT)


def test_where_the_study_was_made_is_said_with_what_it_builds_on():
    """Of agents that go on from another condition, that one is described, too, and first."""
    (where,) = [line for line in README.splitlines() if line.startswith("Where: ")]
    places = [name for name in re.findall(r"\*([\w-]+)\*: ", where) if name in CONDITIONS]
    assert len(places) >= 3
    for place in places:
        assert places.index(training_condition(place)) <= places.index(place)
