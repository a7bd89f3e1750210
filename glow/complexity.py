"""How much of an image any model could have said: its size under a general lossless code."""

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor


def compressed_bits(levels: Tensor) -> Tensor:
    """Bits per dimension of each image as a lossless WebP file of its levels, (N,), float64.

    `8 bytes / (C H W)`. WebP because it makes the smallest files of what Pillow writes, and the
    tighter the code, the better the correction (Serra et al. 2020, section 3).

    Args:
        levels: (N, C, H, W), uint8, C 1 or 3.

    Raises:
        ValueError: images of other channels.
    """
    if levels.ndim != 4 or levels.shape[1] not in (1, 3):
        raise ValueError(f"levels are {tuple(levels.shape)}, expected (N, 1 or 3, H, W)")
    pixels = levels.permute(0, 2, 3, 1).cpu().numpy()
    sizes = [_bytes(image.squeeze(2) if image.shape[2] == 1 else image) for image in pixels]
    return torch.tensor(sizes, dtype=torch.float64) * 8 / levels[0].numel()


def _bytes(image: NDArray[np.uint8]) -> int:
    stream = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.save(stream, "WEBP", lossless=True, quality=100, method=4)
    return len(stream.getvalue())
