"""Small models in float64, random everywhere, and what their density must be."""

from typing import Any

import pytest
import torch
from torch import Tensor

from glow import Glow, GlowConfig
from glow.architecture import PERMUTATIONS

SIZES = [(1, 4), (2, 4), (3, 8)]  # levels, side of the image
COUPLINGS = ("additive", "affine")
COMBINATIONS = [(coupling, name) for coupling in COUPLINGS for name in PERMUTATIONS]

over_sizes = pytest.mark.parametrize(("n_levels", "side"), SIZES)
over_channels = pytest.mark.parametrize("channels", [1, 3, 4])
over_combinations = pytest.mark.parametrize(("coupling", "permutation"), COMBINATIONS)


def config_of(n_levels: int = 2, side: int = 4, channels: int = 1, **changes: Any) -> GlowConfig:  # noqa: ANN401
    small = {"depth": 2, "hidden_channels": 5} | changes
    return GlowConfig(image_size=side, channels=channels, n_levels=n_levels, **small)


def new_glow(config: GlowConfig, seed: int = 0, *, noise: float = 0.1) -> Glow:
    """In float64, no parameter zero.

    Noise of 0.1 makes a flow that maps images well but overflows from latents that no image has,
    as the inverse couplings feed on each other; 0.02 is tame both ways.
    """
    torch.manual_seed(seed)
    glow = Glow(config).double()
    with torch.no_grad():
        for parameter in glow.parameters():
            parameter += noise * torch.randn_like(parameter)
    return glow


def images(config: GlowConfig, n: int = 3, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (n, config.channels, config.image_size, config.image_size)
    return torch.rand(shape, generator=generator, dtype=torch.float64) - 0.5


def assert_close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


def density_by_jacobian(glow: Glow, x: Tensor, labels: Tensor | None = None) -> Tensor:
    """Log N(encode(x); 0, 1) + log|det of the Jacobian of encode|, image by image."""

    def of_one(image: Tensor, label: Tensor | None) -> Tensor:
        jacobian = torch.autograd.functional.jacobian(
            lambda v: glow.encode(v[None], label).flatten()[0], image
        ).reshape(image.numel(), image.numel())
        eps = glow.encode(image[None], label).flatten()[0]
        normal = torch.distributions.Normal(torch.zeros_like(eps), torch.ones_like(eps))
        return normal.log_prob(eps).sum() + torch.linalg.slogdet(jacobian).logabsdet

    each = [None] * len(x) if labels is None else list(labels[:, None])
    return torch.stack([of_one(image, label) for image, label in zip(x, each, strict=True)])
