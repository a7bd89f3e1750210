"""The network inside a coupling layer, and its convolutions with an edge bias."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glow.actnorm import LOG_SCALE_FACTOR, ActNorm


class EdgeConv3x3(nn.Module):
    """Weights of a 3x3 convolution over x and over a channel that is 1 outside the image, else 0.

    The extra channel tells the network where the image ends, as in the authors' code. It is never
    built: a channel e that is 1 on the padding and 0 inside equals 1 - (1 inside, 0 outside), so
    its part of the sum is that of a constant minus that of an ordinary zero-padded channel of
    ones. The bias takes the constant; `planes` of ones are appended to the input, or, where the
    input is wide and the output narrow, their (1, C', H, W) response is added to the output.
    """

    def __init__(self, in_channels: int, out_channels: int, *, std: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels + 1, 3, 3) * std)

    def append_to_input(self, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        """Scale * conv(x) + bias, for an input narrower than the output."""
        weight = self.weight * scale[:, None, None, None]
        edge = weight[:, -1:]
        kernel = torch.cat((weight[:, :-1], -edge), dim=1)
        x = torch.cat((x, torch.ones_like(x[:, :1])), dim=1)
        return F.conv2d(x, _nhwc(kernel), bias + edge.sum(dim=(1, 2, 3)), padding=1)

    def add_to_output(self, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        """Scale * conv(x) + bias, for an input wider than the output."""
        weight = self.weight * scale[:, None, None, None]
        edge = weight[:, -1:]
        response = F.conv2d(torch.ones_like(x[:1, :1]), edge, padding=1)
        bias = bias + edge.sum(dim=(1, 2, 3))
        return F.conv2d(x, _nhwc(weight[:, :-1]), bias, padding=1) - response


class ZeroConv3x3(nn.Module):
    """y = (conv(x) + bias) * exp(3 logs), zero at the start: gently."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = EdgeConv3x3(in_channels, out_channels, std=0.0)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.logs = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H, W)."""
        scale = (LOG_SCALE_FACTOR * self.logs).exp()
        return self.conv.add_to_output(x, scale, self.bias * scale)


class Conditioner(nn.Module):
    """conv 3x3, actnorm, ReLU, conv 1x1, actnorm, ReLU, zero conv 3x3 (Glow, section 3.3).

    Each ActNorm is folded into the convolution before it, s (W x + b) = (s W) x + s b: the same
    numbers for one pass over the wide activations less.
    """

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = EdgeConv3x3(in_channels, hidden_channels, std=0.05)
        self.actnorm1 = ActNorm(hidden_channels)
        self.weight2 = nn.Parameter(torch.randn(hidden_channels, hidden_channels) * 0.05)
        self.actnorm2 = ActNorm(hidden_channels)
        self.conv3 = ZeroConv3x3(hidden_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H, W)."""
        scale1, scale2 = self.actnorm1.log_scale.exp(), self.actnorm2.log_scale.exp()
        h = self.conv1.append_to_input(x, scale1, self.actnorm1.bias * scale1).relu_()
        weight2 = (self.weight2 * scale2[:, None])[:, :, None, None]
        h = F.conv2d(h, weight2, self.actnorm2.bias * scale2).relu_()
        return self.conv3(h)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Initialises both ActNorms from what x makes of the convolutions before them."""
        unscaled = torch.ones_like(self.actnorm1.bias), torch.zeros_like(self.actnorm1.bias)
        h = self.actnorm1.initialize(self.conv1.append_to_input(x, *unscaled)).relu()
        self.actnorm2.initialize(F.conv2d(h, self.weight2[:, :, None, None]))


def _nhwc(kernel: Tensor) -> Tensor:
    return kernel.contiguous(memory_format=torch.channels_last)
