"""The Gaussian of the latents, as a map from latents to standard normal noise."""

import math

import torch
from torch import Tensor, nn

from glow.convolution import ZeroConv3x3
from glow.split_gradient import ByHand

LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


def normal_log_density(eps: Tensor) -> Tensor:
    """Log N(eps; 0, 1), per entry, nats."""
    return -0.5 * eps.square() - LOG_SQRT_2PI


class SplitPrior(nn.Module):
    """p(z | kept) = N(mean, std^2), mean and log-std from a zero convolution of the kept half.

    Like every prior of the flow it hands on eps = (z - mean) / std, which is N(0, 1) under it,
    as the original does (model.py, `get_eps`), and not z: so every level of the latents is
    standard normal, temperature is a factor on it, and an edit of a coarse level carries the
    means of the finer ones with it.

    Args:
        channels: of z, and as many of the half that is kept.
        edge_bias: of the convolution.
        log_scale_factor: of the convolution.
    """

    def __init__(
        self, channels: int, *, edge_bias: bool = True, log_scale_factor: float = 3.0
    ) -> None:
        super().__init__()
        self.network = ZeroConv3x3(
            channels, 2 * channels, edge_bias=edge_bias, log_scale_factor=log_scale_factor
        )

    def forward(self, z: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Eps (B, C, H, W) and log p(z | kept), (B,), in nats."""
        if self.training and torch.is_grad_enabled():
            last, factor = self.network, self.network.log_scale_factor
            eps, log_prob = ByHand.apply(
                z, kept, last.conv.weight, last.bias, last.logs, factor, last.conv.edge_bias
            )
            return eps, log_prob
        mean, log_std = self.mean_and_log_std(kept)
        eps = (z - mean) * (-log_std).exp()
        return eps, (normal_log_density(eps) - log_std).sum(dim=(1, 2, 3))

    def inverse(self, eps: Tensor, kept: Tensor) -> Tensor:
        """Z = mean + std * eps, (B, C, H, W)."""
        mean, log_std = self.mean_and_log_std(kept)
        return mean + log_std.exp() * eps

    def mean_and_log_std(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Both (B, C, H, W)."""
        h = self.network(kept)
        return h[:, 0::2], h[:, 1::2]


class TopPrior(nn.Module):
    """p(z | class) = N(mean, std^2) of the last level, mean and log-std per channel.

    Both are 0 where they are not learned (the original's `learntop`), and each class adds its own
    (its `ycond`). A classifier on z's mean over pixels says how well z tells the classes apart.

    Args:
        channels: of z.
        learned: whether mean and log-std are learned.
        n_classes: 0 for a prior that is the same for all images.
    """

    def __init__(self, channels: int, *, learned: bool, n_classes: int = 0) -> None:
        super().__init__()
        self.learned, self.n_classes = learned, n_classes
        if learned:
            self.mean = nn.Parameter(torch.zeros(channels))
            self.log_std = nn.Parameter(torch.zeros(channels))
        if n_classes:
            self.class_mean = nn.Parameter(torch.zeros(n_classes, channels))
            self.class_log_std = nn.Parameter(torch.zeros(n_classes, channels))
            self.class_weight = nn.Parameter(torch.zeros(n_classes, channels))
            self.class_bias = nn.Parameter(torch.zeros(n_classes))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Eps (B, C, H, W) and log p(z | labels), (B,), in nats; labels are (B,), of classes."""
        mean, log_std = self.mean_and_log_std(z, labels)
        eps = (z - mean) * (-log_std).exp()
        return eps, (normal_log_density(eps) - log_std).sum(dim=(1, 2, 3))

    def inverse(self, eps: Tensor, labels: Tensor | None = None) -> Tensor:
        """Z = mean + std * eps, (B, C, H, W)."""
        mean, log_std = self.mean_and_log_std(eps, labels)
        return mean + log_std.exp() * eps

    def logits(self, z: Tensor) -> Tensor:
        """Of the classifier, (B, n_classes): log p(class | z) up to a constant."""
        return z.mean(dim=(2, 3)) @ self.class_weight.T + self.class_bias

    def mean_and_log_std(self, z: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Both (B, C, H, W)."""
        mean = log_std = z.new_zeros(len(z), z.shape[1])
        if self.learned:
            mean, log_std = mean + self.mean, log_std + self.log_std
        if self.n_classes:
            if labels is None:
                raise ValueError("this Glow is class-conditional, expected labels, none came")
            mean, log_std = mean + self.class_mean[labels], log_std + self.class_log_std[labels]
        elif labels is not None:
            raise ValueError("this Glow has no classes, expected no labels")
        return _over_pixels(mean, z), _over_pixels(log_std, z)


def _over_pixels(values: Tensor, z: Tensor) -> Tensor:
    return values[:, :, None, None].expand_as(z)
