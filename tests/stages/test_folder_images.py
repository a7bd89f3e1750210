"""Images in a folder: every kind of them becomes pixels, and what is none is unreadable."""

import struct
from pathlib import Path

import numpy as np
import pytest
from folders import numbered, pixels, save, source
from PIL import Image, ImageOps

from glow.apps.pictures import FORMATS, UnreadableImage


@pytest.mark.parametrize(
    ("mode", "color", "suffix", "expected"),
    [
        ("RGB", (10, 20, 30), "png", (10, 20, 30)),
        ("RGB", (200, 100, 50), "JPG", (200, 100, 50)),
        ("RGB", (200, 100, 50), "webp", (200, 100, 50)),
        ("RGBA", (10, 20, 30, 0), "png", (255, 255, 255)),
        ("RGBA", (0, 0, 0, 51), "png", (204, 204, 204)),
        ("LA", (7, 0), "png", (255, 255, 255)),
        ("L", 77, "png", (77, 77, 77)),
        ("1", 1, "png", (255, 255, 255)),
        ("I;16", 0x1234, "png", (0x12, 0x12, 0x12)),
        ("CMYK", (0, 255, 255, 0), "jpeg", (255, 0, 0)),
    ],
)
def test_every_mode_becomes_rgb(
    tmp_path: Path, mode: str, color: int | tuple[int, ...], suffix: str, expected: tuple[int, ...]
) -> None:
    save(tmp_path / f"a.{suffix}", Image.new(mode, (20, 12), color))
    read = pixels(tmp_path, f"a.{suffix}")
    assert read.shape == (8, 8, 3)
    assert np.abs(read.astype(int) - expected).max() <= (0 if suffix == "png" else 3)


def test_a_transparent_palette_color_becomes_white(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 9, 8, 7])
    save(tmp_path / "opaque.png", image)
    save(tmp_path / "clear.png", image, transparency=1)
    assert (pixels(tmp_path, "opaque.png") == (9, 8, 7)).all()
    assert (pixels(tmp_path, "clear.png") == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = save(tmp_path / "a.png", numbered(8, 8), exif=exif)
    with Image.open(file) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert (pixels(tmp_path, "a.png") == expected).all()


def test_center_is_the_largest_square(tmp_path: Path) -> None:
    save(tmp_path / "a.png", numbered(20, 8))
    save(tmp_path / "b.png", numbered(8, 21))
    assert (pixels(tmp_path, "a.png") == np.asarray(numbered(20, 8))[:, 6:14]).all()
    assert (pixels(tmp_path, "b.png") == np.asarray(numbered(8, 21))[6:14]).all()


def test_celeba_is_cropped_as_in_the_literature(tmp_path: Path) -> None:
    save(tmp_path / "a.png", numbered(178, 218))
    save(tmp_path / "b.png", numbered(218, 178))
    read = pixels(tmp_path, "a.png", crop="celeba", size=148)
    assert (read == np.asarray(numbered(178, 218))[40:188, 15:163]).all()
    with pytest.raises(UnreadableImage, match=r"expected 178x218 .* came 218x178"):
        pixels(tmp_path, "b.png", crop="celeba")


def test_resizing_is_antialiased(tmp_path: Path) -> None:
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    save(tmp_path / "a.png", Image.fromarray(stripes))
    assert np.abs(pixels(tmp_path, "a.png")[:, 1:-1].astype(int) - 127).max() < 8


@pytest.mark.parametrize("kind", FORMATS)
def test_every_suffix_of_an_image_is_read(tmp_path: Path, kind: str) -> None:
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    for number, suffix in enumerate(FORMATS[kind]):
        save(tmp_path / f"{number}{suffix.upper()}", format=kind)
        save(tmp_path / f"{number}{suffix}", format=kind)
    images = source(tmp_path)
    entries = images.entries()
    assert len(entries) == 2 * len(FORMATS[kind])
    assert images.passed_over == {}
    for entry in entries:
        assert np.abs(images.read(entry).pixels.astype(int) - (255, 0, 0)).max() < 8


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_every_mode_of_tiff_becomes_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGB", (8, 8), "white")
    full = Image.new("I;16", (8, 8), 0xFFFF) if mode == "I;16" else image.convert(mode)
    save(tmp_path / "a.tif", full)
    assert (pixels(tmp_path, "a.tif") == 255).all()


@pytest.mark.parametrize(("mode", "came"), [("F", "floating-point numbers"), ("I", "32")])
def test_numbers_of_an_unknown_scale_are_no_image(tmp_path: Path, mode: str, came: str) -> None:
    save(tmp_path / "a.tif", Image.new(mode, (8, 8), 2**20))
    with pytest.raises(UnreadableImage, match=f"expected 8 or 16 bits a channel, came {came}"):
        pixels(tmp_path, "a.tif")


def test_the_first_picture_of_several_is_read(tmp_path: Path) -> None:
    others = [Image.new("RGB", (8, 8), color) for color in ("blue", "green")]
    for suffix in ("gif", "tif", "webp", "png"):
        save(tmp_path / f"a.{suffix}", save_all=True, append_images=others)
        read = pixels(tmp_path, f"a.{suffix}")
        assert np.abs(read.astype(int) - (255, 0, 0)).max() < 8


def test_a_tile_of_a_tiff_is_no_bomb(tmp_path: Path) -> None:
    tags = {256: 8, 257: 8, 258: 8, 259: 8, 262: 1, 277: 1, 322: 60_000, 323: 60_000, 324: 8}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in {**tags, 325: 8}.items()]
    header = b"II*\0" + struct.pack("<IH", 8, len(entries))
    (tmp_path / "a.tif").write_bytes(header + b"".join(entries) + bytes(4))
    with pytest.raises(UnreadableImage, match="expected a smaller image, came a huge one"):
        pixels(tmp_path, "a.tif")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_damaged_images_are_unreadable(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    file = save(tmp_path / f"a.{suffix}", Image.fromarray(noise))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(UnreadableImage, match=r"came a damaged one|came something else"):
        pixels(tmp_path, file.name)
    file.write_bytes(b"")
    with pytest.raises(UnreadableImage, match="came an empty file"):
        pixels(tmp_path, file.name)
    save(file, format="PPM")
    with pytest.raises(UnreadableImage, match="expected a PNG, JPEG, WebP, BMP, TIFF, GIF"):
        pixels(tmp_path, file.name)


@pytest.mark.parametrize("limit", [40, 20])  # beyond once the limit Pillow warns, twice it raises
def test_bombs_are_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(UnreadableImage, match="expected a smaller image"):
        pixels(tmp_path, "a.png")
