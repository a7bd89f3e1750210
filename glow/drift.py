"""Whether a tensor that is computed again is what it was, by one number that is kept of it."""

from functools import lru_cache

import torch
from torch import Tensor


def checksum(x: Tensor) -> Tensor:
    """The product of each image with a fixed vector of signs, (B,)."""
    x = x.flatten(1)
    return x @ _signs(x.shape[1], x.device, x.dtype)


def drifted(x: Tensor, was: Tensor) -> bool:
    """Whether x differs from what had the checksum by more than float's precision explains.

    The difference of two checksums is about the length of the difference of what they are of.
    """
    allowed = torch.finfo(x.dtype).eps ** 0.5 / 4 * x.flatten(1).norm(dim=1)
    return not bool(((checksum(x) - was).abs() <= allowed).all())  # nor if either is NaN


@lru_cache(maxsize=16)
def _signs(n: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.randint(0, 2, (n,), generator=generator) * 2 - 1).to(device, dtype)
