"""Gradients that are recomputed are as good as those of autograd, also where inverses are not."""

import copy
import logging

import pytest
import torch
from torch import Tensor, nn

from glow import Glow, GlowConfig, reversible
from glow.convolution import ZeroConv3x3

MODES = ["balanced", "reversible"]
SIGN_OF_A_RELU = 0.02  # relative error where rounding turns one, among few pixels
every_mode = pytest.mark.parametrize("backprop", ["autograd", *MODES])
saving_modes = pytest.mark.parametrize("backprop", MODES)


def flow(
    std: float, *, seed: int, n_levels: int = 3, side: int = 16, depth: int = 32
) -> tuple[Glow, Tensor]:
    """Initialised, the outputs of all networks of the given standard deviation; and its images.

    The inverse of a step enlarges an error, and so 0.05 makes a tame flow, 0.5 one of which many
    steps cannot be inverted in float32.
    """
    torch.manual_seed(seed)
    config = GlowConfig(image_size=side, n_levels=n_levels, depth=depth, hidden_channels=16)
    glow = Glow(config)
    last = [module for module in glow.modules() if isinstance(module, ZeroConv3x3)]
    last = [module for module in last if module.conv.weight.shape[1] == 17]  # not those of priors

    def rescale(module: nn.Module, _: object, out: Tensor) -> Tensor:
        factor = std / out.std()
        module.conv.weight.data *= factor
        return out * factor

    for module in last:
        nn.init.normal_(module.conv.weight)
    hooks = [module.register_forward_hook(rescale) for module in last]
    images = torch.rand(4, 3, side, side) - 0.5
    glow.initialize(images)
    for hook in hooks:
        hook.remove()
    return glow.train(), images


def gradients(glow: Glow, x: Tensor, backprop: str) -> Tensor:
    """Of all parameters that have any, in one vector, in float64."""
    by(glow, backprop).zero_grad()
    glow.log_prob(x).mean().backward()
    return collected(glow)


def by(glow: Glow, backprop: str) -> Glow:
    for level in glow.levels:
        level.steps.backprop = backprop
    return glow


def collected(glow: Glow) -> Tensor:
    found = [p.grad.flatten().double() for p in glow.parameters() if p.grad is not None]
    return torch.cat(found)


def error(actual: Tensor, expected: Tensor) -> float:
    """Relative, over all parameters; NaN stays NaN."""
    return float((actual - expected).norm() / expected.norm())


def errors(glow: Glow, x: Tensor, backprop: str) -> tuple[float, float]:
    """Of autograd in float32, and of `backprop`, both against autograd in float64."""
    exact = gradients(copy.deepcopy(glow).double(), x.double(), "autograd")
    of_autograd = error(gradients(glow, x, "autograd"), exact)
    return of_autograd, error(gradients(glow, x, backprop), exact)


@saving_modes
def test_an_ill_conditioned_flow_has_the_gradients_of_autograd(backprop: str) -> None:
    glow, x = flow(0.5, seed=1)
    with torch.no_grad():
        lost = (glow.decode(glow.encode(x)) - x).abs().max()
    assert lost > 0.01  # so ill-conditioned that a whole inverse is no use
    of_autograd, of_this = errors(glow, x, backprop)
    assert of_this < 2 * of_autograd + SIGN_OF_A_RELU


@pytest.mark.parametrize(("std", "seed"), [(0.5, 0), (0.5, 2), (0.6, 4)])
def test_where_inputs_drift_they_are_computed_again_and_the_log_says_so_once(
    std: float, seed: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reversible, "ANCHORS", 1)
    glow, x = flow(std, seed=seed, n_levels=1, side=8, depth=96)
    replays = replays_of(monkeypatch)
    with caplog.at_level(logging.WARNING, logger="glow.reversible"):
        of_autograd, of_this = errors(glow, x, "reversible")
    assert of_autograd < 0.1  # autograd itself has a meaning here
    assert of_this < 2 * of_autograd + SIGN_OF_A_RELU
    assert replays
    assert [record.name for record in caplog.records] == ["glow.reversible"]
    assert "too ill-conditioned to invert" in caplog.text


