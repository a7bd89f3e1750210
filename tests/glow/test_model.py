"""The whole model: exact density, exact inverse, gradients, initialisation, sampling."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from glow import Glow, GlowConfig, Latents, interpolate, load_glow, save_glow
from glow.architecture import PERMUTATIONS
from glow.conditioner import Conditioner
from glow.level import FlowStep

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


def close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


def density_by_jacobian(glow: Glow, x: Tensor) -> Tensor:
    """Log N(encode(x); 0, 1) + log|det of the Jacobian of encode|, image by image."""

    def of_one(image: Tensor) -> Tensor:
        jacobian = torch.autograd.functional.jacobian(
            lambda v: glow.encode(v[None]).flatten()[0], image, vectorize=True
        ).reshape(image.numel(), image.numel())
        eps = glow.encode(image[None]).flatten()[0]
        normal = torch.distributions.Normal(torch.zeros_like(eps), torch.ones_like(eps))
        return normal.log_prob(eps).sum() + torch.linalg.slogdet(jacobian).logabsdet

    return torch.stack([of_one(image) for image in x])


@over_sizes
@over_channels
def test_decode_undoes_encode_and_encode_undoes_decode(
    n_levels: int, side: int, channels: int
) -> None:
    config = config_of(n_levels, side, channels)
    glow, x = new_glow(config), images(config)
    close(glow.decode(glow.encode(x)), x, 1e-9)
    glow = new_glow(config, noise=0.02)
    latents = glow.draw_latents(3, generator=torch.Generator().manual_seed(0))
    close(glow.encode(glow.decode(latents)).flatten(), latents.flatten(), 1e-9)


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
    close(log_prob, density_by_jacobian(glow, x), 1e-9)
    assert torch.equal(glow(x).log_prob, log_prob)


@over_combinations
@pytest.mark.parametrize("learn_top", [True, False])
def test_log_prob_is_exact_for_every_kind_of_step(
    coupling: str, permutation: str, *, learn_top: bool
) -> None:
    config = config_of(coupling=coupling, permutation=permutation, learn_top=learn_top)
    glow, x = new_glow(config), images(config, n=1)
    close(glow.log_prob(x), density_by_jacobian(glow, x), 1e-9)
    close(glow.decode(glow.encode(x)), x, 1e-9)


def gradients(glow: Glow, x: Tensor) -> dict[str, Tensor]:
    """Of a loss that depends on the density and on the latents, whose images weigh differently."""
    glow.zero_grad()
    x = x.clone().requires_grad_()
    weights = torch.arange(1.0, len(x) + 1, dtype=x.dtype)
    loss = (weights * glow.log_prob(x)).sum() + glow.encode(x).flatten().sin().sum()
    loss.backward()
    assert x.grad is not None
    missing = [name for name, parameter in glow.named_parameters() if parameter.grad is None]
    assert not missing
    return {"x": x.grad} | {name: p.grad.clone() for name, p in glow.named_parameters()}


@over_combinations
def test_reversible_gradients_are_those_of_autograd(coupling: str, permutation: str) -> None:
    config = config_of(
        channels=3, depth=3, coupling=coupling, permutation=permutation, backprop="reversible"
    )
    glow, x = new_glow(config).train(), images(config)
    reversible = gradients(glow, x)
    for level in glow.levels:
        level.steps.backprop = "autograd"
    by_autograd = gradients(glow, x)
    for name, gradient in by_autograd.items():
        close(reversible[name], gradient, 1e-9)
    assert any(float(gradient.abs().max()) > 0.1 for gradient in by_autograd.values())


def test_reversible_keeps_less_for_the_backward_pass() -> None:
    def alive(backprop: str) -> int:
        config = config_of(n_levels=1, depth=6, backprop=backprop)
        glow, x = new_glow(config).train(), images(config)
        sizes: list[int] = []

        def pack(tensor: Tensor) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            glow.log_prob(x)
        return sum(sizes)

    assert alive("reversible") < alive("autograd") / 6


@pytest.mark.parametrize("backprop", ["autograd", "reversible"])
@pytest.mark.parametrize("coupling", COUPLINGS)
def test_gradients_are_finite_differences(backprop: str, coupling: str) -> None:
    config = config_of(channels=3, depth=1, coupling=coupling, backprop=backprop)
    glow, x = new_glow(config).train(), images(config)
    glow.log_prob(x).sum().backward()
    step = 1e-6
    generator = torch.Generator().manual_seed(0)
    for name, parameter in glow.named_parameters():
        assert parameter.grad is not None, name
        direction = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        with torch.no_grad():
            parameter += step * direction
            above = glow.log_prob(x).sum()
            parameter -= 2 * step * direction
            below = glow.log_prob(x).sum()
            parameter += step * direction
        expected = float((above - below) / (2 * step))
        actual = float((parameter.grad * direction).sum())
        assert actual == pytest.approx(expected, rel=1e-4, abs=1e-5), name


def activations_after_actnorms(step: FlowStep, x: Tensor) -> list[Tensor]:
    """Of the step and of its conditioner, each computed from the layers before it."""
    conditioner: Conditioner = step.coupling.conditioner
    normalised = step.actnorm(x)[0]
    first_half = step.permutation(normalised)[0][:, : x.shape[1] // 2]
    outputs = []
    scale, bias = conditioner.norm1.log_scale.exp(), conditioner.norm1.bias
    h = conditioner.conv1.append_to_input(first_half, scale, scale * bias)
    outputs += [normalised, h]
    h = torch.einsum("oi,bihw->bohw", conditioner.weight2, h.relu())
    return [*outputs, conditioner.norm2(h)[0]]


@over_combinations
def test_initialize_normalises_after_every_actnorm(coupling: str, permutation: str) -> None:
    config = config_of(n_levels=2, side=8, channels=3, coupling=coupling, permutation=permutation)
    glow = new_glow(config)
    x = 0.1 * images(config, n=7) + 0.2
    before = glow.levels[0].steps.bijections[0].actnorm(glow.levels[0].squeeze(x)[0])[0]
    assert before.mean().abs().item() > 0.01
    glow.initialize(x)
    checked = 0
    with torch.no_grad():
        for level in glow.levels:
            x = level.squeeze(x)[0]
            for step in level.steps.bijections:
                for h in activations_after_actnorms(step, x):
                    mean, variance = h.mean(dim=(0, 2, 3)), h.var(dim=(0, 2, 3), correction=0)
                    close(mean, torch.zeros_like(mean), 1e-8)
                    close(variance, torch.ones_like(variance), 1e-3)
                    checked += 1
                x = step(x)[0]
            if level.split is not None:
                x = level.split(x)[0]
    assert checked == 2 * 2 * 3


def test_initialize_refuses_a_second_time_also_after_loading(tmp_path: Path) -> None:
    config = config_of()
    glow, x = Glow(config), images(config).float()
    assert not glow.initialized
    save_glow(glow, tmp_path / "new")
    load_glow(tmp_path / "new").initialize(x)
    glow.initialize(x)
    log_prob = glow.log_prob(x)
    with pytest.raises(ValueError, match="initialized already"):
        glow.initialize(x * 2)
    assert torch.equal(glow.log_prob(x), log_prob)
    save_glow(glow, tmp_path / "old")
    with pytest.raises(ValueError, match="initialized already"):
        load_glow(tmp_path / "old").initialize(x)


def test_a_refused_batch_leaves_the_model_uninitialised() -> None:
    config = config_of()
    glow = Glow(config).double()
    with pytest.raises(ValueError, match="expected"):
        glow.initialize(images(config)[:, :, :2])
    glow.initialize(images(config))


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
    close(samples[0], samples[1], 1e-12)
    close(glow.encode(samples).flatten(), torch.zeros(2, config.n_dims, dtype=torch.float64), 1e-9)


def test_sample_is_the_decoded_seeded_noise_times_the_temperature() -> None:
    glow = new_glow(config_of(3, 8, 3), noise=0.02)

    def seeded(seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    samples = glow.sample(3, temperature=0.7, generator=seeded(0))
    assert torch.equal(samples, glow.sample(3, temperature=0.7, generator=seeded(0)))
    assert not torch.allclose(samples, glow.sample(3, temperature=0.7, generator=seeded(1)))
    noise = glow.draw_latents(3, generator=seeded(0))
    close(glow.encode(samples).flatten(), 0.7 * noise.flatten(), 1e-9)


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
        ({"backprop": "none"}, "backprop is 'none', expected one of autograd, reversible"),
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


@pytest.mark.parametrize("backprop", ["autograd", "reversible"])
def test_frozen_parameters_do_not_stop_training_of_the_others(backprop: str) -> None:
    config = config_of(backprop=backprop)
    glow = new_glow(config).train()
    for name, parameter in glow.named_parameters():
        parameter.requires_grad_(requires_grad="permutation" not in name)
    glow.log_prob(images(config)).sum().backward()
    assert all(p.grad is not None for n, p in glow.named_parameters() if "permutation" not in n)
