"""Flips and shifts of images, on the device where their levels are.

Openai/glow trains CIFAR-10 with shifts of up to 10 % of the side (its `--dal 1`, the default) and
every other data set as it is; flips come with its `--dal 2`, beside rotations and zooms. Its
shifts are Keras's: what moves in repeats the edge (`fill_mode='nearest'`), as it does here, but
by fractions of a pixel, with linear interpolation, which smooths. Here they are whole pixels, so
that the levels stay those of an image.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moves:
    """What happens to each of B images.

    Attributes:
        flips: (B,), bool: mirrored left to right, before it is shifted.
        shifts: (B, 2), int64: pixels down and to the right.
    """

    flips: Tensor
    shifts: Tensor

    def __getitem__(self, part: slice) -> "Moves":
        return Moves(self.flips[part], self.shifts[part])

    def __call__(self, levels: Tensor) -> Tensor:
        """Moves levels (B, C, H, W): y[i, j] = x[i - down, j - right], the nearest in x.

        A pixel that would come from outside the image is the one at its edge.
        """
        _, channels, height, width = levels.shape
        down, right = self.shifts.to(levels.device, non_blocking=True).unbind(1)
        flips = self.flips.to(levels.device, non_blocking=True)
        rows = torch.arange(height, device=levels.device) - down[:, None]
        columns = torch.arange(width, device=levels.device) - right[:, None]
        rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
        columns = torch.where(flips[:, None], width - 1 - columns, columns)
        sources = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)  # (B, H W)
        sources = sources[:, None].expand(-1, channels, -1)
        return levels.flatten(2).gather(2, sources).view_as(levels)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How images may be moved.

    Attributes:
        flip: mirror every other image, at random.
        shift: up to this fraction of the side, up or down and left or right, uniform over whole
            pixels; 0.0 for none.
    """

    flip: bool = False
    shift: float = 0.0

    @property
    def does_nothing(self) -> bool:
        """Images stay as they are."""
        return not self.flip and self.shift == 0.0

    def moves(self, count: int, side: int, *, seed: int, step: int) -> Moves:
        """Those of the `count` images of a global batch, of which every rank takes its part."""
        mixed = hash((seed, step, count)) & 0x7FFF_FFFF_FFFF_FFFF  # ints hash the same
        generator = torch.Generator().manual_seed(mixed)
        flips = torch.rand(count, generator=generator) < (0.5 if self.flip else 0.0)
        furthest = int(self.shift * side)
        shifts = torch.randint(-furthest, furthest + 1, (count, 2), generator=generator)
        return Moves(flips, shifts)
