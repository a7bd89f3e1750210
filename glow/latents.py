"""Latents: all levels of z at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor


class Latents(Sequence[Tensor]):
    """The latents of a batch: one tensor (B, C, H, W) per level, finest level first.

    Under the model every entry is standard normal. Sums, differences and multiples work level by
    level, so `encode(x) + alpha * vector` is an edit.
    """

    def __init__(self, levels: Sequence[Tensor]) -> None:
        self.levels = tuple(levels)

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]  # no slices
        return self.levels[index]

    def __len__(self) -> int:
        return len(self.levels)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.levels)

    def __add__(self, other: Latents) -> Latents:
        return Latents([a + b for a, b in zip(self, other, strict=True)])

    def __sub__(self, other: Latents) -> Latents:
        return Latents([a - b for a, b in zip(self, other, strict=True)])

    def __mul__(self, factor: float) -> Latents:
        return self.map(lambda level: level * factor)

    __rmul__ = __mul__

    def map(self, function: Callable[[Tensor], Tensor]) -> Latents:
        """The function of each level."""
        return Latents([function(level) for level in self])

    def images(self, index: slice | Tensor) -> Latents:
        """The latents of some images of the batch."""
        return self.map(lambda level: level[index])

    def flatten(self) -> Tensor:
        """All levels side by side, (B, D), finest level first."""
        return torch.cat([level.flatten(1) for level in self], dim=1)

    def squared_norms(self) -> Tensor:
        """‖z‖² of each level and image, (L, B), float64: under the model chi-square."""
        return torch.stack([level.double().square().sum(dim=(1, 2, 3)) for level in self])

    def unflatten(self, flat: Tensor) -> Latents:
        """The inverse of `flatten`, for any batch, with the shapes of these latents."""
        parts = flat.split([level[0].numel() for level in self], dim=1)
        pairs = zip(parts, self, strict=True)
        return Latents([part.reshape(len(flat), *level.shape[1:]) for part, level in pairs])


def interpolate(start: Latents, end: Latents, steps: int) -> Latents:
    """The straight line from one image's latents to another's, ends included.

    Args:
        start: latents of one image, (1, C, H, W) per level.
        end: likewise.
        steps: points on the line, at least 2.

    Returns:
        Latents of `steps` images, `(1 - t) start + t end` (Glow, Figure 5).
    """
    weights = torch.linspace(0.0, 1.0, steps)

    def line(a: Tensor, b: Tensor) -> Tensor:
        t = weights.to(a)[:, None, None, None]
        return (1 - t) * a + t * b

    return Latents([line(a, b) for a, b in zip(start, end, strict=True)])
