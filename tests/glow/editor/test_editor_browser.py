"""The page in a real browser: upload, sliders, morph, undo, downloads, keys, a phone."""

from __future__ import annotations

import base64
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
from waiting import wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, FilePayload, Page, Route

pytestmark = pytest.mark.server

DRAWN = "before => document.querySelector('#face').toDataURL() !== before"
IS = "wanted => document.querySelector('#face').toDataURL() === wanted"
OPAQUE = """
canvas => {
  const pixel = document.querySelector(canvas).getContext('2d').getImageData(0, 0, 1, 1);
  return pixel.data[3] === 255;
}
"""
BOTH_SHOW_IT = """
(face => face.toDataURL() === document.querySelector('#slot-a canvas').toDataURL())(
  document.querySelector('#face'))
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if reason := missing():
        pytest.skip(reason)
    with chromium() as browser:
        yield browser


def until(page: Page, script: str, argument: object = None) -> None:
    """Waits; Playwright's own way is forbidden by the page's policy against eval."""
    wait_for(lambda: page.evaluate(script, argument), script)


@pytest.fixture
def opened(browser: Browser, editor: Editor) -> Iterator[Callable[..., Page]]:
    """Opens the page, its first face drawn; in the end, no page has reported an error."""
    errors: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            errors.append(message.text)

    def open_page(**options: Any) -> Page:  # noqa: ANN401
        page = browser.new_context(**options).new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", listen)
        page.goto(editor.address)
        for canvas in ("#face", "#slot-a canvas", "#examples button:last-child canvas"):
            until(page, OPAQUE, canvas)
        return page

    yield open_page
    assert errors == []
    for context in browser.contexts:
        context.close()


def face(page: Page) -> str:
    return str(page.evaluate("document.querySelector('#face').toDataURL()"))


def after(page: Page, act: Callable[[], object]) -> str:
    """The face that an act changes it to."""
    before = face(page)
    act()
    until(page, DRAWN, before)
    return face(page)


def move(page: Page, slider: str, value: float) -> None:
    page.locator(slider).fill(str(value))


def chosen_file(name: str, content: bytes) -> FilePayload:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


def downloaded(page: Page, button: str) -> bytes:
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    return Path(download.value.path()).read_bytes()


def test_upload_slide_undo_morph_and_download(opened: Callable[..., Page]) -> None:
    page = opened()
    page.set_input_files("#image-file", chosen_file("me.png", picture()))
    until(page, "document.querySelector('#status').textContent.includes('bits per')")
    assert "1.25 for test images" in page.inner_text("#status")
    until(page, "document.querySelector('#slot-a canvas').width === 16")
    plain = downloaded(page, "Save PNG")
    squares = pixels_of(plain)
    assert squares.shape == (512, 512, 3)
    np.testing.assert_array_equal(squares[::32, ::32], pixels_of(picture()))

    uploaded = face(page)
    smiling = after(page, lambda: move(page, "[data-attribute=Smiling]", 1.5))
    page.get_by_role("button", name="Undo").click()
    until(page, IS, uploaded)
    assert page.input_value("[data-attribute=Smiling]") == "0"
    page.keyboard.press("Control+y")
    until(page, IS, smiling)

    page.get_by_label("Second face").click()
    end = after(page, page.get_by_label("Example 2", exact=True).click)
    middle = after(page, lambda: move(page, "#morph", 0.5))
    assert len({smiling, middle, end}) == 3
    until(page, IS, middle)
    moving = Image.open(io.BytesIO(downloaded(page, "Save GIF")))
    assert (moving.format, moving.size, moving.n_frames) == ("GIF", (256, 256), 46)

    settings = downloaded(page, "Save settings")
    assert json.loads(settings)["edits"] == {"Smiling": 1.5}
    other = opened()  # another session, which has never seen the upload
    other.set_input_files("#json-file", chosen_file("face.json", settings))
    until(other, IS, middle)
    assert page.context.cookies() == []


def test_names_are_text_and_no_properties_of_objects(opened: Callable[..., Page]) -> None:
    page = opened()
    called = page.locator("#attributes span").all_text_contents()
    proto = ["  proto  ", "a b", "a_b", "Constructor", "X" + 59 * "x"]
    assert called == ["<b>x</b>", "Curly hair", "Smiling", *proto]
    first = face(page)
    assert page.input_value("[data-attribute=constructor]") == "0"
    assert page.input_value("[data-attribute=__proto__]") == "0"
    moved = after(page, lambda: move(page, "[data-attribute=__proto__]", 1.5))
    settings = downloaded(page, "Save settings")
    assert b'"__proto__": 1.5' in settings
    page.get_by_role("button", name="Undo").click()
    until(page, IS, first)
    page.set_input_files("#json-file", chosen_file("face.json", settings))
    until(page, IS, moved)


def test_settings_of_other_weights_are_refused_where_these_draw_other_faces(
    opened: Callable[..., Page],
) -> None:
    page = opened()
    first = face(page)
    settings = json.loads(downloaded(page, "Save settings"))
    assert len(settings["weights"]) == 64
    assert settings["model"] == "abc"

    def load(**changes: object) -> str:
        content = json.dumps({**settings, **changes}).encode()
        page.evaluate("document.querySelector('#status').textContent = ''")
        page.set_input_files("#json-file", chosen_file("face.json", content))
        until(page, "document.querySelector('#status').textContent.includes('oaded')")
        return page.inner_text("#status")

    assert load() == "Settings are loaded."
    edits = {"Smiling": 1.0}
    said = load(weights="0" * 64, edits=edits)
    assert "drawn by another model (weights 000000000000)" in said
    assert face(page) == first
    uploaded = base64.b64encode(picture()).decode()
    said = load(weights="0" * 64, a={"png": uploaded, "label": None}, edits=edits)
    assert said == "Settings are loaded; they were made with another model."
    del settings["weights"]
    assert "do not say of which weights" in load()
    assert "drawn by another model (def)" in load(model="def")


def test_it_says_what_is_wrong_and_goes_on(opened: Callable[..., Page]) -> None:
    page = opened()
    wrong = page.locator("#status.wrong")
    page.set_input_files("#image-file", chosen_file("face.png", b"<svg></svg>"))
    wrong.wait_for()
    assert "cannot be used: expected a PNG, JPEG or WebP image" in wrong.inner_text()
    page.set_input_files("#json-file", chosen_file("face.json", b'{"format": "other"}'))
    until(
        page, "document.querySelector('#status').textContent.includes('not saved by this editor')"
    )
    after(page, page.get_by_role("button", name="New face").click)
    assert wrong.count() == 0


def test_a_session_that_ended_is_begun_again_with_the_same_images(
    opened: Callable[..., Page],
) -> None:
    page = opened()
    ended: list[str] = []

    def forget(route: Route) -> None:
        if ended:
            route.continue_()
        else:
            ended.append(route.request.url)
            route.fulfill(status=410, json={"error": "this session has ended"})

    page.set_input_files("#image-file", chosen_file("me.png", picture(5)))
    until(page, "document.querySelector('#status').textContent.includes('bits per')")
    until(page, BOTH_SHOW_IT)
    page.route("**/api/face", forget)
    with page.expect_request("**/api/upload"):  # of what the page has kept
        after(page, lambda: move(page, "[data-attribute=Smiling]", 1.0))
    assert ended


def test_keys_move_the_sliders_and_the_phone_fits(opened: Callable[..., Page]) -> None:
    page = opened(
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
    until(page, IS, first)
    page.keyboard.press("Control+z")
    until(page, IS, moved)
    page.evaluate("document.querySelector('#attributes').scrollIntoView({block: 'end'})")
    assert page.evaluate("scrollY") > 0
    box = page.locator("#face").bounding_box()  # stays in sight
    assert box["y"] >= 0
    assert box["y"] + box["height"] < 640
    page.keyboard.press("?")
    assert page.get_by_role("dialog", name="Keyboard shortcuts").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    until(page, DRAWN, moved)
