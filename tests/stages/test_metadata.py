"""Metadata make no image unreadable: only orientation is taken from them, where it can be."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps, PngImagePlugin

from glow.apps.pictures import UnreadableImage, decode, open_image
from stages.sources.source import Pixels

NUMBERED = np.stack([*np.mgrid[:16, :24], np.zeros((16, 24))], axis=-1).astype(np.uint8) * 10
LONG = b"name\0\0" + zlib.compress(bytes(2 * 2**20))  # more than Pillow takes
SIX = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # EXIF: orientation 6


def encoded(kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(NUMBERED).save(stream, kind, **options)
    return stream.getvalue()


def decoded(content: bytes, file: Path | None = None) -> Pixels:
    """As from memory, and as from a file where one is given."""
    if file is not None:
        file.write_bytes(content)
    with open_image(file or io.BytesIO(content)) as image:
        return np.asarray(decode(image))


def chunk(name: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + checksum


PNG, JPEG = encoded("PNG"), encoded("JPEG")
BEFORE, BEHIND = 33, len(PNG) - 12  # the pixels of the PNG


def with_chunk(at: int, name: bytes, content: bytes) -> bytes:
    return PNG[:at] + chunk(name, content) + PNG[at:]


def with_segment(marker: int, content: bytes) -> bytes:
    return JPEG[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + JPEG[2:]


@pytest.mark.parametrize("at", [BEFORE, BEHIND])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        (b"zTXt", LONG),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(2 * 2**20))),
        (b"iCCP", LONG),
        (b"iCCP", b"name\0\0no zlib"),
        (b"zTXt", b"name\0\7other compression"),
        (b"pHYs", b"short"),
        (b"eXIf", b"no EXIF"),
        (b"eXIf", b"II*\0"),
        (b"acTL", b""),
    ],
)
def test_a_png_with_damaged_metadata_has_its_pixels(
    tmp_path: Path, name: bytes, content: bytes, at: int
) -> None:
    file = with_chunk(at, name, content)
    assert (decoded(file) == NUMBERED).all()
    assert (decoded(file, tmp_path / "a.png") == NUMBERED).all()


def test_a_damaged_text_leaves_the_orientation() -> None:
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded("PNG", exif=SIX))))
    for at in (BEFORE, BEHIND):
        file = with_chunk(at, b"zTXt", LONG)
        turned = file[:BEFORE] + chunk(b"eXIf", SIX) + file[BEFORE:]
        assert (decoded(turned) == np.asarray(upright)).all()


def test_more_text_than_pillow_keeps_is_no_damage() -> None:
    text = PngImagePlugin.PngInfo()
    for number in range(70):
        text.add_text(f"{number}", "a" * 2**20, zip=True)
    assert (decoded(encoded("PNG", pnginfo=text)) == NUMBERED).all()


@pytest.mark.parametrize(
    ("marker", "content"),
    [
        (0xE1, b"Exif\0\0no EXIF"),
        (0xE0, b"JFIF\0"),
        (0xE2, b"ICC_PROFILE\0"),
        (0xED, b"Photoshop 3.0\x008BIM\0\0"),
        (0xEE, b"Adobe"),
        (0xE2, b"MPF\0no pictures"),
    ],
)
def test_a_jpeg_with_damaged_metadata_has_its_pixels(
    tmp_path: Path, marker: int, content: bytes
) -> None:
    expected = decoded(JPEG)
    assert (decoded(with_segment(marker, content)) == expected).all()
    assert (decoded(with_segment(marker, content), tmp_path / "a.jpg") == expected).all()
    assert decoded(with_segment(0xE1, b"Exif\0\0" + SIX)).shape == (24, 16, 3)


def test_a_jpeg_with_dpi_and_broken_exif() -> None:
    file = encoded("JPEG", dpi=(300, 300), exif=b"Exif\0\0" + bytes(20))
    assert (decoded(file) == decoded(JPEG)).all()


def test_colors_of_a_jpeg_in_rgb_outlive_damaged_metadata() -> None:
    rgb = encoded("JPEG", keep_rgb=True, quality=100, subsampling=0)
    adobe = struct.pack(">BBH", 0xFF, 0xEE, 14) + b"Adobe\0\x64\0\0\0\0\0"
    assert np.abs(decoded(rgb).astype(int) - NUMBERED).max() < 6
    damaged = struct.pack(">BBH", 0xFF, 0xE2, 14) + b"ICC_PROFILE\0"
    file = rgb[:2] + adobe + damaged + rgb[2:]
    assert np.abs(decoded(file).astype(int) - NUMBERED).max() < 6


@given(st.sampled_from([b"", SIX[:14], b"II*\0\x08\0\0\0"]), st.binary(max_size=60))
def test_no_exif_makes_an_image_unreadable(start: bytes, rest: bytes) -> None:
    exif = start + rest
    files = [
        with_chunk(BEFORE, b"eXIf", exif),
        with_segment(0xE1, b"Exif\0\0" + exif),
        encoded("WEBP", exif=b"Exif\0\0" + exif),
    ]
    for file in files:
        assert sorted(decoded(file).shape) == [3, 16, 24]


@given(st.sampled_from(range(0xE0, 0xF0)), st.binary(max_size=60))
def test_no_segment_makes_a_jpeg_unreadable(marker: int, content: bytes) -> None:
    starts = [b"", b"JFIF\0", b"ICC_PROFILE\0", b"Photoshop 3.0\x008BIM", b"Exif\0\0", b"MPF\0"]
    for start in starts:
        assert sorted(decoded(with_segment(marker, start + content)).shape) == [3, 16, 24]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_format_is_put_upright(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exact = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100, "subsampling": "4:4:4"}}
    file = encoded(kind, exif=exif, **exact.get(kind, {}))
    plain = Image.fromarray(decoded(encoded(kind, **exact.get(kind, {}))))
    plain.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(plain))
    assert decoded(file).shape == expected.shape
    assert np.abs(decoded(file).astype(int) - expected).max() <= (8 if kind == "AVIF" else 0)


@pytest.mark.parametrize("content", [PNG, JPEG], ids=["png", "jpeg"])
def test_damaged_pixels_stay_damaged(content: bytes) -> None:
    for length in (9, len(content) // 2):
        with pytest.raises(UnreadableImage):
            decoded(content[:length])
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 0xFF
    if content is PNG:
        with pytest.raises(UnreadableImage):
            decoded(bytes(flipped))


def test_pixels_of_a_file_with_damaged_metadata_are_no_bomb(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    for at in (BEFORE, BEHIND):
        with pytest.raises(UnreadableImage, match="came a huge one"):
            decoded(with_chunk(at, b"zTXt", LONG))
