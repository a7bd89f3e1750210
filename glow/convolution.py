"""Convolutions of the networks inside couplings, with the scales around them folded in."""

from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Folded(NamedTuple):
    """What scale * (conv(x) + bias) comes down to: a convolution with other weights."""

    kernel: Tensor
    bias: Tensor


class Conv3x3(nn.Module):
    """Weights of a 3x3 convolution over x and over a channel that is 1 outside the image, else 0.

    The extra channel tells the network where the image ends, as in the authors' code. It is never
    built: a channel e that is 1 on the padding and 0 inside equals 1 + (-1 inside, 0 outside), so
    its part of the sum is that of a constant and that of an ordinary zero-padded channel of -1.
    The bias takes the constant; the channel of -1 is appended to the input, or, where the input
    is wide and the output narrow, its (1, C', H, W) response is added to the output.

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
        return self.add_to_output(x, self.fold(torch.zeros_like(ones), ones))

    def fold(self, bias: Tensor, scale: Tensor) -> Folded:
        """Of scale * (conv(x) + bias); both are (C',)."""
        if self.edge_bias:
            bias = bias + self.weight[:, -1].sum(dim=(1, 2))
        return Folded(_nhwc(self.weight) * scale[:, None, None, None], bias * scale)

    def append_to_input(self, x: Tensor, folded: Folded) -> Tensor:
        """The folded convolution of an input narrower than the output."""
        if self.edge_bias:
            x = torch.cat((x, -torch.ones_like(x[:, :1])), dim=1)
        return F.conv2d(_nhwc(x), folded.kernel, folded.bias, padding=1)

    def add_to_output(self, x: Tensor, folded: Folded) -> Tensor:
        """The folded convolution of an input wider than the output."""
        if not self.edge_bias:
            return F.conv2d(x, folded.kernel, folded.bias, padding=1)
        response = folded.kernel[:, -1].flatten(1) @ inside(x) + folded.bias[:, None]
        out = F.conv2d(x, _nhwc(folded.kernel[:, :-1]), padding=1)
        return out + response.view(out.shape[1:])


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
        return self.conv.add_to_output(x, self.fold())

    def fold(self) -> Folded:
        """The convolution with the scale folded in."""
        return self.conv.fold(self.bias, self.log_scale.exp())

    @property
    def log_scale(self) -> Tensor:
        """Log of the factor on every channel, (C',)."""
        return self.log_scale_factor * self.logs


def _nhwc(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)


def inside(x: Tensor) -> Tensor:
    """(9, H W): -1 where the neighbour that a 3x3 kernel's entry sees is inside the image."""
    return _inside_of(x.shape[2], x.shape[3], x.device, x.dtype)


@lru_cache(maxsize=32)
def _inside_of(height: int, width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    ones = torch.ones(1, 1, height, width, device=device, dtype=dtype)
    return -F.unfold(ones, 3, padding=1)[0]
