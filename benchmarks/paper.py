"""The paper's CIFAR-10 model as benchmarks time it; images and rates that let no step diverge."""

import torch
import torch.nn.functional as F
from torch import Tensor

from glow import Glow, GlowConfig, dequantize
from glow.trainer import TrainConfig

# weights that hardly move, so that no step diverges, however many there are
SLOWLY = TrainConfig(
    steps=10**9,
    optimizer="adamax",
    learning_rate=1e-5,
    warmup_steps=0,
    decay_steps=0,
    max_grad_norm=50.0,
    ema_decay=0.99,
)


def config(width: int, depth: int, image_size: int) -> GlowConfig:
    """The paper's CIFAR-10 model at another width and depth; all of its mathematics."""
    return GlowConfig(
        image_size=image_size, n_levels=3, depth=depth, hidden_channels=width, min_scale=0.0
    )


def levels(model: GlowConfig, n: int, device: torch.device) -> Tensor:
    """N smooth pictures, uint8, (n, C, H, W)."""
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(n, model.channels, 8, 8, generator=generator)
    smooth = F.interpolate(small, size=model.image_size, mode="bilinear")
    return (smooth * (2**model.n_bits - 1)).to(torch.uint8).to(device)


def new_glow(model: GlowConfig, images: Tensor) -> Glow:
    """Initialised from levels, on their device."""
    torch.manual_seed(0)
    with images.device:  # drawn there: a large one would take long on a CPU
        glow = Glow(model)
    glow.initialize(dequantize(images, model.n_bits))
    return glow
