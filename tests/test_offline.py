"""After installation nothing needs a network: with sockets closed, lessons' code runs, training and looking too."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CLOSED = """
import socket
def closed(*args, **kwargs):
    raise OSError("the network is cut")
socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = closed
"""
LESSONS = sorted((ROOT / "notebooks").glob("00_*.ipynb"))  # the quickest; the others call what USES calls
USES = """
import io, contextlib, sys
import metarim_lite as ml
from metarim_lite.cli import _read
bank = ml.LevelBank.generate("BabyAI-GoToObjS6-v1", seeds=range(8))
run = ml.train(ml.TrainConfig(method="meta-rim", level="BabyAI-GoToObjS6-v1", frames=320, num_envs=16, steps=20,
                              train_levels=8), folder="run")
ml.Trace.record(run.agent, bank, level=0, seed=0).to_html("replay.html")
ml.Stepper("BabyAI-GoToObjS6-v1").buttons["left"].click()
ml.XRay(ml.Trace.record(run.agent, bank, level=0, seed=0))
_read(["report", "run"])()
_read(["study", "adding", "--shipped"])()
"""


def run_closed(code, folder):
    return subprocess.run(
        [sys.executable, "-c", CLOSED + code], cwd=folder, capture_output=True, text=True, encoding="utf-8",
        env=os.environ | {"MPLBACKEND": "agg"}, check=False,
    )  # fmt: skip


def test_the_network_is_cut_in_these_tests():
    done = run_closed("import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9')", ROOT)
    assert "the network is cut" in done.stderr


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs_with_the_network_cut(lesson, tmp_path):
    """Its code, cell by cell as IPython runs it; a kernel would need sockets of its own."""
    cells = [cell for cell in json.loads(lesson.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    sources = ["".join(cell["source"]) for cell in cells]
    code = f"""
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for source in {sources!r}:
    result = shell.run_cell(source)
    result.raise_error()
print("\\nran", {len(sources)}, "cells")
"""
    done = run_closed(code, tmp_path)
    assert done.returncode == 0 and f"ran {len(sources)} cells" in done.stdout, (
        done.stdout[-1000:] + done.stderr[-1000:]
    )


def test_training_looking_and_reporting_need_no_network(tmp_path):
    done = run_closed(USES, tmp_path)
    assert done.returncode == 0, done.stderr


def test_pages_and_pictures_load_nothing_from_elsewhere():
    """No address that a program would open is in the package's code, but in comments, and in links to be clicked."""
    openers = ("urlopen(", "requests.get", "urlretrieve", "http.client", "load_state_dict_from_url", "hf_hub_download")
    for path in (ROOT / "metarim_lite").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not [opener for opener in openers if opener in text], path
