"""Muon: torch's, but of all matrices of a shape at once and in full precision."""

from dataclasses import replace

import pytest
import torch
from small import config_of, new_glow

from glow.flat import flatten_parameters
from glow.muon import Matrix, Muon, matrices_of, orthogonal
from glow.update import CHUNK, Update


@pytest.mark.parametrize("shape", [(4, 4), (3, 30), (30, 3), (1, 9)])
def test_singular_values_come_near_one_and_vectors_stay(shape: tuple[int, int]) -> None:
    matrix = torch.randn(2, *shape, dtype=torch.float64)
    u, values, v = torch.linalg.svd(orthogonal(matrix), full_matrices=False)
    assert values.min() > 0.6
    assert values.max() < 1.3
    before = u.mT @ matrix @ v.mT
    torch.testing.assert_close(before, torch.diag_embed(before.diagonal(dim1=1, dim2=2)))


def test_no_gradient_is_no_step() -> None:
    assert torch.equal(orthogonal(torch.zeros(1, 3, 5)), torch.zeros(1, 3, 5))


@pytest.mark.parametrize("shape", [(6, 5), (5, 6), (12, 54)])
def test_it_goes_where_torch_s_muon_goes(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    rows, columns = shape
    matrices = [Matrix(3, rows, columns), Matrix(3 + rows * columns, rows, columns)]
    weights = torch.randn(matrices[-1].end + 2, generator=generator)
    gradients, momentum = torch.zeros_like(weights), torch.zeros_like(weights)
    theirs = [torch.nn.Parameter(matrix.of(weights).clone()) for matrix in matrices]
    optimizer = torch.optim.Muon(theirs, lr=0.1, weight_decay=0.0)
    muon, before = Muon(matrices, weights, gradients, momentum), weights.clone()
    for _ in range(3):
        gradients.copy_(torch.randn(len(weights), generator=generator))
        for parameter, matrix in zip(theirs, matrices, strict=True):
            parameter.grad = matrix.of(gradients).clone()
        muon(learning_rate=0.1)
        optimizer.step()
    for parameter, matrix in zip(theirs, matrices, strict=True):  # theirs in bfloat16
        torch.testing.assert_close(matrix.of(weights), parameter.detach(), rtol=0, atol=0.02)
    assert torch.equal(weights[:3], before[:3])
    assert torch.equal(weights[-2:], before[-2:])


@pytest.mark.parametrize("conditioner", ["plain", "residual"])
@pytest.mark.parametrize("permutation", ["conv1x1", "conv1x1_lu"])
def test_its_matrices_are_the_kernels_of_networks_and_free_1x1_convolutions(
    conditioner: str, permutation: str
) -> None:
    config = config_of(n_levels=2, side=8, channels=3, n_bits=5, conditioner=conditioner)
    glow = new_glow(replace(config, permutation=permutation))
    flat = flatten_parameters(glow)
    kernels = [
        parameter
        for name, parameter in glow.named_parameters()
        if parameter.ndim > 1 and (".conditioner." in name or "permutation.weight" in name)
    ]
    matrices = matrices_of(glow)
    assert len(matrices) == len(kernels) > 0
    for matrix, kernel in zip(matrices, kernels, strict=True):
        assert torch.equal(matrix.of(flat), kernel.detach().flatten(1))


@pytest.mark.parametrize("start", [0, 5, CHUNK - 4])
def test_adamw_moves_what_muon_does_not(start: int) -> None:
    generator = torch.Generator().manual_seed(0)
    matrix, size = Matrix(start, 4, 6), CHUNK + 100
    weights = torch.randn(size, generator=generator)
    plain, gradients = weights.clone(), torch.zeros(size)
    ema = weights.clone()
    update = Update(weights, gradients, ema, optimizer="muon", matrices=[matrix])
    same = torch.zeros(size)
    adamw = Update(plain, same, plain.clone(), optimizer="adamw")
    for _ in range(3):
        gradients.copy_(torch.randn(size, generator=generator))
        same.copy_(gradients)
        update(learning_rate=1e-2, scale=0.5, ema_decay=0.9, muon_learning_rate=0.1)
        adamw(learning_rate=1e-2, scale=0.5, ema_decay=0.9)
    moved = torch.ones(size, dtype=torch.bool)
    moved[matrix.start : matrix.end] = False
    torch.testing.assert_close(weights[moved], plain[moved], rtol=0, atol=1e-7)
    assert (weights - plain)[~moved].abs().min() > 0
    assert not torch.equal(ema[~moved], weights[~moved])
