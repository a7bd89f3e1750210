"""Image files of any mode and size, brought to what a model sees: upright RGB squares."""

import struct
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from glow.apps.bare import without_metadata

# All that is read as an image: Pillow's name of each format, and the suffixes of its files.
FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    **({"AVIF": (".avif",)} if features.check_module("avif") else {}),
    **({"HEIF": (".heic", ".heif", ".hif")} if find_spec("pillow_heif") else {}),
}
SUFFIXES = {suffix for suffixes in FORMATS.values() for suffix in suffixes}
SENT_FORMATS = ("PNG", "JPEG", "WEBP")  # by strangers, to a server: fewer decoders to try
TILE_WIDTH, TILE_LENGTH = 322, 323  # tags of TIFF
ORIENTATION = 0x0112  # EXIF; 2 to 8 are put upright by these
UPRIGHT = dict(zip(range(2, 9), map(Image.Transpose, (0, 3, 1, 5, 4, 6, 2)), strict=True))
# What Pillow raises on damaged files, each from another corner of its decoders.
DAMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError, ArithmeticError),
    struct.error,
)


def kinds_of(formats: Collection[str]) -> str:
    """Formats as users call them: PNG, JPEG or WebP."""
    *others, last = ({"WEBP": "WebP", "HEIF": "HEIC"}.get(name, name) for name in formats)
    return f"{', '.join(others)} or {last}"


KINDS, SENT_KINDS = kinds_of(FORMATS), kinds_of(SENT_FORMATS)


class UnreadableImage(ValueError):
    """One image cannot be used; says why."""


def open_image(
    file: Path | IO[bytes], *, formats: Collection[str] = tuple(FORMATS)
) -> Image.Image:
    """The image with only its header read, the first one of several.

    Args:
        file: to read; stays open until the image is closed.
        formats: of FORMATS that it may have.

    Raises:
        UnreadableImage: it is no such image, or a huge one.
    """
    if "HEIF" in formats:
        _register_heif()
    with _reported(kinds_of(formats)):
        try:
            image = Image.open(file, formats=tuple(formats))
        except DAMAGE:
            bare = _bare(file)
            if bare is None:
                raise
            image = Image.open(bare, formats=tuple(formats))
        _check_tiles(image)
        return image


def decode(image: Image.Image) -> Image.Image:
    """The image upright in RGB, on white where it is transparent; raises UnreadableImage."""
    with _reported():
        try:
            return _upright(image)
        except UnreadableImage:
            raise
        except DAMAGE:  # of the pixels, or of a text behind them
            file: IO[bytes] | None = getattr(image, "fp", None)
            bare = file and without_metadata(file)
            if not bare:
                raise
            return _upright(Image.open(bare, formats=("PNG", "JPEG")))


def center_square(image: Image.Image) -> Image.Image:
    """The largest square in the middle."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The image in this size (width, height); the same one where it has it."""
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)


def _bare(file: Path | IO[bytes]) -> IO[bytes] | None:
    if isinstance(file, Path):
        with file.open("rb") as stream:
            return without_metadata(stream)
    return without_metadata(file)


def _upright(image: Image.Image) -> Image.Image:
    image.load()  # by which Pillow turns a TIFF itself
    turn = None
    with suppress(Exception):  # of metadata, which are damaged in many ways
        turn = UPRIGHT.get(image.getexif().get(ORIENTATION, 1))
    rgb = _rgb(image)
    return rgb if turn is None else rgb.transpose(turn)


@lru_cache(maxsize=1)
def _register_heif() -> None:
    from pillow_heif import register_heif_opener

    register_heif_opener()


def _check_tiles(image: Image.Image) -> None:
    """A TIFF may have tiles larger than itself, which Pillow holds against no limit."""
    tags = getattr(image, "tag_v2", {})
    pixels = int(tags.get(TILE_WIDTH, 1)) * int(tags.get(TILE_LENGTH, 1))
    if pixels > (Image.MAX_IMAGE_PIXELS or pixels):
        raise Image.DecompressionBombError(f"its tiles have {pixels} pixels")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits, or 32 of which these are used
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() >= 2**16:
            raise UnreadableImage("expected 8 or 16 bits a channel, came 32")
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise UnreadableImage("expected 8 or 16 bits a channel, came floating-point numbers")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


@contextmanager
def _reported(kinds: str = KINDS) -> Iterator[None]:
    """Turns what Pillow raises into UnreadableImage with a reason in words."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage(f"expected a {kinds} image, came something else") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImage(f"expected a smaller image, came a huge one: {error}") from None
    except DAMAGE as error:
        raise UnreadableImage(f"expected a whole image, came a damaged one: {error}") from None
