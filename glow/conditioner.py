"""The network inside a coupling layer."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glow.actnorm import ActNorm
from glow.convolution import Conv3x3, Folded, ZeroConv3x3, conv_backward, unfold


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
        return self.run(x, self.fold()).out

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Initialises both ActNorms from what x makes of the convolutions before them."""
        zero, one = torch.zeros_like(self.norm1.bias), torch.ones_like(self.norm1.bias)
        unscaled = self.conv1.fold(zero, one)
        h = self.norm1.initialize(self.conv1.append_to_input(x, unscaled)).relu()
        self.norm2.initialize(F.conv2d(h, self.weight2[:, :, None, None]))

    def fold(self) -> "FoldedNetwork":
        """All scales folded into the three convolutions."""
        scale2 = self.norm2.log_scale.exp()
        weight2 = (self.weight2 * scale2[:, None])[:, :, None, None]
        return FoldedNetwork(
            *self.conv1.fold(self.norm1.bias, self.norm1.log_scale.exp()),
            *Folded(weight2, self.norm2.bias * scale2),
            *self.conv3.fold(),
        )

    def run(self, x: Tensor, folded: "FoldedNetwork") -> "Activations":
        """The network, and what is in memory on the way."""
        seen, h1 = self.run_first(x, folded)
        h2 = F.conv2d(h1, *folded.second).relu_()
        out = self.conv3.conv.add_to_output(h2, folded.third).contiguous()
        return Activations(seen, h1, h2, out)

    def run_first(self, x: Tensor, folded: "FoldedNetwork") -> tuple[Tensor, Tensor]:
        """What the first convolution sees, and the first hidden activation."""
        seen = self.conv1.with_edge(x)
        return seen, F.conv2d(seen, *folded.first, padding=1).relu_()

    def pullback(
        self, at: "Activations", folded: "FoldedNetwork", grad: Tensor
    ) -> tuple[Tensor, dict[nn.Parameter, Tensor]]:
        """The gradients of x and of the parameters from that of the output."""
        edge = self.conv1.edge_bias
        grad = grad.contiguous(memory_format=torch.channels_last)
        grad, third = self.conv3.conv.add_to_output_backward(grad, at.h2, folded.third)
        grad, second = conv_backward(_through_relu_(grad, at.h2), at.h1, folded.second)
        grad, first = conv_backward(_through_relu_(grad, at.h1), at.seen, folded.first)
        of1 = unfold(first, folded.first, self.norm1.log_scale.exp(), edge=edge)
        of2 = unfold(second, folded.second, self.norm2.log_scale.exp(), edge=False)
        of3 = unfold(third, folded.third, self.conv3.log_scale.exp(), edge=edge)
        last = self.conv3
        gradients = {
            self.conv1.weight: of1[0],
            self.norm1.bias: of1[1],
            self.weight2: of2[0][:, :, 0, 0],
            self.norm2.bias: of2[1],
            last.conv.weight: of3[0],
            last.bias: of3[1],
            last.logs: of3[2] * last.log_scale_factor,
        }
        for normalization, of_log_scale in ((self.norm1, of1[2]), (self.norm2, of2[2])):
            if isinstance(normalization, ActNorm):
                gradients[normalization.logs] = of_log_scale * normalization.log_scale_factor
        return grad[:, : grad.shape[1] - int(edge)], gradients


class FoldedNetwork(NamedTuple):
    """The three convolutions of a conditioner."""

    kernel1: Tensor
    bias1: Tensor
    kernel2: Tensor
    bias2: Tensor
    kernel3: Tensor
    bias3: Tensor

    @property
    def first(self) -> Folded:
        """Conv 3x3 and its ActNorm."""
        return Folded(self.kernel1, self.bias1)

    @property
    def second(self) -> Folded:
        """Conv 1x1 and its ActNorm."""
        return Folded(self.kernel2, self.bias2)

    @property
    def third(self) -> Folded:
        """The zero convolution."""
        return Folded(self.kernel3, self.bias3)


class Activations(NamedTuple):
    """Of a conditioner: what its first convolution sees, both hidden ones, the output."""

    seen: Tensor
    h1: Tensor
    h2: Tensor
    out: Tensor


def _through_relu_(grad: Tensor, h: Tensor) -> Tensor:
    """The gradient before a ReLU from that after it, in its place."""
    return torch.ops.aten.threshold_backward.grad_input(grad, h, 0, grad_input=grad)
