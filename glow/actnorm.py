"""Activation normalisation (Glow, section 3.1)."""

import torch
from torch import Tensor, nn

from glow.bijection import Bijection
from glow.parallel import average


class ActNorm(Bijection):
    """z = (x + bias) * exp(f logs), per channel; log_det = H W sum(f logs).

    `initialize` makes the first batch zero-mean and of unit variance in every channel, with the
    statistics of the global batch where several processes train.

    Args:
        channels: of x.
        log_scale_factor: f; makes the log-scales learn faster; the authors' code has 3.
    """

    def __init__(self, channels: int, log_scale_factor: float = 3.0) -> None:
        super().__init__()
        self.log_scale_factor = log_scale_factor
        self.bias = nn.Parameter(torch.zeros(channels))
        self.logs = nn.Parameter(torch.zeros(channels))

    @property
    def log_scale(self) -> Tensor:
        """Log of the factor on every channel, (C,)."""
        return self.log_scale_factor * self.logs

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Z (B, C, H, W), log_det (B,)."""
        z = (x + _per_channel(self.bias)) * _per_channel(self.log_scale.exp())
        return z, self._log_det(x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """X (B, C, H, W), log_det (B,)."""
        x = z * _per_channel((-self.log_scale).exp()) - _per_channel(self.bias)
        return x, -self._log_det(z)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> Tensor:
        """Bias = -mean(x), f logs = -log(std(x) + 1e-6), both over B, H and W."""
        mean = average(x.mean(dim=(0, 2, 3)))
        variance = average((x - _per_channel(mean)).square().mean(dim=(0, 2, 3)))
        self.bias.copy_(-mean)
        self.logs.copy_(-(variance.sqrt() + 1e-6).log() / self.log_scale_factor)
        return self(x)[0]

    def _log_det(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        return (height * width * self.log_scale.sum()).expand(batch)


def _per_channel(vector: Tensor) -> Tensor:
    return vector[:, None, None]
