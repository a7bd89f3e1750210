"""The network inside a coupling layer."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glow.actnorm import ActNorm
from glow.convolution import Conv3x3, ZeroConv3x3


class Bias(nn.Module):
    """x + bias: what follows a convolution without ActNorm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    @property
    def log_scale(self) -> Tensor:
        """0 for every channel, (C,)."""
        return torch.zeros_like(self.bias)

    def initialize(self, x: Tensor) -> Tensor:
        """Nothing depends on data: x + bias."""
        return x + self.bias[:, None, None]


Norm = ActNorm | Bias


def norm(channels: int, *, actnorm: bool, log_scale_factor: float) -> Norm:
    """What follows a hidden convolution."""
    return ActNorm(channels, log_scale_factor) if actnorm else Bias(channels)


class Conditioner(nn.Module):
    """conv 3x3, actnorm, ReLU, conv 1x1, actnorm, ReLU, zero conv 3x3 (Glow, section 3.3).

    Each ActNorm is folded into the convolution before it, s (W x + b) = (s W) x + s b: the same
    numbers for one pass over the wide activations less.

    Args:
        in_channels: of the half that is seen.
        hidden_channels: width.
        out_channels: as many as the coupling asks for.
        edge_bias: of the 3x3 convolutions.
        actnorm: whether ActNorms, or biases alone, follow the first two convolutions. Their
            weights start as N(0, 0.05^2), as in the authors' code, or, without ActNorm to scale
            what comes out, as N(0, 2 / inputs).
        log_scale_factor: f in the scales exp(f logs).
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        *,
        edge_bias: bool = True,
        actnorm: bool = True,
        log_scale_factor: float = 3.0,
    ) -> None:
        super().__init__()
        std1 = 0.05 if actnorm else math.sqrt(2 / (9 * in_channels))
        std2 = 0.05 if actnorm else math.sqrt(2 / hidden_channels)
        self.conv1 = Conv3x3(in_channels, hidden_channels, std=std1, edge_bias=edge_bias)
        self.norm1 = norm(hidden_channels, actnorm=actnorm, log_scale_factor=log_scale_factor)
        self.weight2 = nn.Parameter(torch.randn(hidden_channels, hidden_channels) * std2)
        self.norm2 = norm(hidden_channels, actnorm=actnorm, log_scale_factor=log_scale_factor)
        self.conv3 = ZeroConv3x3(
            hidden_channels, out_channels, edge_bias=edge_bias, log_scale_factor=log_scale_factor
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H, W)."""
        first = self.conv1.fold(self.norm1.bias, self.norm1.log_scale.exp())
        h = self.conv1.append_to_input(x, first).relu_()
        scale2 = self.norm2.log_scale.exp()
        weight2 = (self.weight2 * scale2[:, None])[:, :, None, None]
        return self.conv3(F.conv2d(h, weight2, self.norm2.bias * scale2).relu_())

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Initialises both ActNorms from what x makes of the convolutions before them."""
        zero, one = torch.zeros_like(self.norm1.bias), torch.ones_like(self.norm1.bias)
        unscaled = self.conv1.fold(zero, one)
        h = self.norm1.initialize(self.conv1.append_to_input(x, unscaled)).relu()
        self.norm2.initialize(F.conv2d(h, self.weight2[:, :, None, None]))
