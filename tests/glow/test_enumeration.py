"""Density and samples agree, on a model so small that every discrete image can be counted."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from glow import Glow, GlowConfig, bits_per_dim, quantize

pytestmark = pytest.mark.proof

N_BITS, SIDE = 2, 2
N_DIMS = SIDE * SIDE
NODES = 6  # of Gauss and Legendre's rule in each dimension of a cell
SAMPLES = 10**6


def tiny_glow(coupling: str) -> Glow:
    """Images 1x2x2 of 2 bits: 256 of them. Random weights, mass mostly inside the cube."""
    torch.manual_seed(3)
    config = GlowConfig(
        image_size=SIDE,
        channels=1,
        n_bits=N_BITS,
        n_levels=1,
        depth=2,
        hidden_channels=4,
        coupling=coupling,
    )
    glow = Glow(config).double()
    with torch.no_grad():
        for parameter in glow.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        for step in glow.levels[0].steps.bijections:
            step.coupling.conditioner.conv3.conv.weight += 0.1
    images = torch.rand(256, 1, SIDE, SIDE, dtype=torch.float64) - 0.5
    glow.initialize(images * 0.8)
    return glow.eval()


@torch.inference_mode()
def cell_probabilities(glow: Glow) -> Tensor:
    """The integral of the density over the cell of every discrete image, (256,)."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    offsets = torch.tensor((nodes + 1) / 2 / 2**N_BITS)
    grid = torch.cartesian_prod(*[offsets] * N_DIMS)
    weight = torch.cartesian_prod(*[torch.tensor(weights / 2 / 2**N_BITS)] * N_DIMS).prod(dim=1)
    found = []
    for levels in itertools.product(range(2**N_BITS), repeat=N_DIMS):
        corner = torch.tensor(levels, dtype=torch.float64) / 2**N_BITS - 0.5
        x = (corner + grid).view(-1, 1, SIDE, SIDE)
        found.append((glow.log_prob(x).exp() * weight).sum())
    return torch.stack(found)


@torch.inference_mode()
def mass_outside(glow: Glow, n: int = 400_000) -> tuple[float, float]:
    """The density's integral outside the cube and its standard error, by importance sampling."""
    generator = torch.Generator().manual_seed(0)
    proposal = torch.distributions.StudentT(torch.tensor(4.0, dtype=torch.float64), 0.0, 0.35)
    torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
    x = proposal.sample((n, N_DIMS))
    outside = (x.abs() > 0.5).any(dim=1)
    log_weight = glow.log_prob(x.view(-1, 1, SIDE, SIDE)) - proposal.log_prob(x).sum(dim=1)
    weight = torch.where(outside, log_weight.exp(), 0.0)
    return float(weight.mean()), float(weight.std()) / math.sqrt(n)


@pytest.mark.parametrize("coupling", ["additive", "affine"])
def test_samples_fall_into_cells_as_often_as_the_density_says(coupling: str) -> None:
    glow = tiny_glow(coupling)
    probabilities = cell_probabilities(glow)
    outside, error = mass_outside(glow)
    assert float(probabilities.sum()) + outside == pytest.approx(1, abs=max(5 * error, 1e-4))
    assert 0.3 < float(probabilities.sum()) < 0.999, "the test needs mass inside and outside"
    generator = torch.Generator().manual_seed(0)
    x = torch.cat([glow.sample(SAMPLES // 10, generator=generator) for _ in range(10)])
    inside = (x.abs() <= 0.5).flatten(1).all(dim=1)
    levels = quantize(x[inside], N_BITS).flatten(1).long()
    place = torch.tensor([(2**N_BITS) ** (N_DIMS - 1 - i) for i in range(N_DIMS)])
    counts = torch.bincount((levels * place).sum(dim=1), minlength=len(probabilities))
    observed = torch.cat((counts, (~inside).sum()[None])).double()
    expected = SAMPLES * torch.cat((probabilities, 1 - probabilities.sum()[None]))
    rare = expected < 10
    cells = torch.cat((observed[~rare], observed[rare].sum()[None]))
    means = torch.cat((expected[~rare], expected[rare].sum()[None].clamp(min=1e-9)))
    kept = means > 10
    chi_squared = float(((cells - means).square() / means)[kept].sum())
    degrees = int(kept.sum()) - 1
    z_score = (chi_squared - degrees) / math.sqrt(2 * degrees)
    assert abs(z_score) < 4.5, f"chi-squared {chi_squared:.1f} with {degrees} degrees of freedom"


@pytest.mark.parametrize("n_bits", range(1, 9))
@pytest.mark.parametrize("n_dims", [1, 12, 3072])
def test_a_density_of_one_costs_exactly_the_bits_of_the_data(n_bits: int, n_dims: int) -> None:
    assert torch.equal(
        bits_per_dim(torch.zeros(3), n_dims, n_bits), torch.full((3,), float(n_bits))
    )
