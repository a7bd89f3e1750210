"""How a step mixes its channels: reverse, shuffle, or a learned 1x1 convolution (section 3.2).

All of them are one square matrix W applied at every pixel, z = W x, so a step of flow can fold
its ActNorm into the matrix and pay for a single product.
"""

from abc import abstractmethod

import torch
from torch import Tensor, nn

from glow.bijection import Bijection


class Permutation(Bijection):
    """z = W x at every pixel; log_det = H W log|det W|."""

    @abstractmethod
    def matrix(self) -> Tensor:
        """W, (C, C)."""

    @abstractmethod
    def log_abs_det(self) -> Tensor:
        """log|det W|, a scalar, in nats."""

    @abstractmethod
    def gradients(self, of_matrix: Tensor, of_log_abs_det: Tensor) -> dict[nn.Parameter, Tensor]:
        """Of the parameters, from those of W and of log|det W|."""

    def inverse_matrix(self) -> Tensor:
        """W^-1, (C, C), computed in float64, since sampling multiplies by many of them."""
        matrix = self.matrix()
        return torch.linalg.inv(matrix.double()).to(matrix)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Z (B, C, H, W), log_det (B,)."""
        return at_every_pixel(x, self.matrix()), self._log_det(x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """X (B, C, H, W), log_det (B,)."""
        return at_every_pixel(z, self.inverse_matrix()), -self._log_det(z)

    def _log_det(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        return (height * width * self.log_abs_det()).expand(batch)


class _FixedPermutation(Permutation):
    """A permutation matrix, drawn once and saved with the weights; log|det W| = 0."""

    permutation: Tensor

    def __init__(self, permutation: Tensor) -> None:
        super().__init__()
        self.register_buffer("permutation", torch.eye(len(permutation))[permutation])

    def matrix(self) -> Tensor:
        return self.permutation

    def inverse_matrix(self) -> Tensor:
        return self.permutation.T

    def log_abs_det(self) -> Tensor:
        return self.permutation.new_zeros(())

    def gradients(self, of_matrix: Tensor, of_log_abs_det: Tensor) -> dict[nn.Parameter, Tensor]:
        del of_matrix, of_log_abs_det
        return {}


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

    def matrix(self) -> Tensor:
        """W, (C, C)."""
        return self.weight

    def log_abs_det(self) -> Tensor:
        """log|det W| in float64, then in the weights' type."""
        return torch.linalg.slogdet(self.weight.double()).logabsdet.to(self.weight)

    def gradients(self, of_matrix: Tensor, of_log_abs_det: Tensor) -> dict[nn.Parameter, Tensor]:
        """D log|det W| = trace(W^-1 dW)."""
        return {self.weight: of_matrix + of_log_abs_det * self.inverse_matrix().T}


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

    def matrix(self) -> Tensor:
        """W, (C, C)."""
        lower, upper = self._factors()
        return self.rotation @ (lower @ upper)

    def log_abs_det(self) -> Tensor:
        """The sum of log_diagonal; no determinant is taken."""
        return self.log_diagonal.sum()

    def gradients(self, of_matrix: Tensor, of_log_abs_det: Tensor) -> dict[nn.Parameter, Tensor]:
        """With W = P L U and G of W: P'G U' of L, L'P'G of U; each of its own entries."""
        lower, upper = self._factors()
        turned = self.rotation.T @ of_matrix
        of_upper = lower.T @ turned
        return {
            self.lower: (turned @ upper.T).tril(-1),
            self.upper: of_upper.triu(1),
            self.log_diagonal: of_upper.diagonal() * upper.diagonal() + of_log_abs_det,
        }

    def _factors(self) -> tuple[Tensor, Tensor]:
        """L + I and U + diag(sign exp(log_diagonal))."""
        lower = self.lower.tril(-1) + torch.ones_like(self.log_diagonal).diag()
        upper = self.upper.triu(1) + (self.sign * self.log_diagonal.exp()).diag()
        return lower, upper


def _random_rotation(channels: int) -> Tensor:
    """A random orthogonal matrix: Q of a QR decomposition of Gaussian numbers."""
    return torch.linalg.qr(torch.randn(channels, channels, dtype=torch.float64)).Q.float()


def at_every_pixel(x: Tensor, matrix: Tensor, shift: Tensor | None = None) -> Tensor:
    """Matrix x + shift, (B, C, H, W)."""
    columns, each = x.flatten(2), matrix.expand(len(x), -1, -1)
    if shift is None:
        return torch.bmm(each, columns).view_as(x)
    return torch.baddbmm(shift[:, None], each, columns).view_as(x)
