"""Gradients are finite differences, and reversible ones are autograd's."""

import pytest
import torch
from small import COUPLINGS, assert_close, config_of, images, new_glow, over_combinations
from torch import Tensor

from glow import Glow

pytestmark = pytest.mark.proof


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
        assert_close(reversible[name], gradient, 1e-9)
    assert any(float(gradient.abs().max()) > 0.1 for gradient in by_autograd.values())


def test_what_reversible_keeps_for_the_backward_pass_does_not_grow_with_depth() -> None:
    def alive(backprop: str, depth: int) -> int:
        config = config_of(n_levels=1, depth=depth, backprop=backprop)
        glow, x = new_glow(config).train(), images(config)
        sizes: list[int] = []

        def pack(tensor: Tensor) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            glow.log_prob(x)
        return sum(sizes)

    assert alive("reversible", 24) == alive("reversible", 6)
    assert alive("reversible", 24) < alive("autograd", 24) / 6


@pytest.mark.parametrize("backprop", ["autograd", "balanced", "reversible"])
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


@pytest.mark.parametrize("backprop", ["autograd", "balanced", "reversible"])
def test_frozen_parameters_do_not_stop_training_of_the_others(backprop: str) -> None:
    config = config_of(backprop=backprop)
    glow = new_glow(config).train()
    for name, parameter in glow.named_parameters():
        parameter.requires_grad_(requires_grad="permutation" not in name)
    glow.log_prob(images(config)).sum().backward()
    assert all(p.grad is not None for n, p in glow.named_parameters() if "permutation" not in n)
