"""The page in a real browser: upload, sliders, morph, undo, downloads, keys, a phone."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from asking import Editor, picture, pixels_of
from chromium import chromium, missing
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser, FilePayload, Page, Route

pytestmark = pytest.mark.server

DRAWN = "before => document.querySelector('#face').toDataURL() !== before"
IS = "wanted => document.querySelector('#face').toDataURL() === wanted"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if reason := missing():
        pytest.skip(reason)
    with chromium() as browser:
        yield browser


def opened(browser: Browser, editor: Editor, **options: Any) -> Page:  # noqa: ANN401
    """The page, with its first face drawn; the test fails where the page reports an error."""
    page = browser.new_context(**options).new_page()
    page.set_default_timeout(20_000)
    page.on("pageerror", lambda error: pytest.fail(f"the page failed: {error}"))
    empty = "data:,"
    page.goto(editor.address)
    page.wait_for_function("document.querySelector('#face').width === 16")
    page.wait_for_function(DRAWN, arg=empty)
    page.wait_for_function("document.querySelector('#slot-a canvas').width === 16")
    return page


def face(page: Page) -> str:
    return str(page.evaluate("document.querySelector('#face').toDataURL()"))


def after(page: Page, act: Callable[[], object]) -> str:
    """The face that an act changes it to."""
    before = face(page)
    act()
    page.wait_for_function(DRAWN, arg=before)
    return face(page)


def move(page: Page, slider: str, value: float) -> None:
    page.locator(slider).fill(str(value))


def chosen_file(name: str, content: bytes) -> FilePayload:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


def downloaded(page: Page, button: str) -> bytes:
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    return Path(download.value.path()).read_bytes()


def test_upload_slide_undo_morph_and_download(browser: Browser, editor: Editor) -> None:
    page = opened(browser, editor)
    page.set_input_files("#image-file", chosen_file("me.png", picture()))
    page.wait_for_function("document.querySelector('#status').textContent.includes('bits per')")
    assert "1.25 for test images" in page.inner_text("#status")
    page.wait_for_function("document.querySelector('#slot-a canvas').width === 16")
    plain = downloaded(page, "Save PNG")
    squares = pixels_of(plain)
    assert squares.shape == (512, 512, 3)
    np.testing.assert_array_equal(squares[::32, ::32], pixels_of(picture()))

    uploaded = face(page)
    smiling = after(page, lambda: move(page, "[data-attribute=Smiling]", 1.5))
    page.get_by_role("button", name="Undo").click()
    page.wait_for_function(IS, arg=uploaded)
    assert page.input_value("[data-attribute=Smiling]") == "0"
    page.keyboard.press("Control+y")
    page.wait_for_function(IS, arg=smiling)

    page.get_by_label("Second face").click()
    end = after(page, page.get_by_label("Example 2", exact=True).click)
    middle = after(page, lambda: move(page, "#morph", 0.5))
    assert len({smiling, middle, end}) == 3
    page.wait_for_function(IS, arg=middle)
    moving = Image.open(io.BytesIO(downloaded(page, "Save GIF")))
    assert (moving.format, moving.size, moving.n_frames) == ("GIF", (256, 256), 46)

    settings = downloaded(page, "Save settings")
    assert json.loads(settings)["edits"] == {"Smiling": 1.5}
    other = opened(browser, editor)  # another session, which has never seen the upload
    other.set_input_files("#json-file", chosen_file("face.json", settings))
    other.wait_for_function(IS, arg=middle)
    assert page.context.cookies() == []


def test_it_says_what_is_wrong_and_goes_on(browser: Browser, editor: Editor) -> None:
    page = opened(browser, editor)
    wrong = page.locator("#status.wrong")
    page.set_input_files("#image-file", chosen_file("face.png", b"<svg></svg>"))
    wrong.wait_for()
    assert "cannot be used: expected a PNG, JPEG or WebP image" in wrong.inner_text()
    page.set_input_files("#json-file", chosen_file("face.json", b'{"format": "other"}'))
    page.wait_for_function(
        "document.querySelector('#status').textContent.includes('not saved by this editor')"
    )
    after(page, page.get_by_role("button", name="New face").click)
    assert wrong.count() == 0


def test_a_session_that_ended_is_begun_again_with_the_same_images(
    browser: Browser, editor: Editor
) -> None:
    page = opened(browser, editor)
    ended: list[str] = []

    def forget(route: Route) -> None:
        if ended:
            route.continue_()
        else:
            ended.append(route.request.url)
            route.fulfill(status=410, json={"error": "this session has ended"})

    page.set_input_files("#image-file", chosen_file("me.png", picture(5)))
    page.wait_for_function("document.querySelector('#status').textContent.includes('bits per')")
    page.route("**/api/face", forget)
    with page.expect_request("**/api/upload"):  # of what the page has kept
        after(page, lambda: move(page, "[data-attribute=Smiling]", 1.0))
    assert ended


def test_keys_move_the_sliders_and_the_phone_fits(browser: Browser, editor: Editor) -> None:
    page = opened(
        browser,
        editor,
        viewport={"width": 360, "height": 640},
        is_mobile=True,
        has_touch=True,
        color_scheme="dark",
    )
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    first = face(page)
    slider = page.get_by_role("slider", name="Curly hair")
    slider.focus()
    moved = after(page, lambda: page.keyboard.press("ArrowRight"))
    assert slider.input_value() == "0.05"
    page.keyboard.press("0")
    page.wait_for_function(IS, arg=first)
    page.keyboard.press("Control+z")
    page.wait_for_function(IS, arg=moved)
    page.locator("#attributes").scroll_into_view_if_needed()
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    box = page.locator("#face").bounding_box()  # stays in sight
    assert box["y"] >= 0
    assert box["y"] + box["height"] < 640
    page.keyboard.press("?")
    assert page.get_by_role("dialog", name="Keyboard shortcuts").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    page.wait_for_function(DRAWN, arg=moved)