def test_without_replays_that_flow_has_other_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reversible, "ANCHORS", 1)
    monkeypatch.setattr(reversible, "drifted", lambda *_: False)
    glow, x = flow(0.5, seed=0, n_levels=1, side=8, depth=96)
    assert not errors(glow, x, "reversible")[1] < 0.1


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-3)])
@saving_modes
def test_a_tame_flow_has_the_gradients_of_autograd_without_replays(
    backprop: str,
    dtype: torch.dtype,
    tolerance: float,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    glow, x = flow(0.05, seed=0)
    glow, x = glow.to(dtype), x.to(dtype)
    replays = replays_of(monkeypatch)
    expected = gradients(glow, x, "autograd")
    assert error(gradients(glow, x, backprop), expected) < tolerance
    assert not replays
    assert not caplog.records


@every_mode
def test_without_gradients_the_density_is_the_same(backprop: str) -> None:
    glow, x = flow(0.05, seed=0, depth=3)
    by(glow, backprop)
    with torch.no_grad():
        without = glow.log_prob(x)
    torch.testing.assert_close(without, glow.log_prob(x).detach())
    assert not without.requires_grad


@every_mode
def test_frozen_parameters_get_no_gradient_and_the_others_theirs(backprop: str) -> None:
    glow, x = flow(0.05, seed=0, depth=3)
    whole = by(glow, "autograd")
    whole.log_prob(x).mean().backward()
    expected = {name: p.grad for name, p in whole.named_parameters()}
    frozen = by(copy.deepcopy(glow), backprop)
    frozen.zero_grad()
    for number, parameter in enumerate(frozen.parameters()):
        parameter.requires_grad_(requires_grad=bool(number % 3))
    frozen.log_prob(x).mean().backward()
    for name, parameter in frozen.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-3, atol=1e-2)
        else:
            assert parameter.grad is None, name


@saving_modes
def test_images_get_the_gradient_of_autograd(backprop: str) -> None:
    def of_images(mode: str) -> Tensor:
        pixels = x.clone().requires_grad_()
        by(glow, mode).log_prob(pixels).sum().backward()
        assert pixels.grad is not None
        return pixels.grad

    glow, x = flow(0.05, seed=0, depth=3)
    glow.requires_grad_(requires_grad=False)
    assert error(of_images(backprop), of_images("autograd")) < 1e-4
    assert torch.equal(x, flow(0.05, seed=0, depth=3)[1])


@every_mode
def test_gradients_of_parts_of_a_batch_add_up(backprop: str) -> None:
    glow, x = flow(0.05, seed=0, depth=3)
    whole = gradients(glow, x, backprop)
    glow.zero_grad()
    densities = [glow.log_prob(part).sum() / len(x) for part in x.split(2)]
    for density in densities:  # of two passes that are alive at once
        density.backward()
    assert error(collected(glow), whole) < 1e-4


@every_mode
def test_a_second_pass_backwards_finds_the_same(
    backprop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    replays = replays_of(monkeypatch)
    glow, x = flow(0.05, seed=0, depth=8)
    by(glow, backprop).zero_grad()
    density = glow.log_prob(x).mean()
    density.backward(retain_graph=True)
    once = collected(glow)
    density.backward()
    assert error(collected(glow), 2 * once) < 1e-4
    assert not replays


def replays_of(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Fills with the number of every step whose input is computed again."""
    numbers: list[int] = []
    replay = reversible.Tape._replay

    def noted(tape: reversible.Tape, index: int) -> Tensor:
        numbers.append(index)
        return replay(tape, index)

    monkeypatch.setattr(reversible.Tape, "_replay", noted)
    return numbers
