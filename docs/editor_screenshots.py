"""Takes docs/editor.png and docs/editor-phone.png of the editor with the default model.

    python docs/editor_screenshots.py

Needs the extra `test`, `dvc pull` and Debian's chromium.
"""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "tests"))

from chromium import chromium  # noqa: E402 - found by the path above

if TYPE_CHECKING:
    from playwright.sync_api import Page

EDITS = {"Smiling": 1.2, "Eyeglasses": 1.0}


def prepare(page: "Page", address: str) -> None:
    """A second face, some edits, and everything drawn."""
    page.goto(address)
    page.get_by_label("Example 6").click()
    page.get_by_label("Second face").click()
    page.get_by_label("Example 3", exact=True).click()
    page.locator("#morph").fill("0.3")
    for name, alpha in EDITS.items():
        page.locator(f"[data-attribute={name}]").fill(str(alpha))
    page.evaluate("document.activeElement.blur()")
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(300)


def main() -> None:
    """Starts the editor, looks at it twice, ends it."""
    command = [sys.executable, "-m", "glow", "editor", "--port", "0"]
    server = subprocess.Popen(command, cwd=DOCS.parent, stdout=subprocess.PIPE, text=True)
    address = server.stdout.readline().split()[4]
    try:
        with chromium() as browser:
            desktop = browser.new_page(viewport={"width": 1120, "height": 1000})
            prepare(desktop, address)
            desktop.screenshot(path=DOCS / "editor.png")
            phone = browser.new_page(
                viewport={"width": 360, "height": 720},
                device_scale_factor=2,
                is_mobile=True,
                has_touch=True,
                color_scheme="dark",
            )
            prepare(phone, address)
            phone.locator("#reset").scroll_into_view_if_needed()
            phone.evaluate("document.querySelector('#attributes').scrollIntoView({block: 'end'})")
            phone.wait_for_timeout(200)
            phone.screenshot(path=DOCS / "editor-phone.png")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
