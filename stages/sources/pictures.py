"""From an encoded image, wherever it was, to the square of pixels that preprocess takes."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image

from glow.apps.pictures import UnreadableImage, center_square, decode, open_image, resized
from stages.errors import InputError
from stages.sources.files import Location
from stages.sources.source import RawImage

MAX_BYTES = 2**28  # of an encoded image
CELEBA_SIZE = (178, 218)
CELEBA_BOX = (15, 40, 163, 188)  # left, top, right, bottom


def opened(location: Location) -> Image.Image:
    """The image in a file, with only its header read; raises UnreadableImage."""
    if location.is_remote:
        return from_bytes(fetched(location))
    if location.local.is_file():
        check_size(location.local.stat().st_size)
    return open_image(location.local)


def decoded(location: Location) -> Image.Image:
    """The image in a file, upright in RGB; raises UnreadableImage."""
    with opened(location) as image:
        return decode(image)


def decoded_bytes(data: bytes) -> Image.Image:
    """The image in these bytes, upright in RGB; raises UnreadableImage."""
    with from_bytes(data) as image:
        return decode(image)


def from_bytes(data: bytes) -> Image.Image:
    """The image in these bytes, with only its header read; raises UnreadableImage."""
    check_size(len(data))
    return open_image(io.BytesIO(data))


def fetched(location: Location) -> bytes:
    """All of a file that was listed.

    Raises:
        UnreadableImage: it is empty, or larger than any image.
        InputError: it is gone; that is no damaged image, and is not to be skipped.
    """
    with _listed(location):
        if not location.is_remote:
            check_size(location.local.stat().st_size)
        data = location.read()
    check_size(len(data))
    return data


def fetched_part(location: Location, start: int, size: int) -> bytes:
    """So many bytes of a file that was listed; raises as `fetched` does."""
    check_size(size)
    with _listed(location):
        data = location.part(start, size)
    if len(data) != size:
        raise UnreadableImage(f"expected {size} bytes in {location}, came {len(data)}")
    return data


@contextmanager
def _listed(location: Location) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise InputError(
            f"{location}: expected the images that were listed, came no such file; "
            "start again once nobody changes the data set"
        ) from None


def check_size(n_bytes: int) -> None:
    """Raises UnreadableImage for nothing, or for more than any image has."""
    if not n_bytes:
        raise UnreadableImage("expected an image, came an empty file")
    if n_bytes > MAX_BYTES:
        raise UnreadableImage(f"expected an image of {MAX_BYTES} bytes at most, came {n_bytes}")


def cropped(image: Image.Image, crop: str) -> Image.Image:
    """The middle, or the face where CelebA has it; raises UnreadableImage."""
    if crop == "celeba":
        if image.size != CELEBA_SIZE:
            came = "x".join(map(str, image.size))
            raise UnreadableImage(f"expected 178x218 pixels for crop: celeba, came {came}")
        return image.crop(CELEBA_BOX)
    if crop == "tiles":
        raise InputError(
            "data.folder.crop is tiles, which only data.source: folder cuts; set center"
        )
    return center_square(image)


def raw(image: Image.Image, side: int, attributes: dict[str, bool]) -> RawImage:
    """An image in RGB, resized."""
    return RawImage(np.array(resized(image, (side, side))), attributes)
