"""The Gaussian of the latents, as a map from latents to standard normal noise."""

import math

import torch
from torch import Tensor, nn

from glow.conditioner import ZeroConv3x3

LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


class GaussianPrior(nn.Module):
    """p(z | context) = N(mean, std^2), and eps = (z - mean) / std, which is N(0, 1) under it.

    The flow hands on eps, not z, as the original does (model.py, `get_eps`): so every level of
    the latents is standard normal, temperature is a factor on it, and an edit of a coarse level
    carries the means of the finer ones with it.

    Args:
        channels: of z.
        context: "none" is the standard normal; "learned" has a mean and a log-std per channel
            (the original's `learntop`); "kept" predicts both from the half of the channels that
            a split keeps, which are as many as z's.
    """

    def __init__(self, channels: int, *, context: str) -> None:
        super().__init__()
        self.channels = channels
        if context == "kept":
            self.network = ZeroConv3x3(channels, 2 * channels)
        self.context = context
        if context == "learned":
            self.mean = nn.Parameter(torch.zeros(channels))
            self.log_std = nn.Parameter(torch.zeros(channels))

    def forward(self, z: Tensor, kept: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Eps (B, C, H, W) and log p(z | kept), (B,), in nats."""
        mean, log_std = self._mean_and_log_std(z, kept)
        eps = (z - mean) * (-log_std).exp()
        log_density = -0.5 * eps.square() - log_std - LOG_SQRT_2PI
        return eps, log_density.sum(dim=(1, 2, 3))

    def inverse(self, eps: Tensor, kept: Tensor | None = None) -> Tensor:
        """Z = mean + std * eps, (B, C, H, W)."""
        mean, log_std = self._mean_and_log_std(eps, kept)
        return mean + log_std.exp() * eps

    def _mean_and_log_std(self, z: Tensor, kept: Tensor | None) -> tuple[Tensor, Tensor]:
        match self.context:
            case "kept":
                h = self.network(kept)
                return h[:, 0::2], h[:, 1::2]
            case "learned":
                return self.mean[:, None, None], self.log_std[:, None, None].expand_as(z)
            case _:
                return z.new_zeros(()), torch.zeros_like(z)
