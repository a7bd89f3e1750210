"""How a step mixes its channels: reverse, shuffle, or a learned 1x1 convolution (section 3.2).

All of them are one square matrix W applied at every pixel, z = W x, so a step of flow can fold
its ActNorm into the matrix and pay for a single product.
"""

from abc import abstractmethod

import torch
import torch.nn.functional as F
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

    def inverse_matrix(self) -> Tensor:
        """W^-1, (C, C), computed in float64, since sampling multiplies by many of them."""
        matrix = self.matrix()
        return torch.linalg.inv(matrix.double()).to(matrix)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Z (B, C, H, W), log_det (B,)."""
        return F.conv2d(x, self.matrix()[:, :, None, None]), self._log_det(x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """X (B, C, H, W), log_det (B,)."""
        return F.conv2d(z, self.inverse_matrix()[:, :, None, None]), -self._log_det(z)

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
        lower = self.lower.tril(-1) + torch.eye(len(self.lower)).to(self.lower)
        upper = self.upper.triu(1) + (self.sign * self.log_diagonal.exp()).diag()
        return self.rotation @ lower @ upper

    def log_abs_det(self) -> Tensor:
        """The sum of log_diagonal; no determinant is taken."""
        return self.log_diagonal.sum()


def _random_rotation(channels: int) -> Tensor:
    """A random orthogonal matrix: Q of a QR decomposition of Gaussian numbers."""
    return torch.linalg.qr(torch.randn(channels, channels, dtype=torch.float64)).Q.float()
