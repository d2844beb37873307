"""Binder installs the tested torch, once: another version there would be replaced by a build for GPUs."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_binder_asks_for_the_constrained_torch_from_the_cpu_index():
    constrained = re.search(r"^torch==.*$", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE)
    wanted = (ROOT / "binder" / "requirements.txt").read_text()
    assert constrained and constrained.group() in wanted.splitlines()
    assert "--extra-index-url https://download.pytorch.org/whl/cpu" in wanted.splitlines()
    assert "-c constraints.txt" in (ROOT / "binder" / "postBuild").read_text()
