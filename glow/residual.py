"""RealNVP's network inside a coupling layer: residual blocks in place of one hidden layer."""

import torch
from torch import Tensor, nn

from glow.conditioner import Norm, norm
from glow.convolution import Conv3x3, ZeroConv3x3

BLOCKS = 2


class ResidualBlock(nn.Module):
    """h + conv3x3(relu(norm(conv3x3(relu(norm(h)))))), (B, C, H, W) (RealNVP, section 3.4)."""

    def __init__(
        self, channels: int, *, edge_bias: bool, actnorm: bool, log_scale_factor: float
    ) -> None:
        super().__init__()
        self.norm1 = norm(channels, actnorm=actnorm, log_scale_factor=log_scale_factor)
        self.conv1 = Conv3x3(channels, channels, std=0.05, edge_bias=edge_bias)
        self.norm2 = norm(channels, actnorm=actnorm, log_scale_factor=log_scale_factor)
        self.conv2 = Conv3x3(channels, channels, std=0.05, edge_bias=edge_bias)

    def forward(self, h: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        y = self.conv1(_normalized(self.norm1, h).relu_())
        return h + self.conv2(_normalized(self.norm2, y).relu_())

    def initialize(self, h: Tensor) -> Tensor:
        """Initialises both norms and passes h on."""
        y = self.conv1(self.norm1.initialize(h).relu())
        return h + self.conv2(self.norm2.initialize(y).relu())


class ResidualConditioner(nn.Module):
    """conv 3x3, residual blocks, norm, ReLU, zero conv 3x3.

    RealNVP has batch normalisation and weight normalisation inside; here it is ActNorm, so that
    an image's likelihood depends on that image alone.
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
        self.conv1 = Conv3x3(in_channels, hidden_channels, std=0.05, edge_bias=edge_bias)
        self.blocks = nn.ModuleList(
            ResidualBlock(
                hidden_channels,
                edge_bias=edge_bias,
                actnorm=actnorm,
                log_scale_factor=log_scale_factor,
            )
            for _ in range(BLOCKS)
        )
        self.norm = norm(hidden_channels, actnorm=actnorm, log_scale_factor=log_scale_factor)
        self.conv3 = ZeroConv3x3(
            hidden_channels, out_channels, edge_bias=edge_bias, log_scale_factor=log_scale_factor
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H, W)."""
        h = self.conv1(x)
        for block in self.blocks:
            h = block(h)
        return self.conv3(_normalized(self.norm, h).relu_())

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Initialises every norm from what x makes of the layers before it."""
        h = self.conv1(x)
        for block in self.blocks:
            h = block.initialize(h)  # type: ignore[operator]  # ModuleList yields Module
        self.norm.initialize(h)


def _normalized(norm: Norm, h: Tensor) -> Tensor:
    return torch.addcmul(
        (norm.bias * norm.log_scale.exp())[:, None, None], h, norm.log_scale.exp()[:, None, None]
    )
