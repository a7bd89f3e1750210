"""The nearest of many images to some: whether a model has learned a picture by heart."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from glow import GlowConfig, to_pixels
from glow.apps.files import in_batches


@dataclass(frozen=True)
class Neighbours:
    """For each of N images the nearest file, its pixels (N, C, H, W), and how far it is.

    `distance` (N,) is the root of the mean squared difference of 8-bit pixels, 0 to 255.
    """

    files: list[Path]
    images: Tensor
    distance: Tensor


def nearest(
    images: Tensor, files: Sequence[Path], config: GlowConfig, advance: Callable[[int], None]
) -> Neighbours:
    """Reads the files batch after batch; memory does not grow with their number.

    Args:
        images: 8-bit pixels (N, C, H, W).
        files: of the images to search, seen as the model would see them.
        config: of the model.
        advance: told of every batch.
    """
    flat = images.flatten(1).double()
    squared = torch.full((len(images),), torch.inf, dtype=torch.float64)
    best = torch.zeros_like(images)
    names: list[Path] = [Path()] * len(images)
    for some, levels in in_batches(files, config):
        pixels = to_pixels(levels, config.n_bits)
        others = pixels.flatten(1).double()
        far = torch.cdist(flat, others, compute_mode="donot_use_mm_for_euclid_dist").square()
        found, at = (far / flat.shape[1]).min(dim=1)
        for i in (found < squared).nonzero()[:, 0].tolist():
            squared[i], best[i], names[i] = found[i], pixels[at[i]], some[int(at[i])]
        advance(len(some))
    return Neighbours(names, best, squared.sqrt())
