"""Bits per dimension of a set of images, in float32."""

import math
from typing import Any

import torch
from torch import Tensor

from glow import Glow, bits_per_dim, dequantize

BATCH = 500


@torch.no_grad()
def bits(glow: Glow, levels: Tensor, *, draws: int, seed: int, batch: int = BATCH) -> Tensor:
    """Of each image, the mean over draws of the dequantisation noise: (N,), float64."""
    config = glow.config
    generator = torch.Generator(levels.device).manual_seed(seed)
    each = []
    with glow.frozen():
        for part in levels.split(batch):
            of_draws = [
                bits_per_dim(
                    glow.log_prob(dequantize(part, config.n_bits, generator)).double(),
                    config.n_dims,
                    config.n_bits,
                )
                for _ in range(draws)
            ]
            each.append(torch.stack(of_draws).mean(dim=0))
    return torch.cat(each)


def mean_and_error(bits: Tensor) -> dict[str, Any]:
    """Mean over images and its standard error."""
    return {
        "bits_per_dim": round(float(bits.mean()), 4),
        "standard_error": round(float(bits.std()) / math.sqrt(len(bits)), 4),
        "images": len(bits),
    }
