"""What an image looks like in 64 bytes: enough to find images that are there twice.

`content` is a hash of the levels: equal for the same image and no other. `shape` is a perceptual
hash (pHash): the image in gray, averaged down to 32x32, its two-dimensional cosine transform, and
of its 64 lowest frequencies a bit each, set where it is above their median. It barely changes
when an image is scaled or compressed anew, and knows no colors. `colors` is the image averaged
down to 4x4 pixels. All sums are of whole numbers, so that every machine finds the same.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from glow import to_pixels

GRID, FREQUENCIES, CELLS = 32, 8, 4
SCALE = 1024  # of the cosines
LOOK = np.dtype(
    [("content", np.uint64), ("shape", np.uint64), ("colors", np.uint8, (CELLS * CELLS * 3,))]
)


def looks(images: Sequence[NDArray[np.uint8]], n_bits: int) -> NDArray[np.void]:
    """Of the levels of images, each (H, W, 3); shape (N,), dtype LOOK."""
    found = np.empty(len(images), LOOK)
    grids = np.empty((len(images), GRID, GRID))
    for index, levels in enumerate(images):
        found["content"][index] = int.from_bytes(hashlib.sha256(levels.tobytes()).digest()[:8])
        image = Image.fromarray(to_pixels(levels, n_bits))
        grids[index] = _averaged(image.convert("L"), GRID)
        found["colors"][index] = _averaged(image, CELLS).ravel()
    found["shape"] = _shapes(grids)
    return found


def _averaged(image: Image.Image, side: int) -> NDArray[np.uint8]:
    return np.asarray(image.resize((side, side), Image.Resampling.BOX))


def _shapes(grids: NDArray[np.float64]) -> NDArray[np.uint64]:
    """(N, GRID, GRID) to (N,)."""
    frequencies = (_cosines() @ grids @ _cosines().T).reshape(len(grids), -1)
    above = frequencies > np.median(frequencies, axis=1, keepdims=True)
    return np.packbits(above, axis=1).view(">u8")[:, 0].astype(np.uint64)


@lru_cache
def _cosines() -> NDArray[np.float64]:
    """(FREQUENCIES, GRID): the first rows of the discrete cosine transform, rounded."""
    angles = np.arange(FREQUENCIES)[:, None] * (2 * np.arange(GRID) + 1) * np.pi / (2 * GRID)
    return np.round(SCALE * np.cos(angles))
