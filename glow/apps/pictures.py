"""Image files of any mode and size, brought to what a model sees: upright RGB squares."""

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, UnidentifiedImageError

# All that is read as an image: Pillow's name of each format, and the suffixes of its files.
FORMATS = {"PNG": (".png",), "JPEG": (".jpg", ".jpeg"), "WEBP": (".webp",)}
SUFFIXES = {suffix for suffixes in FORMATS.values() for suffix in suffixes}
KINDS = "PNG, JPEG or WebP"  # as users call them
ORIENTATION = 0x0112  # EXIF; 2 to 8 are put upright by these
UPRIGHT = dict(zip(range(2, 9), map(Image.Transpose, (0, 3, 1, 5, 4, 6, 2)), strict=True))
# What Pillow raises on damaged files, each from another corner of its decoders.
DAMAGE = (OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError, ArithmeticError)


class UnreadableImage(ValueError):
    """One image cannot be used; says why."""


def open_image(file: Path | IO[bytes]) -> Image.Image:
    """The image with only its header read; UnreadableImage where it is none."""
    with _reported():
        return Image.open(file, formats=tuple(FORMATS))


def decode(image: Image.Image) -> Image.Image:
    """The image upright in RGB, on white where it is transparent; raises UnreadableImage."""
    with _reported():
        orientation = image.getexif().get(ORIENTATION, 1)
        rgb = _rgb(image)
        return rgb.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else rgb


def center_square(image: Image.Image) -> Image.Image:
    """The largest square in the middle."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The image in this size (width, height); the same one where it has it."""
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits
        levels = np.asarray(image).astype(np.int64) >> 8
        return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


@contextmanager
def _reported() -> Iterator[None]:
    """Turns what Pillow raises into UnreadableImage with a reason in words."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except UnidentifiedImageError:
        raise UnreadableImage(f"expected a {KINDS} image, came something else") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImage(f"expected a smaller image, came a huge one: {error}") from None
    except (*DAMAGE, struct.error) as error:
        raise UnreadableImage(f"expected a whole image, came a damaged one: {error}") from None
