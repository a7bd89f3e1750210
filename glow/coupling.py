"""Coupling layers: half of the channels says how the other half is changed (Glow, section 3.3)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from glow.bijection import Bijection
from glow.conditioner import Conditioner
from glow.residual import ResidualConditioner

# (channels of the half that is seen, channels of what the coupling needs) -> network
MakeNetwork = Callable[[int, int], Conditioner | ResidualConditioner]


class AdditiveCoupling(Bijection):
    """z1 = x1, z2 = x2 + NN(x1); log_det = 0 (NICE)."""

    def __init__(self, channels: int, network: MakeNetwork) -> None:
        super().__init__()
        half = channels // 2
        self.conditioner = network(half, channels - half)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Z (B, C, H, W), log_det (B,)."""
        x1, x2 = _halves(x)
        return torch.cat((x1, x2 + self.conditioner(x1)), dim=1), x.new_zeros(len(x))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """X (B, C, H, W), log_det (B,)."""
        z1, z2 = _halves(z)
        return torch.cat((z1, z2 - self.conditioner(z1)), dim=1), z.new_zeros(len(z))

    def initialize(self, x: Tensor) -> Tensor:
        """Initialises the conditioner and passes x on."""
        self.conditioner.initialize(_halves(x)[0])
        return self(x)[0]


class AffineCoupling(Bijection):
    """z1 = x1, z2 = (x2 + shift) * scale; log_det = sum(log scale).

    shift and scale = m + (1 - m) sigmoid(s + 2) come from NN(x1): shift from the even, s from
    the odd channels. The original has m = 0; there the inverse divides by scales near zero where
    x1 is unlike the training images, and one sample in some explodes. m bounds what a step
    enlarges on the way back by 1 / m. The +2 starts the scale near 1.

    Args:
        channels: of x.
        network: makes NN.
        min_scale: m, in [0, 1).
    """

    def __init__(self, channels: int, network: MakeNetwork, min_scale: float = 0.0) -> None:
        super().__init__()
        self.min_scale = min_scale
        half = channels // 2
        self.conditioner = network(half, 2 * (channels - half))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Z (B, C, H, W), log_det (B,)."""
        x1, x2 = _halves(x)
        shift, log_scale = self._shift_and_log_scale(x1)
        z2 = (x2 + shift) * log_scale.exp()
        return torch.cat((x1, z2), dim=1), log_scale.sum(dim=(1, 2, 3))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """X (B, C, H, W), log_det (B,)."""
        z1, z2 = _halves(z)
        shift, log_scale = self._shift_and_log_scale(z1)
        x2 = z2 * (-log_scale).exp() - shift
        return torch.cat((z1, x2), dim=1), -log_scale.sum(dim=(1, 2, 3))

    def initialize(self, x: Tensor) -> Tensor:
        """Initialises the conditioner and passes x on."""
        self.conditioner.initialize(_halves(x)[0])
        return self(x)[0]

    def _shift_and_log_scale(self, x1: Tensor) -> tuple[Tensor, Tensor]:
        return shift_and_log_scale(self.conditioner(x1), self.min_scale)


def shift_and_log_scale(h: Tensor, min_scale: float) -> tuple[Tensor, Tensor]:
    """What an affine coupling does to a number, from the even and the odd channels of NN's h."""
    shift, s = h[:, 0::2], h[:, 1::2] + 2.0
    if min_scale == 0.0:
        return shift, F.logsigmoid(s)
    return shift, (min_scale + (1 - min_scale) * s.sigmoid()).log()


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    half = x.shape[1] // 2
    return x[:, :half], x[:, half:]
