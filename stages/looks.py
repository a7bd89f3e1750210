"""What an image looks like in a kilobyte: enough to find images that are there twice.

`content` is a hash of the levels: equal for the same image and no other. `colors` is the image
averaged down to 8x8 pixels, to find images like it; `gray` the image in gray at 32x32, to see
whether they show the same.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from glow import to_pixels

CELLS, SIDE = 8, 32
LOOK = np.dtype(
    [
        ("content", np.uint64),
        ("colors", np.uint8, (CELLS, CELLS, 3)),
        ("gray", np.uint8, (SIDE, SIDE)),
    ]
)


def looks(images: Sequence[NDArray[np.uint8]], n_bits: int) -> NDArray[np.void]:
    """Of the levels of images, each (H, W, 3); shape (N,), dtype LOOK."""
    found = np.empty(len(images), LOOK)
    for index, levels in enumerate(images):
        found["content"][index] = int.from_bytes(hashlib.sha256(levels.tobytes()).digest()[:8])
        image = Image.fromarray(to_pixels(levels, n_bits))
        found["colors"][index] = image.resize((CELLS, CELLS), Image.Resampling.BOX)
        found["gray"][index] = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return found
