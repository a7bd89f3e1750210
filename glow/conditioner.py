"""The network inside a coupling layer, and its convolutions with an edge bias."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glow.actnorm import ActNorm


class Conv3x3(nn.Module):
    """Weights of a 3x3 convolution over x and over a channel that is 1 outside the image, else 0.

    The extra channel tells the network where the image ends, as in the authors' code. It is never
    built: a channel e that is 1 on the padding and 0 inside equals 1 - (1 inside, 0 outside), so
    its part of the sum is that of a constant minus that of an ordinary zero-padded channel of
    ones. The bias takes the constant; `planes` of ones are appended to the input, or, where the
    input is wide and the output narrow, their (1, C', H, W) response is added to the output.

    Args:
        in_channels: of x.
        out_channels: of the output.
        std: of the first weights.
        edge_bias: whether there is that extra channel.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, std: float, edge_bias: bool
    ) -> None:
        super().__init__()
        self.edge_bias = edge_bias
        seen = in_channels + 1 if edge_bias else in_channels
        self.weight = nn.Parameter(torch.randn(out_channels, seen, 3, 3) * std)

    def forward(self, x: Tensor) -> Tensor:
        """Conv(x), (B, C, H, W) -> (B, C', H, W)."""
        ones = self.weight.new_ones(len(self.weight))
        return self.add_to_output(x, ones, torch.zeros_like(ones))

    def append_to_input(self, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        """Scale * conv(x) + bias, for an input narrower than the output."""
        weight = self.weight * scale[:, None, None, None]
        if not self.edge_bias:
            return F.conv2d(x, _nhwc(weight), bias, padding=1)
        edge = weight[:, -1:]
        kernel = torch.cat((weight[:, :-1], -edge), dim=1)
        x = torch.cat((x, torch.ones_like(x[:, :1])), dim=1)
        return F.conv2d(x, _nhwc(kernel), bias + edge.sum(dim=(1, 2, 3)), padding=1)

    def add_to_output(self, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        """Scale * conv(x) + bias, for an input wider than the output."""
        weight = self.weight * scale[:, None, None, None]
        if not self.edge_bias:
            return F.conv2d(x, _nhwc(weight), bias, padding=1)
        edge = weight[:, -1:]
        response = F.conv2d(torch.ones_like(x[:1, :1]), edge, padding=1)
        bias = bias + edge.sum(dim=(1, 2, 3))
        return F.conv2d(x, _nhwc(weight[:, :-1]), bias, padding=1) - response


class ZeroConv3x3(nn.Module):
    """y = (conv(x) + bias) * exp(f logs), zero at the start: gently."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        edge_bias: bool = True,
        log_scale_factor: float = 3.0,
    ) -> None:
        super().__init__()
        self.log_scale_factor = log_scale_factor
        self.conv = Conv3x3(in_channels, out_channels, std=0.0, edge_bias=edge_bias)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.logs = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H, W)."""
        scale = (self.log_scale_factor * self.logs).exp()
        return self.conv.add_to_output(x, scale, self.bias * scale)


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
        scale1, scale2 = self.norm1.log_scale.exp(), self.norm2.log_scale.exp()
        h = self.conv1.append_to_input(x, scale1, self.norm1.bias * scale1).relu_()
        weight2 = (self.weight2 * scale2[:, None])[:, :, None, None]
        h = F.conv2d(h, weight2, self.norm2.bias * scale2).relu_()
        return self.conv3(h)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Initialises both ActNorms from what x makes of the convolutions before them."""
        unscaled = torch.ones_like(self.norm1.bias), torch.zeros_like(self.norm1.bias)
        h = self.norm1.initialize(self.conv1.append_to_input(x, *unscaled)).relu()
        self.norm2.initialize(F.conv2d(h, self.weight2[:, :, None, None]))


def _nhwc(kernel: Tensor) -> Tensor:
    return kernel.contiguous(memory_format=torch.channels_last)
