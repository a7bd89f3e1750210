"""Five hundred broken files of twenty kinds among good ones: each is named, none is in a shard."""

import gzip
import io
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import tiny

from stages import bad_images
from stages.errors import InputError
from stages.preprocess import preprocess
from stages.shards import SPLITS, ShardSet

N_GOOD, N_EACH = 4500, 25
NOISE = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png_header(width: int, height: int, rest: bytes = b"") -> bytes:
    """A PNG of one bit per pixel."""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, *[0] * 4))
        + rest
    )


def chunk(name: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )


def bomb() -> bytes:
    side = 20_000
    rows = zlib.compress(bytes((1 + side // 8) * side), 9)
    return png_header(side, side, chunk(b"IDAT", rows) + chunk(b"IEND", b""))


def spoiled(content: bytes, at: int) -> bytes:
    return content[:at] + bytes(255 - byte for byte in content[at : at + 8]) + content[at + 8 :]


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.png", PNG)
    return stream.getvalue()


PNG, JPEG, WEBP = (encoded(Image.fromarray(NOISE), kind) for kind in ("PNG", "JPEG", "WEBP"))
ELSE, DAMAGED, HUGE = "came something else", "came a damaged one", "came a huge one"
FILES = {
    "empty.png": (b"", "came an empty file"),
    "half.jpg": (JPEG[: len(JPEG) // 2], DAMAGED),
    "half.png": (PNG[: len(PNG) // 2], DAMAGED),
    "half.webp": (WEBP[: len(WEBP) // 2], f"{DAMAGED}|{ELSE}"),
    "header-only.jpeg": (JPEG[:100], f"{DAMAGED}|{ELSE}"),
    "wrong-crc.png": (spoiled(PNG, 29), f"{DAMAGED}|{ELSE}"),
    "spoiled.png": (spoiled(PNG, len(PNG) // 2), DAMAGED),
    "line-ends.png": (PNG.replace(b"\r\n", b"\n"), ELSE),
    "zeros.jpg": (bytes(3000), ELSE),
    "archive.png": (zipped(), ELSE),
    "gzip.png": (gzip.compress(PNG), ELSE),
    "drawing.png": (b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>', ELSE),
    "page.jpg": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", ELSE),
    "text.png": (b"no image\n", ELSE),
    "targa.png": (encoded(Image.fromarray(NOISE), "TGA"), ELSE),
    "ppm.jpg": (encoded(Image.fromarray(NOISE), "PPM"), ELSE),
    "heic.jpg": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500), ELSE),
    "bomb.png": (bomb(), HUGE),
    "huge.png": (png_header(60_000, 60_000, chunk(b"IDAT", b"x")), HUGE),
    "no-size.png": (png_header(0, 0), f"{DAMAGED}|{ELSE}"),
}


def make_folder(at: Path) -> None:
    at.mkdir()


OTHERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "folder.png": (make_folder, "a folder"),
    "gone.png": (lambda at: at.symlink_to("nowhere.png"), "a link to nothing"),
    "round.png": (lambda at: at.symlink_to(at.name), "a link to nothing"),
    "out.png": (lambda at: at.symlink_to("/etc/hostname"), "a link out of the folder"),
    "pipe.png": (lambda at: os.mkfifo(at), "a pipe"),
}


def good_ones() -> dict[str, bytes]:
    """Odd, but images."""
    image, exif = Image.fromarray(NOISE), Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(NOISE[..., 0].astype(np.uint16) << 8)
    return {
        "deep.png": encoded(deep, "PNG"),
        **{f"{mode}.png": encoded(image.convert(mode), "PNG") for mode in ("1", "L", "LA", "P")},
        "RGBA.png": encoded(image.convert("RGBA"), "PNG"),
        "CMYK.jpg": encoded(image.convert("CMYK"), "JPEG"),
        "progressive.jpg": encoded(image, "JPEG", progressive=True),
        "turned.jpg": encoded(image, "JPEG", exif=exif),
        "wide.png": encoded(image.resize((600, 3)), "PNG"),
        "small.png": encoded(image.resize((1, 1)), "PNG"),
        "a-jpeg.png": JPEG,
        "a-png.webp": PNG,
        "a-webp.jpg": WEBP,
        **{f"a-{kind}.png": encoded(image, kind) for kind in ("BMP", "GIF", "TIFF")},
    }


def test_every_broken_file_is_named_and_none_is_in_a_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    generator = np.random.default_rng(1)
    for index in range(N_GOOD):
        image = Image.fromarray(generator.integers(0, 256, (8, 8, 3), np.uint8))
        image.save(folder / f"good-{index}.png", compress_level=0)
    for name, content in good_ones().items():
        (folder / name).write_bytes(content)
    expected, left_out = {}, {}
    for index in range(N_EACH):
        (folder / f"{index}").mkdir()
        for name, (content, reason) in FILES.items():
            (folder / f"{index}" / name).write_bytes(content)
            expected[f"{index}/{name}"] = reason
        for name, (make, reason) in OTHERS.items():
            make(folder / f"{index}" / name)
            left_out[f"{index}/{name}"] = reason
    good = {f"good-{index}.png" for index in range(N_GOOD)} | good_ones().keys()
    assert len(expected) == 500

    monkeypatch.setenv("GLOW_WORKERS", "2")
    changes = {"data.source": "folder", "data.folder.path": str(folder), "data.image_size": 8}
    params = tiny(**changes, **{"data.on_error": "skip", "data.max_bad": 0.1})
    content = preprocess(params.data, 0, tmp_path / "shards")

    for found, wanted in ((content["skipped"], expected), (content["left_out"], left_out)):
        assert found.keys() == wanted.keys()
        assert [name for name in wanted if not re.search(wanted[name], found[name])] == []
    shards = ShardSet(tmp_path / "shards", content)
    assert {sample.name for split in SPLITS for sample in shards.samples(split)} == good
    assert sum(content["reasons"].values()) == 500
    lines = capfd.readouterr().err
    assert f"skipped 500 of {500 + len(good)} images" in lines
    assert "came something else (0/archive.png, " in lines
    assert "Traceback" not in lines

    strict = tiny(**changes, **{"data.on_error": "skip", "data.max_bad": 0.05})
    with pytest.raises(InputError, match=r"at least \d+ of \d+ images cannot be read, .* 0.05"):
        preprocess(strict.data, 0, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_reasons_that_differ_in_numbers_are_one() -> None:
    skipped = {"b": "came 3x9", "a": "came 10x2", "c": "came an empty file"}
    assert bad_images.reasons(skipped) == {"came NxN": ["a", "b"], "came an empty file": ["c"]}
    assert bad_images.report({}, 5) == []
    bad_images.check(skipped, 60, 0.05)
    with pytest.raises(InputError, match=r"2 x came NxN \(a, b\); 1 x came an empty file \(c\)"):
        bad_images.check(skipped, 59, 0.05)
