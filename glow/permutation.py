"""How a step mixes its channels: reverse, shuffle, or a learned 1x1 convolution (section 3.2).

All of them are one square matrix W applied at every pixel, z = W x, so a step of flow can fold
its ActNorm into the matrix and pay for a single product. W is a function of a few tensors, its
factors; with a leading dimension on each of them, the same functions give the matrices of many
steps at once.
"""

from abc import abstractmethod
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from glow.bijection import Bijection


class Permutation(Bijection):
    """z = W x at every pixel; log_det = H W log|det W|."""

    @abstractmethod
    def factors(self) -> tuple[Tensor, ...]:
        """Parameters and buffers that W is made of."""

    @staticmethod
    @abstractmethod
    def matrices_of(*factors: Tensor) -> Sequence[Tensor]:
        """Those whose product is W, (..., C, C)."""

    @staticmethod
    @abstractmethod
    def log_abs_det_of(*factors: Tensor) -> Tensor:
        """log|det W|, (...), in nats."""

    @staticmethod
    @abstractmethod
    def gradients_of(
        matrices: Sequence[Tensor], of_matrix: Tensor, of_log_abs_det: Tensor
    ) -> Sequence[Tensor]:
        """Of the factors that are learned, which come first, from those of W and log|det W|."""

    def matrix(self) -> Tensor:
        """W, (C, C)."""
        return product_of(self.matrices_of(*self.factors()))

    def log_abs_det(self) -> Tensor:
        """log|det W|, a scalar, in nats."""
        return self.log_abs_det_of(*self.factors())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Z (B, C, H, W), log_det (B,)."""
        return at_every_pixel(x, self.matrix()), self._log_det(x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """X (B, C, H, W), log_det (B,)."""
        return at_every_pixel(z, inverse_of(self.matrix())), -self._log_det(z)

    def _log_det(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        return (height * width * self.log_abs_det()).expand(batch)


class _FixedPermutation(Permutation):
    """A permutation matrix, drawn once and saved with the weights; log|det W| = 0."""

    permutation: Tensor

    def __init__(self, permutation: Tensor) -> None:
        super().__init__()
        self.register_buffer("permutation", torch.eye(len(permutation))[permutation])

    def factors(self) -> tuple[Tensor, ...]:
        return (self.permutation,)

    @staticmethod
    def matrices_of(*factors: Tensor) -> Sequence[Tensor]:
        return factors

    @staticmethod
    def log_abs_det_of(*factors: Tensor) -> Tensor:
        return factors[0].new_zeros(factors[0].shape[:-2])

    @staticmethod
    def gradients_of(
        matrices: Sequence[Tensor], of_matrix: Tensor, of_log_abs_det: Tensor
    ) -> Sequence[Tensor]:
        del matrices, of_matrix, of_log_abs_det
        return ()


class Reverse(_FixedPermutation):
    """Reverses the channels (RealNVP's way, Figure 3 'reverse')."""

    def __init__(self, channels: int) -> None:
        super().__init__(torch.arange(channels - 1, -1, -1))


class Shuffle(_FixedPermutation):
    """A random permutation, drawn once (Figure 3 'shuffle')."""

    def __init__(self, channels: int) -> None:
        super().__init__(torch.randperm(channels))


class InvertibleConv1x1(Permutation):
    """W is free; log|det W| is taken in float64 (O(C^3) each time)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(_random_rotation(channels))

    def factors(self) -> tuple[Tensor, ...]:
        """W."""
        return (self.weight,)

    @staticmethod
    def matrices_of(*factors: Tensor) -> Sequence[Tensor]:
        """W alone."""
        return factors

    @staticmethod
    def log_abs_det_of(*factors: Tensor) -> Tensor:
        """log|det W| in float64, then in the weights' type."""
        return torch.linalg.slogdet(factors[0].double()).logabsdet.to(factors[0])

    @staticmethod
    def gradients_of(
        matrices: Sequence[Tensor], of_matrix: Tensor, of_log_abs_det: Tensor
    ) -> Sequence[Tensor]:
        """D log|det W| = trace(W^-1 dW)."""
        return (of_matrix + of_log_abs_det[..., None, None] * inverse_of(matrices[0]).mT,)


class InvertibleConv1x1LU(Permutation):
    """W = P (L + I) (U + diag(sign exp(log_diagonal))), so log|det W| = sum(log_diagonal).

    L and U are strictly triangular; P and the signs are drawn once and fixed. The W that this
    starts from is a random rotation, as for the free one, so log|det W| starts at 0.
    """

    rotation: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        rotation, lower, upper = torch.linalg.lu(_random_rotation(channels).double())
        diagonal = upper.diagonal()
        self.lower = nn.Parameter(lower.tril(-1).float())
        self.upper = nn.Parameter(upper.triu(1).float())
        self.log_diagonal = nn.Parameter(diagonal.abs().log().float())
        self.register_buffer("rotation", rotation.float())
        self.register_buffer("sign", diagonal.sign().float())

    def factors(self) -> tuple[Tensor, ...]:
        """L, U, log_diagonal, P, sign."""
        return self.lower, self.upper, self.log_diagonal, self.rotation, self.sign

    @staticmethod
    def matrices_of(*factors: Tensor) -> Sequence[Tensor]:
        """P, L + I, U + diag(sign exp(log_diagonal))."""
        lower, upper, log_diagonal, rotation, sign = factors
        ones = torch.ones_like(log_diagonal).diag_embed()
        diagonal = (sign * log_diagonal.exp()).diag_embed()
        return rotation, lower.tril(-1) + ones, upper.triu(1) + diagonal

    @staticmethod
    def log_abs_det_of(*factors: Tensor) -> Tensor:
        """The sum of log_diagonal; no determinant is taken."""
        return factors[2].sum(dim=-1)

    @staticmethod
    def gradients_of(
        matrices: Sequence[Tensor], of_matrix: Tensor, of_log_abs_det: Tensor
    ) -> Sequence[Tensor]:
        """With W = P L U and G of W: P'G U' of L, L'P'G of U; each of its own entries."""
        rotation, lower, upper = matrices
        turned = rotation.mT @ of_matrix
        of_upper = lower.mT @ turned
        of_diagonal = (of_upper * upper).diagonal(dim1=-2, dim2=-1) + of_log_abs_det[..., None]
        return (turned @ upper.mT).tril(-1), of_upper.triu(1), of_diagonal


def product_of(matrices: Sequence[Tensor]) -> Tensor:
    """Of all, in order."""
    return reduce(lambda right, left: left @ right, reversed(matrices))


def inverse_of(matrix: Tensor) -> Tensor:
    """Matrix^-1, (..., C, C), computed in float64, since sampling multiplies by many of them."""
    return torch.linalg.inv(matrix.double()).to(matrix)


def at_every_pixel(x: Tensor, matrix: Tensor, shift: Tensor | None = None) -> Tensor:
    """Matrix x + shift, (B, C, H, W); shift is (C, 1)."""
    columns, each = x.flatten(2), matrix.expand(len(x), -1, -1)
    if shift is None:
        return torch.bmm(each, columns).view_as(x)
    return torch.baddbmm(shift, each, columns).view_as(x)


def _random_rotation(channels: int) -> Tensor:
    """A random orthogonal matrix: Q of a QR decomposition of Gaussian numbers."""
    return torch.linalg.qr(torch.randn(channels, channels, dtype=torch.float64)).Q.float()
