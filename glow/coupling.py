"""Coupling layers: half of the channels says how the other half is changed (Glow, section 3.3)."""

from abc import abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from glow.bijection import Bijection
from glow.conditioner import Conditioner
from glow.residual import ResidualConditioner

# (channels of the half that is seen, channels of what the coupling needs) -> network
MakeNetwork = Callable[[int, int], Conditioner | ResidualConditioner]


class Coupling(Bijection):
    """z1 = x1, z2 = change(x2, NN(x1)).

    What is done to x2 is elementwise, so inverses and gradients of it are written down here; those
    of NN are the network's own.
    """

    conditioner: Conditioner | ResidualConditioner

    @abstractmethod
    def change(self, x2: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """z2, and log_det (B,); h is NN(x1)."""

    @abstractmethod
    def restore(self, z2: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """x2, and log_det (B,) of the inverse."""

    @abstractmethod
    def change_backward(
        self, z2: Tensor, h: Tensor, grad_z2: Tensor, grad_log_det: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The gradients of x2 and h from those of z2 and log_det."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Z (B, C, H, W), log_det (B,)."""
        x1, x2 = halves(x)
        z2, log_det = self.change(x2, self.conditioner(x1))
        return torch.cat((x1, z2), dim=1), log_det

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """X (B, C, H, W), log_det (B,)."""
        z1, z2 = halves(z)
        x2, log_det = self.restore(z2, self.conditioner(z1))
        return torch.cat((z1, x2), dim=1), log_det

    def initialize(self, x: Tensor) -> Tensor:
        """Initialises the conditioner and passes x on."""
        self.conditioner.initialize(halves(x)[0])
        return self(x)[0]


class AdditiveCoupling(Coupling):
    """z1 = x1, z2 = x2 + NN(x1); log_det = 0 (NICE)."""

    def __init__(self, channels: int, network: MakeNetwork) -> None:
        super().__init__()
        half = channels // 2
        self.conditioner = network(half, channels - half)

    def change(self, x2: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """X2 + h, 0."""
        return x2 + h, x2.new_zeros(len(x2))

    def restore(self, z2: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Z2 - h, 0."""
        return z2 - h, z2.new_zeros(len(z2))

    def change_backward(
        self,
        z2: Tensor,
        h: Tensor,
        grad_z2: Tensor,
        grad_log_det: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Both are that of z2."""
        return grad_z2, grad_z2


class AffineCoupling(Coupling):
    """z1 = x1, z2 = (x2 + shift) * scale; log_det = sum(log scale).

    shift and scale = m + (1 - m) sigmoid(s + 2) come from NN(x1): shift from the even, s from
    the odd channels. The original has m = 0; there the inverse divides by scales near zero where
    x1 is unlike the training images, and one sample in some explodes. m bounds what a step
    enlarges on the way back by 1 / m. The +2 starts the scale near 1.

    Args:
        channels: of x.
        network: makes NN.
        min_scale: m, in [0, 1).
    """

    def __init__(self, channels: int, network: MakeNetwork, min_scale: float = 0.0) -> None:
        super().__init__()
        self.min_scale = min_scale
        half = channels // 2
        self.conditioner = network(half, 2 * (channels - half))

    def change(self, x2: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """(x2 + shift) * scale, sum(log scale)."""
        shift, log_scale = shift_and_log_scale(h, self.min_scale)
        return (x2 + shift) * log_scale.exp(), log_scale.sum(dim=(1, 2, 3))

    def restore(self, z2: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Z2 / scale - shift, -sum(log scale)."""
        shift, log_scale = shift_and_log_scale(h, self.min_scale)
        return z2 * (-log_scale).exp() - shift, -log_scale.sum(dim=(1, 2, 3))

    def change_backward(
        self, z2: Tensor, h: Tensor, grad_z2: Tensor, grad_log_det: Tensor
    ) -> tuple[Tensor, Tensor]:
        """With z2 = (x2 + shift) scale: d z2 = scale (d x2 + d shift) + z2 d(log scale)."""
        s = h[:, 1::2] + 2.0
        scale, slope = s.sigmoid(), (-s).sigmoid()  # slope is d log(scale) / ds
        if self.min_scale:
            sigmoid, free = scale, 1 - self.min_scale
            scale = self.min_scale + free * sigmoid
            slope = free * sigmoid * slope / scale
        grad_h = torch.empty_like(h)
        grad_x2 = grad_z2 * scale
        grad_h[:, 0::2] = grad_x2
        of_log_scale = torch.addcmul(grad_log_det[:, None, None, None], grad_z2, z2)
        torch.mul(of_log_scale, slope, out=grad_h[:, 1::2])
        return grad_x2, grad_h


def shift_and_log_scale(h: Tensor, min_scale: float) -> tuple[Tensor, Tensor]:
    """What an affine coupling does to a number, from the even and the odd channels of NN's h."""
    shift, s = h[:, 0::2], h[:, 1::2] + 2.0
    if min_scale == 0.0:
        return shift, F.logsigmoid(s)
    return shift, (min_scale + (1 - min_scale) * s.sigmoid()).log()


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """What a coupling sees and what it changes."""
    half = x.shape[1] // 2
    return x[:, :half], x[:, half:]
