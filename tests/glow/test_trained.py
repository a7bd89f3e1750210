"""A flow that was trained: its inverse, and its numbers in float32 against float64."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from glow import Glow, GlowConfig, bits_per_dim, dequantize, quantize
from glow.apps.lossless import code, decode
from glow.apps.lossless.stack import MAX_BIN_BITS
from glow.prior import normal_log_density
from glow.trainer import Batch, TrainConfig, Trainer

pytestmark = [pytest.mark.proof, pytest.mark.slow]

CONFIG = GlowConfig(
    image_size=16, n_bits=5, n_levels=2, depth=4, hidden_channels=24, min_scale=0.3
)


def pictures(n: int, seed: int) -> Tensor:
    """Levels of two-coloured discs on shaded grounds: something with edges to learn."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:16, :16]
    images = np.empty((n, 3, 16, 16))
    for image in images:
        row, column, radius = random.uniform(4, 12, 3)
        disc = (rows - row) ** 2 + (columns - column) ** 2 < radius**2 / 4
        ground, colour = random.uniform(0, 1, (2, 3, 1, 1))
        image[:] = np.where(disc, colour, ground * (0.6 + 0.4 * rows / 15))
    return torch.from_numpy(np.floor(np.clip(images, 0, 0.999) * 32).astype(np.uint8))


@pytest.fixture(scope="module")
def trained() -> Glow:
    torch.manual_seed(0)
    levels = pictures(400, seed=0)
    glow = Glow(CONFIG)
    glow.initialize(dequantize(levels, 5, torch.Generator().manual_seed(0)))
    how = TrainConfig(
        steps=200,
        optimizer="adamw",
        learning_rate=2e-3,
        warmup_steps=20,
        decay_steps=100,
        max_grad_norm=50.0,
        ema_decay=0.98,
    )
    trainer = Trainer(glow, how, seed=0)
    order = np.random.default_rng(0)
    reports = list(trainer.train(lambda _: Batch(levels[order.integers(0, 400, 32)])))
    assert reports[-1].bits_per_dim < reports[0].bits_per_dim - 1
    return trainer.ema_glow.eval()


@torch.inference_mode()
def test_the_inverse_returns_the_very_pixels(trained: Glow) -> None:
    """Of test images, of what is no image of the data set, and of samples at T = 1.

    With the default `min_scale`: without it the inverse of an affine coupling divides by scales
    near zero where an image is unlike all that was seen, and float32 does not bring noise back.
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 32, (50, 3, 16, 16), generator=generator, dtype=torch.uint8)
    flat = torch.arange(32, dtype=torch.uint8)[:, None, None, None].expand(32, 3, 16, 16)
    of_levels = {"test images": pictures(50, seed=1), "noise": noise, "flat images": flat}
    for name, levels in of_levels.items():
        x = (levels + 0.5) / 32 - 0.5
        back = trained.decode(trained.encode(x))
        assert float((back - x).abs().max()) * 32 < 0.5, name
        assert torch.equal(quantize(back, 5), levels), name
    samples = trained.sample(50, generator=generator)
    assert bool(samples.isfinite().all())
    back = trained.decode(trained.encode(samples))
    assert float((back - samples).abs().max()) * 32 < 0.5


@torch.inference_mode()
def test_float32_costs_what_float64_does(trained: Glow) -> None:
    x = dequantize(pictures(100, seed=2), 5, torch.Generator().manual_seed(0))
    exact = copy.deepcopy(trained).double()

    def bits(glow: Glow, x: Tensor) -> Tensor:
        return bits_per_dim(glow.log_prob(x).double(), CONFIG.n_dims, 5)

    difference = bits(trained, x) - bits(exact, x.double())
    assert float(difference.abs().max()) < 1e-4


def test_coded_images_have_the_evaluated_size(trained: Glow) -> None:
    """But for latents so far out that the coder's smallest probability is above the density's."""
    levels = pictures(600, seed=3)
    coded = code(trained, levels.numpy(), batch_size=20)
    assert np.array_equal(decode(trained, coded), levels.numpy())
    generator = torch.Generator().manual_seed(0)
    bits, saved = [], []
    with torch.inference_mode():
        for _ in range(8):
            said = trained(dequantize(levels, 5, generator))
            bits.append(bits_per_dim(said.log_prob.double(), CONFIG.n_dims, 5))
            of_bins = -normal_log_density(said.latents.flatten().double()) / math.log(2) + 5
            saved.append((of_bins - MAX_BIN_BITS).clamp(min=0).sum(dim=1) / CONFIG.n_dims)
    evaluated, expected = torch.stack(bits).mean(), (torch.stack(bits) - torch.stack(saved)).mean()
    net = coded.net_bits / levels.numel()
    assert net == pytest.approx(float(expected), abs=0.005)
    assert net < float(evaluated) + 0.005
