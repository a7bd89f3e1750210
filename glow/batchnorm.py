"""Batch normalisation as a bijection (RealNVP, section 3.7); what ActNorm replaced."""

import torch
from torch import Tensor

from glow.bijection import Bijection

EPSILON = 1e-5
MOMENTUM = 0.1


class BatchNorm(Bijection):
    """z = (x - mean) / sqrt(var + 1e-5), per channel; log_det = -H W sum(log(var + 1e-5)) / 2.

    While it trains, mean and variance are the batch's, so an image's likelihood depends on its
    neighbours; otherwise, and in the inverse, they are running averages, and it does not. There
    is no scale and shift after it: the next coupling has them. Every process would keep averages
    of its own, so it is for training in one process.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Z (B, C, H, W), log_det (B,)."""
        mean, variance = self.mean, self.variance
        if self.training:
            mean, variance = _statistics(x)
            with torch.no_grad():
                self.mean.lerp_(mean, MOMENTUM)
                self.variance.lerp_(variance, MOMENTUM)
        z = (x - mean[:, None, None]) * (variance + EPSILON).rsqrt()[:, None, None]
        return z, -self._log_std(x, variance)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """X (B, C, H, W), log_det (B,), by the running averages."""
        x = z * (self.variance + EPSILON).sqrt()[:, None, None] + self.mean[:, None, None]
        return x, self._log_std(z, self.variance)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> Tensor:
        """The averages start as the statistics of x."""
        mean, variance = _statistics(x)
        self.mean.copy_(mean)
        self.variance.copy_(variance)
        return self(x)[0]

    def _log_std(self, x: Tensor, variance: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        return (0.5 * height * width * (variance + EPSILON).log().sum()).expand(batch)


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
    return mean, variance
