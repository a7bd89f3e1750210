"""Layers in float64 with no parameter zero, and every bijection by name."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from glow.actnorm import ActNorm
from glow.batchnorm import BatchNorm
from glow.bijection import Bijection
from glow.chain import Chain
from glow.checkerboard import CheckerboardCoupling
from glow.conditioner import Conditioner
from glow.coupling import AdditiveCoupling, AffineCoupling
from glow.level import Level
from glow.permutation import InvertibleConv1x1, InvertibleConv1x1LU, Reverse, Shuffle
from glow.residual import ResidualConditioner
from glow.squeeze import Squeeze
from glow.step import FlowStep

PERMUTATIONS = (Reverse, Shuffle, InvertibleConv1x1, InvertibleConv1x1LU)
COUPLINGS = (AdditiveCoupling, AffineCoupling)
HIDDEN = 6


def network(seen: int, needed: int) -> Conditioner:
    return Conditioner(seen, HIDDEN, needed)


def residual(seen: int, needed: int) -> ResidualConditioner:
    return ResidualConditioner(seen, HIDDEN, needed)


def bare(seen: int, needed: int) -> Conditioner:
    return Conditioner(seen, HIDDEN, needed, edge_bias=False, actnorm=False, log_scale_factor=1.0)


def checkerboard(channels: int, *, affine: bool) -> Bijection:
    return CheckerboardCoupling(channels, network, parity=1, affine=affine)


def batchnorm(channels: int) -> Bijection:
    """As it evaluates: by running averages."""
    norm = BatchNorm(channels)
    norm.mean += torch.arange(channels)
    norm.variance += torch.arange(channels)
    return norm.eval()


def level(channels: int) -> Bijection:
    masked = [checkerboard(channels, affine=affine) for affine in (True, False)]
    steps = [flow_step(InvertibleConv1x1LU, AffineCoupling)(4 * channels)]
    return Level(Chain(masked), Chain(steps), split=None)


def flow_step(permutation: type, coupling: type) -> Callable[[int], Bijection]:
    return lambda c: FlowStep(ActNorm(c), permutation(c), coupling(c, network))


def chain(channels: int) -> Bijection:
    steps = [flow_step(p, c) for p, c in zip(PERMUTATIONS, COUPLINGS * 2, strict=True)]
    return Chain([Squeeze(), *(step(4 * channels) for step in steps)])


# name: how to make it for a number of channels, shape of the batch
CASES: dict[str, tuple[Callable[[int], Bijection], tuple[int, int, int, int]]] = {
    "actnorm": (ActNorm, (3, 5, 2, 3)),
    "reverse": (Reverse, (3, 5, 2, 3)),
    "shuffle": (Shuffle, (3, 5, 2, 3)),
    "conv1x1": (InvertibleConv1x1, (3, 5, 2, 3)),
    "conv1x1_lu": (InvertibleConv1x1LU, (3, 5, 2, 3)),
    "additive": (lambda c: AdditiveCoupling(c, network), (3, 4, 2, 3)),
    "additive-odd-channels": (lambda c: AdditiveCoupling(c, network), (1, 5, 3, 2)),
    "affine": (lambda c: AffineCoupling(c, network), (3, 4, 2, 3)),
    "affine-bounded": (lambda c: AffineCoupling(c, network, min_scale=0.3), (3, 4, 2, 3)),
    "affine-odd-channels": (lambda c: AffineCoupling(c, network), (1, 5, 3, 2)),
    "affine-one-pixel": (lambda c: AffineCoupling(c, network), (5, 4, 1, 1)),
    "affine-residual": (lambda c: AffineCoupling(c, residual), (3, 4, 2, 3)),
    "affine-without-extras": (lambda c: AffineCoupling(c, bare), (3, 4, 2, 3)),
    "checkerboard-affine": (lambda c: checkerboard(c, affine=True), (3, 3, 4, 3)),
    "checkerboard-additive": (lambda c: checkerboard(c, affine=False), (3, 2, 3, 5)),
    "batchnorm": (lambda c: batchnorm(c), (3, 5, 2, 3)),
    "level": (level, (3, 3, 4, 6)),
    "squeeze": (lambda _: Squeeze(), (3, 3, 2, 4)),
    "chain": (chain, (3, 1, 4, 6)),
    **{
        f"step-{permutation.__name__}-{coupling.__name__}": (
            flow_step(permutation, coupling),
            (3, 4, 2, 3),
        )
        for permutation in PERMUTATIONS
        for coupling in COUPLINGS
    },
}

over_all = pytest.mark.parametrize(("make", "shape"), CASES.values(), ids=CASES.keys())


def perturbed(module: torch.nn.Module, seed: int = 1) -> torch.nn.Module:
    """In float64, no parameter zero."""
    module.double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter += 0.1 * noise
    return module


def built(make: Callable[[int], Bijection], channels: int) -> Bijection:
    torch.manual_seed(0)
    return perturbed(make(channels))


def batch(shape: tuple[int, ...], seed: int = 2) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def log_abs_det_jacobian(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Of each image by itself, (B,)."""

    def of_one(image: Tensor) -> Tensor:
        jacobian = torch.autograd.functional.jacobian(lambda v: function(v[None])[0], image)
        return torch.linalg.slogdet(jacobian.reshape(image.numel(), -1)).logabsdet

    return torch.stack([of_one(image) for image in x])


def assert_close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)
