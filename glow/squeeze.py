"""Trades space for channels."""

import torch.nn.functional as F
from torch import Tensor

from glow.bijection import Bijection


class Squeeze(Bijection):
    """(B, C, H, W) -> (B, 4C, H/2, W/2), channel c*4 + row*2 + column; log_det = 0."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Z (B, 4C, H/2, W/2), log_det (B,)."""
        return F.pixel_unshuffle(x, 2), x.new_zeros(len(x))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """X (B, C, H, W), log_det (B,)."""
        return F.pixel_shuffle(z, 2), z.new_zeros(len(z))
