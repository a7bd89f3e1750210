"""Hostile uploads: a friendly message, and the server goes on."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator

import pytest
from asking import Editor, drawn, picture
from PIL import Image

pytestmark = pytest.mark.server
MIB = 2**20


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(width: int, height: int, *, before: bytes = b"") -> bytes:
    """A grey PNG whose header promises a size, with zeros for a million pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(10**6))
    body = chunk(b"IHDR", header) + before + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def text_bomb() -> bytes:
    """A small picture with a comment of 100 MB, packed into 100 KB."""
    comment = b"Comment\0\0" + zlib.compress(bytes(100 * MIB))
    return png(64, 64, before=chunk(b"zTXt", comment))


def wide() -> bytes:
    """A whole PNG, 20,000 pixels wide."""
    file = io.BytesIO()
    Image.new("L", (20_000, 1000)).save(file, "PNG")
    return file.getvalue()


def renamed_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("face.png", picture())
    return file.getvalue()


def truncated_jpeg() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((256, 256), 64).save(file, "JPEG")
    return file.getvalue()[:2000]


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HOSTILE: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "decompression bomb": (lambda: png(50_000, 50_000), 400, "expected a smaller image"),
    "less of a bomb": (lambda: png(8000, 8000), 400, "at most 32000000 pixels"),
    "20,000 pixels wide": (wide, 400, "at most 16000 pixels a side, came 20000x1000"),
    "svg": (lambda: SVG, 400, "expected a PNG, JPEG or WebP image"),
    "renamed zip": (renamed_zip, 400, "expected a PNG, JPEG or WebP image"),
    "0 bytes": (lambda: b"", 400, "came an empty file"),
    "truncated JPEG": (truncated_jpeg, 400, "expected a whole image"),
    "too few rows": (lambda: png(2000, 2000), 400, "expected a whole image"),
    "17 MiB": (lambda: bytes(17 * MIB), 413, "at most 16,777,216 bytes"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_upload_is_refused_and_the_server_goes_on(editor: Editor, name: str) -> None:
    make, status, says = HOSTILE[name]
    answer = editor.upload(make())
    assert answer.status_code == status
    assert says in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    assert editor.face(drawn(0)).shape == (16, 16, 3)


def test_a_comment_of_100_mb_is_left_packed_and_the_picture_is_taken(editor: Editor) -> None:
    assert editor.upload(text_bomb()).status_code == 200


def test_a_body_that_hides_its_size_is_read_up_to_the_bound(editor: Editor) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(17):
            yield bytes(MIB)

    answer = editor.ask("upload", content=endless())
    assert answer.status_code == 413
    assert "came more" in answer.json()["error"]
    assert editor.upload(picture()).status_code == 200


def test_only_the_newest_uploads_of_a_session_are_kept(editor: Editor) -> None:
    visitor = editor.another()
    keys = [visitor.upload(picture(seed)).json()["upload"] for seed in range(17)]
    first = visitor.ask("face", json={"base": {"upload": keys[0]}})
    assert first.status_code == 410
    assert visitor.face({"upload": keys[1]}).shape == (16, 16, 3)
