"""Images as they come in a request: base64 text, within bounds checked before decoding."""

import base64
import binascii
import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from glow import GlowConfig, to_levels
from glow.apps.pictures import (
    SENT_FORMATS,
    UnreadableImage,
    center_square,
    decode,
    open_image,
    resized,
)

MAX_IMAGES = 1000  # of a request, both ways
MAX_BYTES = 16 * 2**20  # of an image file
MAX_PIXELS = 32 * 10**6  # that it decodes to: 96 MB
MAX_SIDE = 16_000  # what is wider is no picture of one thing


class BadRequest(ValueError):
    """What was sent cannot be used; says in a line what was expected and what came."""


class TooFar(BadRequest):
    """Some of the latents are not near those of images, so that nothing can be drawn there."""


def read_levels(texts: Sequence[object], config: GlowConfig) -> Tensor:
    """Images as the model sees them: the middle square, in its size and bits.

    Args:
        texts: PNG, JPEG or WebP files in base64, with or without `data:image/png;base64,`.
        config: of the model.

    Returns:
        (N, C, H, W), uint8 levels.

    Raises:
        BadRequest: one is none, or too large, or they are too many.
    """
    check_count(len(texts))
    images = []
    for number, text in enumerate(texts, start=1):
        try:
            images.append(uploaded(_file(text), config))
        except (BadRequest, UnreadableImage) as error:
            raise BadRequest(f"image {number} of {len(texts)}: {error}") from None
    return torch.stack(images)


def uploaded(file: bytes, config: GlowConfig) -> Tensor:
    """One image file as the model sees it, (C, H, W), uint8 levels; its header is judged first.

    Raises:
        BadRequest: it is too large.
        UnreadableImage: it is no image, or a damaged one.
    """
    with open_image(io.BytesIO(file), formats=SENT_FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise BadRequest(
                f"expected at most {MAX_PIXELS} pixels, came {image.width}x{image.height}"
            )
        if max(image.size) > MAX_SIDE:
            raise BadRequest(
                f"expected at most {MAX_SIDE} pixels a side, came {image.width}x{image.height}"
            )
        return levels_of(image, config)


def check_count(n_images: int) -> None:
    """BadRequest where so many are not made or taken at once."""
    if not 1 <= n_images <= MAX_IMAGES:
        raise BadRequest(f"{n_images} images, expected 1 to {MAX_IMAGES} in a request")


def levels_of(image: Image.Image, config: GlowConfig) -> Tensor:
    """An opened image as the model sees it, (C, H, W), uint8 levels; raises UnreadableImage."""
    return to_levels(pixels_of(image, config), config.n_bits)


def pixels_of(image: Image.Image, config: GlowConfig) -> Tensor:
    """The 8-bit pixels that these levels are of, (C, H, W)."""
    square = center_square(decode(image))
    picture = resized(square, (config.image_size, config.image_size))
    pixels = torch.from_numpy(np.array(picture if config.channels == 3 else picture.convert("L")))
    return pixels.reshape(config.image_size, config.image_size, -1).permute(2, 0, 1)


def to_png(pixels: Tensor) -> str:
    """Pixels (C, H, W), uint8, as a PNG in base64."""
    file = io.BytesIO()
    to_picture(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def to_picture(pixels: Tensor) -> Image.Image:
    """Pixels (C, H, W), uint8, grey or RGB."""
    array = pixels.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)


def _file(text: object) -> bytes:
    if not isinstance(text, str) or not text:
        raise BadRequest(f"expected a file in base64, came {text!r}")
    if text.startswith("data:"):
        text = text.partition(",")[2]
    if len(text) * 3 // 4 > MAX_BYTES * 1.05:  # line breaks are allowed for
        raise BadRequest(f"expected at most {MAX_BYTES} bytes, came {len(text) * 3 // 4}")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(f"expected a file in base64, came other text: {error}") from None
