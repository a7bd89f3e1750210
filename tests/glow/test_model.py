"""The whole model: exact density, exact inverse, sampling; configs and latents."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import (
    assert_close,
    config_of,
    density_by_jacobian,
    images,
    new_glow,
    over_channels,
    over_sizes,
)

from glow import Glow, GlowConfig, Latents, interpolate

pytestmark = pytest.mark.proof


@over_sizes
@over_channels
def test_decode_undoes_encode_and_encode_undoes_decode(
    n_levels: int, side: int, channels: int
) -> None:
    config = config_of(n_levels, side, channels)
    glow, x = new_glow(config), images(config)
    assert_close(glow.decode(glow.encode(x)), x, 1e-9)
    glow = new_glow(config, noise=0.02)
    latents = glow.draw_latents(3, generator=torch.Generator().manual_seed(0))
    assert_close(glow.encode(glow.decode(latents)).flatten(), latents.flatten(), 1e-9)


@over_sizes
@over_channels
def test_latents_have_the_shapes_of_the_config(n_levels: int, side: int, channels: int) -> None:
    config = config_of(n_levels, side, channels)
    latents = new_glow(config).encode(images(config, n=3))
    assert [tuple(level.shape) for level in latents] == [(3, *s) for s in config.latent_shapes]
    assert len(latents) == n_levels
    assert sum(math.prod(shape) for shape in config.latent_shapes) == config.n_dims
    assert config.n_dims == channels * side * side
    assert latents.flatten().shape == (3, config.n_dims)


def test_latent_shapes_of_the_paper_are_finest_first() -> None:
    shapes = GlowConfig(image_size=32, n_levels=3).latent_shapes
    assert shapes == [(6, 16, 16), (12, 8, 8), (48, 4, 4)]


@over_sizes
@over_channels
def test_log_prob_is_the_change_of_variables(n_levels: int, side: int, channels: int) -> None:
    config = config_of(n_levels, side, channels, depth=1)
    glow, x = new_glow(config), images(config, n=2)
    log_prob = glow.log_prob(x)
    assert log_prob.shape == (2,)
    assert_close(log_prob, density_by_jacobian(glow, x), 1e-9)
    assert torch.equal(glow(x).log_prob, log_prob)


def test_sample_gives_as_many_images_as_asked() -> None:
    config = config_of(3, 8, 3)
    samples = new_glow(config, noise=0.02).sample(5)
    assert samples.shape == (5, 3, 8, 8)
    assert not samples.requires_grad
    assert len(samples.flatten(1).unique(dim=0)) == 5


def test_sample_at_temperature_zero_is_the_image_of_zero_latents() -> None:
    config = config_of(3, 8, 3)
    glow = new_glow(config, noise=0.02)
    samples = glow.sample(2, temperature=0)
    assert torch.equal(samples, glow.sample(2, temperature=0))
    assert_close(samples[0], samples[1], 1e-12)
    assert_close(
        glow.encode(samples).flatten(), torch.zeros(2, config.n_dims, dtype=torch.float64), 1e-9
    )


def test_sample_is_the_decoded_seeded_noise_times_the_temperature() -> None:
    glow = new_glow(config_of(3, 8, 3), noise=0.02)

    def seeded(seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    samples = glow.sample(3, temperature=0.7, generator=seeded(0))
    assert torch.equal(samples, glow.sample(3, temperature=0.7, generator=seeded(0)))
    assert not torch.allclose(samples, glow.sample(3, temperature=0.7, generator=seeded(1)))
    noise = glow.draw_latents(3, generator=seeded(0))
    assert_close(glow.encode(samples).flatten(), 0.7 * noise.flatten(), 1e-9)


def test_drawn_latents_are_standard_normal() -> None:
    glow = new_glow(config_of())
    drawn = glow.draw_latents(3000, generator=torch.Generator().manual_seed(0)).flatten()
    assert float(drawn.mean()) == pytest.approx(0, abs=0.02)
    assert float(drawn.std()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 1, 4, 8), (2, 1, 8, 8), (1, 4, 4)])
@pytest.mark.parametrize("method", ["log_prob", "encode", "initialize"])
def test_images_of_a_wrong_shape_are_refused(shape: tuple[int, ...], method: str) -> None:
    glow = Glow(config_of())
    with pytest.raises(ValueError, match=r"images are \(.*\), expected \(batch, \*\(1, 4, 4\)\)"):
        getattr(glow, method)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 0}, "image_size is 0, expected at least 1"),
        ({"channels": 0}, "channels is 0, expected at least 1"),
        ({"n_levels": 0}, "n_levels is 0, expected at least 1"),
        ({"depth": -1}, "depth is -1, expected at least 1"),
        ({"hidden_channels": 0}, "hidden_channels is 0, expected at least 1"),
        ({"n_bits": 0}, "n_bits is 0, expected 1 to 8"),
        ({"n_bits": 9}, "n_bits is 9, expected 1 to 8"),
        ({"image_size": 12}, "image_size is 12, expected a multiple of 8"),
        ({"coupling": "affin"}, "coupling is 'affin', expected one of additive, affine"),
        ({"permutation": "lu"}, "permutation is 'lu', expected one of reverse"),
        ({"conditioner": "deep"}, "conditioner is 'deep', expected one of plain, residual"),
        ({"normalization": "x"}, "normalization is 'x', expected one of actnorm"),
        ({"log_scale_factor": 0.0}, "log_scale_factor is 0.0, expected more than 0"),
        ({"checkerboard_depth": -1}, "checkerboard_depth is -1, expected at least 0"),
        ({"classes": ("a",)}, "expected none or different ones"),
        (
            {"normalization": "batchnorm", "backprop": "reversible"},
            "expected autograd with batchnorm",
        ),
        ({"backprop": "none"}, "backprop is 'none', expected one of autograd, balanced"),
    ],
)
def test_an_impossible_config_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GlowConfig(**{"image_size": 16, **changes})


def latents_of(seed: int, n: int) -> Latents:
    generator = torch.Generator().manual_seed(seed)
    return Latents([torch.randn(n, *s, generator=generator) for s in [(2, 2, 4), (4, 1, 2)]])


@settings(max_examples=8, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 5))
def test_unflatten_undoes_flatten_and_arithmetic_is_that_of_flat_vectors(
    seed: int, n: int
) -> None:
    a, b = latents_of(seed, n), latents_of(seed + 1, n)
    for level, back in zip(a, latents_of(0, 7).unflatten(a.flatten()), strict=True):
        assert torch.equal(level, back)
    edited = (a + 2.0 * b - a * 0.5).flatten()
    torch.testing.assert_close(edited, a.flatten() + 2 * b.flatten() - a.flatten() * 0.5)
    assert torch.equal(a.images(slice(0, 1)).flatten(), a.flatten()[:1])


def test_interpolate_is_the_straight_line_with_its_ends() -> None:
    start, end = latents_of(0, 1), latents_of(1, 1)
    line = interpolate(start, end, 5).flatten()
    assert line.shape == (5, 24)
    assert torch.equal(line[:1], start.flatten())
    assert torch.equal(line[-1:], end.flatten())
    torch.testing.assert_close(line[1:2], 0.75 * start.flatten() + 0.25 * end.flatten())
