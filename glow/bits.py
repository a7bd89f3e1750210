"""Bins and bits: the only place that knows how images become levels and densities become bits.

An image of n bits has 2^n levels per channel. The model sees the continuous
x = (level + u) / 2^n - 0.5, u ~ U[0, 1), which lies in [-0.5, 0.5). With that noise the mean of
log p(x) is a lower bound of the log-probability of the discrete image, up to the constant
D log 2^n (Theis et al. 2016; Glow, section 2).
"""

import math
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NOISE_STEPS = 2**16

Bytes = TypeVar("Bytes", Tensor, NDArray[np.uint8])


def to_levels(pixels: Bytes, n_bits: int) -> Bytes:
    """floor(pixel / 2^(8 - n)): 8-bit pixels to n-bit levels, uint8, any shape."""
    levels: Any = pixels >> (8 - n_bits)
    return levels


def to_pixels(levels: Bytes, n_bits: int) -> Bytes:
    """Level * 2^(8 - n): n-bit levels to 8-bit pixels, uint8, any shape."""
    pixels: Any = levels << (8 - n_bits)
    return pixels


def dequantize(
    levels: Tensor,
    n_bits: int,
    generator: torch.Generator | None = None,
    *,
    part: tuple[int, int] = (0, 1),
) -> Tensor:
    """(level + u) / 2^n - 0.5, u ~ U[0, 1), float32 in [-0.5, 0.5), shape of `levels`.

    u is a multiple of 2^-16: finer noise would let float32 round level + u up to level + 1.

    Args:
        levels: uint8, (B, C, H, W).
        n_bits: of the levels.
        generator: of u.
        part: (i, k) where the levels are part i from 0 of k equal parts of a batch. Noise is drawn
            for the whole batch, so that it is the same however the batch is cut.
    """
    index, count = part
    size = len(levels)
    shape = (count * size, *levels.shape[1:])
    noise = torch.rand(shape, generator=generator, device=levels.device)
    noise = noise[index * size : (index + 1) * size]
    noise = noise.mul_(NOISE_STEPS).floor_().div_(NOISE_STEPS)
    return (levels + noise) / 2**n_bits - 0.5


def quantize(x: Tensor, n_bits: int) -> Tensor:
    """floor((x + 0.5) 2^n), clipped to the n-bit levels, uint8, shape of `x`.

    Values that are not finite become level 0.
    """
    n_bins = 2**n_bits
    level = torch.nan_to_num((x + 0.5) * n_bins, nan=0.0, posinf=0.0, neginf=0.0).floor()
    return level.clamp(0, n_bins - 1).to(torch.uint8)


def bits_per_dim(log_prob: Tensor, n_dims: int, n_bits: int) -> Tensor:
    """N - log p(x) / (D ln 2): what the discrete n-bit image costs per channel and pixel.

    Args:
        log_prob: of the continuous density on [-0.5, 0.5)^D, nats, any shape.
        n_dims: D = C H W.
        n_bits: of the discrete data.

    A density that is 1 on the cube gives exactly `n_bits`.
    """
    return n_bits - log_prob / (n_dims * math.log(2.0))
