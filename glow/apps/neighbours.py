"""The nearest of many images to some: whether a model has learned a picture by heart."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from glow import to_pixels
from glow.apps.files import Inputs


@dataclass(frozen=True)
class Neighbours:
    """For each of N images the nearest file, its pixels (N, C, H, W), and how far it is.

    `distance` (N,) is the root of the mean squared difference of 8-bit pixels, 0 to 255.
    """

    files: list[Path]
    images: Tensor
    distance: Tensor


def nearest(images: Tensor, inputs: Inputs, n_bits: int) -> Neighbours:
    """Reads the files batch after batch; memory does not grow with their number.

    Args:
        images: 8-bit pixels (N, C, H, W).
        inputs: the images to search, seen as the model would see them.
        n_bits: of the model.
    """
    flat = images.flatten(1).double()
    squared = torch.full((len(images),), torch.inf, dtype=torch.float64)
    best = torch.zeros_like(images)
    names: list[Path] = [Path()] * len(images)

    def compare(some: list[Path], levels: Tensor) -> None:
        pixels = to_pixels(levels, n_bits)
        others = pixels.flatten(1).double()
        far = torch.cdist(flat, others, compute_mode="donot_use_mm_for_euclid_dist").square()
        found, at = (far / flat.shape[1]).min(dim=1)
        for i in (found < squared).nonzero()[:, 0].tolist():
            squared[i], best[i], names[i] = found[i], pixels[at[i]], some[int(at[i])]

    inputs.each("search", compare)
    return Neighbours(names, best, squared.sqrt())
