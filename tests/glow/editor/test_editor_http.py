"""The editor over HTTP: faces, edits, morphs, and what it says of the model."""

import base64
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from asking import Editor, drawn, picture, pixels_of
from PIL import Image

from glow.apps.actions import Actions

pytestmark = pytest.mark.server

PROTO = ["__proto__", "a b", "a_b", "constructor", "x" * 60]


@pytest.fixture(scope="module")
def actions(model: Path) -> Actions:
    return Actions.load(model)


def test_it_says_what_model_and_data_it_is(editor: Editor) -> None:
    about = editor.http.get("/api/about").json()
    assert about["fingerprint"] == "abc"
    assert about["test"]["bits_per_dim"] == 1.25
    assert about["data"] == {"source": "folder", "credit": "by Ada", "count": 4321}
    assert about["attributes"] == ["<b>x</b>", "Curly_Hair", "Smiling", *PROTO]


def test_a_drawn_face_is_the_seeds_and_the_temperatures(editor: Editor, actions: Actions) -> None:
    expected = actions.sample(1, None, temperature=0.7, seed=3)[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(editor.face(drawn(3)), expected)
    assert (editor.face(drawn(3, 0.6)) != expected).any()
    assert (editor.face(drawn(4)) != expected).any()


def test_an_upload_comes_back_as_the_very_pixels_until_it_is_edited(
    editor: Editor, actions: Actions
) -> None:
    file = picture()
    answer = editor.upload(file).json()
    pixels = pixels_of(file)
    np.testing.assert_array_equal(pixels_of(base64.b64decode(answer["png"])), pixels)
    base = {"upload": answer["upload"]}
    np.testing.assert_array_equal(editor.face(base), pixels)

    levels = torch.from_numpy(pixels >> 3).permute(2, 0, 1)[None]
    score = actions.score(levels, None, n_dequantizations=1, seed=0)
    assert answer["bits_per_dim"] == pytest.approx(score.bits_per_dim.item())
    edited = actions.edit(levels, None, amounts={"Smiling": 0.5}, seed=0)
    expected = edited[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(editor.face(base, edits={"Smiling": 0.5}), expected)
    assert (expected != pixels).any()


def test_sliders_add_up_whatever_their_order(editor: Editor) -> None:
    both = editor.face(drawn(0), edits={"Smiling": 1.0, "Curly_Hair": -0.5})
    np.testing.assert_array_equal(
        editor.face(drawn(0), edits={"Curly_Hair": -0.5, "Smiling": 1.0}), both
    )
    assert (editor.face(drawn(0), edits={"Smiling": 1.0}) != both).any()
    np.testing.assert_array_equal(
        editor.face(drawn(0), edits={"Smiling": 0.0}), editor.face(drawn(0))
    )


def test_a_morph_goes_from_one_face_to_the_other(editor: Editor) -> None:
    at = {t: editor.face(drawn(0), other=drawn(1), morph=t) for t in (0.0, 0.5, 1.0)}
    np.testing.assert_array_equal(at[0.0], editor.face(drawn(0)))
    np.testing.assert_array_equal(at[1.0], editor.face(drawn(1)))
    assert (at[0.5] != at[0.0]).any()
    assert (at[0.5] != at[1.0]).any()
    moving = editor.ask("morph", json={"base": drawn(0), "other": drawn(1), "scale": 4})
    gif = Image.open(io.BytesIO(moving.content))
    assert (gif.format, gif.size) == ("GIF", (64, 64))
    assert gif.n_frames == 46  # 24 there, 22 back: the ends are not repeated
    colours = np.abs(np.asarray(gif.convert("RGB"))[::4, ::4].astype(int) - at[0.0])
    assert colours.mean() < 4.0  # of 256 colours


def test_a_large_picture_is_the_small_one_in_squares(editor: Editor) -> None:
    large = editor.face(drawn(0), scale=3)
    np.testing.assert_array_equal(large, editor.face(drawn(0)).repeat(3, 0).repeat(3, 1))


@pytest.mark.parametrize(
    ("look", "says"),
    [
        ("[", "Invalid JSON"),
        ({}, "base"),
        ({"base": drawn(-1)}, "greater than or equal to 0"),
        ({"base": drawn(0, 9.0)}, "less than or equal to 2"),
        ({"base": drawn(0), "morph": 1.5}, "less than or equal to 1"),
        (
            {"base": drawn(0), "edits": {"Wings": 1.0}},
            "expected one of <b>x</b>, Curly_Hair, Smiling",
        ),
        ({"base": drawn(0), "edits": {"Smiling": 99.0}}, "less than or equal to 4"),
        ('{"base": {"seed": 0, "temperature": NaN}}', "temperature"),
        ({"base": drawn(0), "scale": 65}, "less than or equal to 64"),
        ({"base": {**drawn(0), "label": "cat"}}, "the model has no classes"),
        ({"base": drawn(0), "sides": 3}, "Extra inputs"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_a_line(
    editor: Editor, look: dict[str, Any] | str, says: str
) -> None:
    request: dict[str, Any] = {"content": look} if isinstance(look, str) else {"json": look}
    answer = editor.ask("face", **request)
    assert answer.status_code == 400
    assert says in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_two_sessions_do_not_mix(editor: Editor) -> None:
    key = editor.upload(picture()).json()["upload"]
    other = editor.another()
    answer = other.ask("face", json={"base": {"upload": key}})
    assert answer.status_code == 410
    assert "upload it again" in answer.json()["error"]
    stranger = editor.http.post("/api/face", json={"base": drawn(0)})
    assert stranger.status_code == 410
    assert "session" in stranger.json()["error"]


def test_many_at_once_are_answered_as_one_alone(editor: Editor) -> None:
    alone = {seed: editor.face(drawn(seed)) for seed in range(4)}

    def visit(seed: int) -> bool:
        visitor = editor.another()
        own = visitor.upload(picture(seed)).json()["upload"]
        return all(
            np.array_equal(visitor.face(drawn(seed)), alone[seed])
            and np.array_equal(visitor.face({"upload": own}), pixels_of(picture(seed)))
            for _ in range(5)
        )

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(visit, range(4)))


def test_its_own_page_is_served_under_a_strict_policy(editor: Editor) -> None:
    own = editor.http.post("/api/session", headers={"Origin": editor.address})
    assert own.status_code == 200
    for path in ("/", "/editor.js", "/editor.css", "/icon.svg", "/api/about", "/none"):
        answer = editor.http.get(path)
        assert answer.status_code == (404 if path == "/none" else 200)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "set-cookie" not in answer.headers
