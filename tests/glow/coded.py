"""A small model that codes images, and images of it."""

import numpy as np
import torch

from glow import Glow, GlowConfig
from glow.apps.lossless.codec import Levels

SMALL = {"image_size": 8, "n_bits": 5, "n_levels": 2, "depth": 2, "hidden_channels": 5}


def glow_of(*, noise: float = 0.05, **changes: object) -> Glow:
    torch.manual_seed(0)
    glow = Glow(GlowConfig(**{**SMALL, **changes})).eval()
    with torch.no_grad():
        for parameter in glow.parameters():
            parameter += noise * torch.randn_like(parameter)
    return glow


def levels_of(config: GlowConfig, n: int = 20) -> Levels:
    shape = (n, config.channels, config.image_size, config.image_size)
    return np.random.default_rng(0).integers(0, 2**config.n_bits, shape, dtype=np.uint8)
