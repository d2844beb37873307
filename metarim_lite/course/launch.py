"""Where the course lives. Its address and version stand in pyproject.toml alone; what a notebook needs to start
elsewhere follows from them: links that launch it, and its first cell.

    [project.urls]
    Repository = "https://github.com/OWNER/NAME"

While no address stands there, there are no links, and the first cell says what to set.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError
from ..files import read_text

BRANCH = "main"

INSTALL = """\
# Installs what is missing.
# (On Colab, say. It leaves torch, numpy and ipywidgets as they are, and does nothing elsewhere.)
import importlib.util, pathlib, subprocess, sys, tempfile
from importlib import metadata

REPOSITORY = "{address}"
if importlib.util.find_spec("metarim_lite") is None:
    if not REPOSITORY:
        raise ModuleNotFoundError(
            "metarim_lite is not installed: in a clone of its repository run "
            "pip install -e '.[lab]', or write the repository's address into REPOSITORY above "
            "(into all notebooks: set Repository under [project.urls] in pyproject.toml, then run "
            "metarim build)"
        )
    there = filter(importlib.util.find_spec, ("torch", "numpy", "ipywidgets"))
    constraints = pathlib.Path(tempfile.mkdtemp(), "kept.txt")
    kept = "".join(f"{{name}}=={{metadata.version(name)}}\\n" for name in there)
    constraints.write_text(kept, encoding="utf-8")
    source = "git+" + REPOSITORY if REPOSITORY.startswith("http") else REPOSITORY
    pip = [sys.executable, "-m", "pip", "install", "-q", "-c", str(constraints), source]
    done = subprocess.run(pip, capture_output=True, text=True)
    if done.returncode:
        why = done.stderr.strip()[-400:]
        raise ModuleNotFoundError(f"metarim_lite was not installed from {{REPOSITORY}}: {{why}}")
    importlib.invalidate_caches()
    print("installed metarim_lite", metadata.version("metarim-lite"))"""


class Home(NamedTuple):
    """Where a copy of the repository says that it lives. `address` is None while nobody has set one."""

    address: str | None
    version: str


def home(root: Path) -> Home:
    """What pyproject.toml in `root` says; without one (a lesson of somebody's own) there is no address.

    Raises:
        UserError: the address is not one that a browser could open.
    """
    try:
        project = tomllib.loads(read_text(root / "pyproject.toml"))["project"]
    except FileNotFoundError:
        return Home(None, "")
    address = project.get("urls", {}).get("Repository")
    if address is not None and not re.fullmatch(r"https://[\w.-]+(/[\w.-]+){2,}", address):
        raise UserError(f"Repository in pyproject.toml is {address!r}; write it as https://github.com/OWNER/NAME")
    return Home(address and address.removesuffix(".git"), project["version"])


def install_cell(address: str | None) -> str:
    """The first code of every notebook, below its title. Also a wheel or a folder will do for an address."""
    return INSTALL.format(address=address or "")


def launch_links(address: str | None, notebook: str) -> str:
    """Markdown with a link for each service that opens `notebook` (folder/file.ipynb); nothing without an address.

    Both services read public repositories on GitHub; for other places there are no links.
    """
    found = re.fullmatch(r"https://github\.com/([^/]+/[^/]+)", address or "")
    if not found:
        return ""
    colab = f"https://colab.research.google.com/github/{found[1]}/blob/{BRANCH}/{notebook}"
    binder = f"https://mybinder.org/v2/gh/{found[1]}/{BRANCH}?urlpath=lab/tree/{notebook}"
    return (
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab}) "
        f"[![Open in Binder](https://mybinder.org/badge_logo.svg)]({binder})"
    )
