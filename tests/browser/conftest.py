"""A real browser, and a JupyterLab of its own. `make test-browser` runs these tests; elsewhere they are skipped with a
reason."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

REPOSITORY = Path(__file__).parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
TOKEN = "tests"
HARMLESS = ("favicon",)  # of a server's pages, not of ours
KERNEL_WAITS = """() => { const book = window.jupyterapp && window.jupyterapp.shell.currentWidget;
  return book && book.sessionContext && book.sessionContext.session && book.sessionContext.session.kernel &&
    book.sessionContext.session.kernel.status === "idle" &&
    window.jupyterapp.commands.isEnabled("notebook:run-all-cells"); }"""


def why_not() -> str:
    """Why there is no browser to test in; empty: there is one."""
    if os.environ.get("METARIM_BROWSER") != "1":
        return "needs a browser: make test-browser"
    if CHROMIUM is None:
        return "no Chromium on this machine; on Debian: apt-get install chromium"
    try:
        import playwright  # noqa: F401
    except ImportError:
        return "playwright is not installed; make test-browser installs it"
    return ""


def pytest_collection_modifyitems(items):
    reason = why_not()
    here = Path(__file__).parent
    for item in items:
        if reason and here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Lab:
    """A running JupyterLab with copies of the lessons, and room for other notebooks. It writes into `folder` alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for lesson in sorted((REPOSITORY / "notebooks").glob("*.ipynb")):
            shutil.copy(lesson, folder)
        shutil.copytree(REPOSITORY / "notebooks" / "images", folder / "images")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        news = folder / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
        news.parent.mkdir(parents=True)
        news.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
        own = {
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTERLAB_WORKSPACES_DIR": str(folder / "spaces"),
            "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
            "METARIM_CACHE": str(folder / "levels"),
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]),
        }
        words = ["-m", "jupyterlab", "--expose-app-in-browser", "--no-browser", "--allow-root", f"--port={self.port}"]
        words += [f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}"]
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen([sys.executable, *words], env=os.environ | own, stdout=log, stderr=log)
        for _ in range(480):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.25)
        raise TimeoutError((folder / "log").read_text())

    def add(self, name: str, cells: list[str]) -> None:
        """A notebook of these cells."""
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(book, self.folder / f"{name}.ipynb")

    def open(self, browser, name: str) -> "Opened":
        """A page that shows this notebook, not run yet."""
        page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        opened = Opened(page)
        page.goto(f"http://127.0.0.1:{self.port}/doc/tree/{name}.ipynb?token={TOKEN}&reset", timeout=120_000)
        page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=120_000)
        page.wait_for_function(KERNEL_WAITS, timeout=120_000)
        return opened


class Opened:
    """A notebook in a page, and all that went wrong there."""

    def __init__(self, page) -> None:
        self.page, self.all_errors = page, []
        page.on("pageerror", lambda error: self.all_errors.append(str(error)))
        page.on("console", lambda said: self.all_errors.append(said.text) if said.type == "error" else None)

    @property
    def errors(self):
        return [error for error in self.all_errors if not any(word in error for word in HARMLESS)]

    def command(self, name: str, **values) -> None:
        """One of JupyterLab's own commands, without waiting for its end."""
        call = "([name, values]) => { window.jupyterapp.commands.execute(name, values); }"
        self.page.evaluate(call, [name, values])

    def dress(self, size: tuple[int, int], theme: str) -> None:
        """The page in another size, and in another theme."""
        self.page.set_viewport_size({"width": size[0], "height": size[1]})
        self.command("apputils:change-theme", theme=f"JupyterLab {theme.capitalize()}")
        light = "true" if theme == "light" else "false"
        self.page.wait_for_selector(f"body[data-jp-theme-light={light}]", state="attached", timeout=30_000)

    def run_all(self) -> None:
        """Run every cell, and wait until the kernel is idle again."""
        done = self.page.evaluate(
            """() => Promise.race([
                window.jupyterapp.commands.execute("notebook:run-all-cells").then(() => "done"),
                new Promise(late => setTimeout(() => late("not done in ten minutes"), 600000))])"""
        )
        assert done == "done"

    def close(self) -> None:
        self.page.evaluate("() => window.jupyterapp.commands.execute('kernelmenu:shutdown')")
        self.page.context.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("lab"))
    yield lab
    lab.process.terminate()
    lab.process.wait()
