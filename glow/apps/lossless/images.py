"""Images that a model can code without loss, as levels."""

import torch
from PIL import Image
from torch import Tensor

from glow import GlowConfig, to_levels, to_pixels
from glow.apps.pictures import UnreadableImage
from glow.apps.uploads import pixels_of

MODES = {1: "L", 3: "RGB"}  # by channels of the model


def exact_levels(image: Image.Image, config: GlowConfig, *, quantize: bool) -> Tensor:
    """An opened image of the model's own kind, (C, H, W), uint8 levels.

    Args:
        image: one picture, opaque, in the model's size.
        config: of the model.
        quantize: whether bits below the model's may be lost.

    Raises:
        UnreadableImage: it is another kind, and something of it would be lost.
    """
    side, mode = config.image_size, MODES.get(config.channels)
    if image.size != (side, side) or image.mode != mode:
        raise UnreadableImage(
            f"expected {side}x{side} {mode}, as the model's images are, "
            f"came {image.width}x{image.height} {image.mode}"
        )
    if image.has_transparency_data or getattr(image, "n_frames", 1) > 1:
        raise UnreadableImage("expected one opaque picture, came one that is transparent or moves")
    pixels = pixels_of(image, config)
    levels = to_levels(pixels, config.n_bits)
    if not quantize and not torch.equal(to_pixels(levels, config.n_bits), pixels):
        raise UnreadableImage(
            f"expected {config.n_bits} bits, as the model has, came 8; "
            "--quantize drops the lower ones"
        )
    return levels
