"""Couplings that mask pixels in a checkerboard (RealNVP, section 3.4)."""

import torch
from torch import Tensor

from glow.bijection import Bijection
from glow.coupling import MakeNetwork, shift_and_log_scale


class CheckerboardCoupling(Bijection):
    """Pixels of one colour of a checkerboard, (row + column + parity) even, say how the others go.

    With m = 1 on the pixels that are seen: z = m x + (1 - m) (x + shift) scale, shift and scale
    from NN(m x) as in `AffineCoupling`; additive: scale = 1. log_det = sum((1 - m) log scale).

    Args:
        channels: of x.
        network: makes NN.
        parity: 0 or 1: which pixels are seen.
        affine: whether there is a scale.
        min_scale: as of `AffineCoupling`.
    """

    def __init__(
        self,
        channels: int,
        network: MakeNetwork,
        *,
        parity: int,
        affine: bool,
        min_scale: float = 0.0,
    ) -> None:
        super().__init__()
        self.parity, self.affine, self.min_scale = parity, affine, min_scale
        self.conditioner = network(channels, 2 * channels if affine else channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Z (B, C, H, W), log_det (B,)."""
        seen = self._mask(x)
        shift, log_scale = self._shift_and_log_scale(x * seen)
        log_scale = log_scale * (1 - seen)
        return (x + shift * (1 - seen)) * log_scale.exp(), log_scale.sum(dim=(1, 2, 3))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """X (B, C, H, W), log_det (B,)."""
        seen = self._mask(z)
        shift, log_scale = self._shift_and_log_scale(z * seen)
        log_scale = log_scale * (1 - seen)
        return z * (-log_scale).exp() - shift * (1 - seen), -log_scale.sum(dim=(1, 2, 3))

    def initialize(self, x: Tensor) -> Tensor:
        """Initialises the conditioner and passes x on."""
        self.conditioner.initialize(x * self._mask(x))
        return self(x)[0]

    def _shift_and_log_scale(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        h = self.conditioner(seen)
        if self.affine:
            return shift_and_log_scale(h, self.min_scale)
        return h, torch.zeros_like(h)

    def _mask(self, x: Tensor) -> Tensor:
        rows = torch.arange(x.shape[2], device=x.device)[:, None]
        columns = torch.arange(x.shape[3], device=x.device)
        return ((rows + columns + self.parity + 1) % 2).to(x.dtype)
