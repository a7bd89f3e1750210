"""Muon: an update of matrices along the orthogonal part of their momentum."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from glow.conditioner import Conditioner
from glow.permutation import InvertibleConv1x1
from glow.residual import ResidualConditioner

MOMENTUM = 0.95
COEFFICIENTS, ROUNDS = (3.4445, -4.7750, 2.0315), 5
TINY = 1e-7  # keeps a gradient of zeros, as the first ones of hidden layers are, a step of zeros


@dataclass(frozen=True)
class Matrix:
    """A parameter that acts as a matrix, and where it lies in the vector of all parameters.

    Attributes:
        start: of it in the vector.
        rows: outputs.
        columns: inputs; of a convolution times the entries of its kernel.
    """

    start: int
    rows: int
    columns: int

    @property
    def end(self) -> int:
        """Where the next parameter begins."""
        return self.start + self.rows * self.columns

    def of(self, vector: Tensor) -> Tensor:
        """The view of it, (rows, columns)."""
        return vector[self.start : self.end].view(self.rows, -1)


def matrices_of(model: nn.Module) -> list[Matrix]:
    """What Muon moves in a model, in the order of its parameters.

    They are the kernels of the networks in couplings, and the matrices of 1x1 convolutions that
    are free: not the triangles of those that are kept as L and U, which are not what acts.
    """
    wanted = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, Conditioner | ResidualConditioner | InvertibleConv1x1)
        for parameter in module.parameters()
        if parameter.ndim > 1
    }
    found, start = [], 0
    for parameter in model.parameters():
        if id(parameter) in wanted:
            rows = len(parameter)
            found.append(Matrix(start, rows, parameter.numel() // rows))
        start += parameter.numel()
    return found


class Muon:
    """W <- W - rate sqrt(max(1, rows / columns)) orthogonal(g + m M), M <- m M + (1 - m) g.

    `orthogonal` brings all singular values of a matrix near 1, so every direction in which the
    loss wants to move is moved along at the same pace (Jordan et al. 2024, Muon; with Nesterov's
    momentum m = 0.95). torch.optim.Muon does the same in bfloat16, one matrix after another; here
    all matrices of a shape are one product, in the precision of the weights, as processors
    without bfloat16 want it.

    Args:
        matrices: of the model.
        weights: of the model, (P,), changed in place.
        gradients: (P,).
        momentum: M, (P,), changed in place where there are matrices.
    """

    def __init__(
        self, matrices: Sequence[Matrix], weights: Tensor, gradients: Tensor, momentum: Tensor
    ) -> None:
        shapes: dict[tuple[int, int], list[Matrix]] = defaultdict(list)
        for matrix in matrices:
            shapes[matrix.rows, matrix.columns].append(matrix)
        vectors = (weights, gradients, momentum)
        self._groups = [
            [[matrix.of(vector) for matrix in alike] for vector in vectors]
            for alike in shapes.values()
        ]

    def __call__(self, *, learning_rate: float) -> None:
        """One step."""
        for weights, gradients, momenta in self._groups:
            gradient = torch.stack(gradients)
            momentum = torch.stack(momenta).lerp_(gradient, 1 - MOMENTUM)
            torch._foreach_copy_(momenta, list(momentum.unbind()))
            step = orthogonal(gradient.lerp_(momentum, MOMENTUM))
            rate = learning_rate * factor(*step.shape[1:])
            torch._foreach_add_(weights, list(step.unbind()), alpha=-rate)


def factor(rows: int, columns: int) -> float:
    """On the rate, so that outputs of matrices of all shapes change at one pace."""
    return max(1.0, rows / columns) ** 0.5


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices (N, rows, columns) of the same singular vectors, their singular values near 1.

    Five rounds of X <- a X + (b X X^T + c (X X^T)^2) X, whose coefficients bring all values in
    about (0.01, 1) into (0.7, 1.2) (Jordan et al. 2024).
    """
    a, b, c = COEFFICIENTS
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + TINY)
    for _ in range(ROUNDS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x if wide else x.mT
