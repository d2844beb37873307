"""A real browser. `make test-browser` runs these tests; elsewhere they are skipped with a reason."""

import os
import shutil
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


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
