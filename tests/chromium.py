"""Debian's Chromium without a screen, for tests, screenshots and benchmarks of pages."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def missing() -> str | None:
    """Why there is no browser to be had, or None."""
    try:
        import playwright  # noqa: F401 - whether it is there
    except ModuleNotFoundError:
        return "needs playwright: pip install -c constraints.txt -e '.[test]'"
    return None if CHROMIUM.is_file() else "needs chromium: apt-get install chromium"


@contextmanager
def chromium() -> Iterator["Browser"]:
    """A browser; nothing is downloaded."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()
