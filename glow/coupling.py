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

Ready = tuple[Tensor, Tensor]  # shift and scale, or twice the shift where there is no scale


class Coupling(Bijection):
    """z1 = x1, z2 = change(x2, h), elementwise; h is NN(x1), in order.

    In order means: all shifts first, then what the scales are made of, with `offset` added. The
    network, like the original's, has them by turns and without.
    """

    outputs: int  # of the network, for each channel that is changed
    offset: float  # of what the scales are made of
    conditioner: Conditioner | ResidualConditioner

    @abstractmethod
    def change(self, x2: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """z2, and log_det (B,)."""

    @abstractmethod
    def restore(self, z2: Tensor, h: Tensor) -> Tensor:
        """x2 from z2."""

    # The same in place, without autograd: `prepare_` turns h into what the other four take.

    @abstractmethod
    def prepare_(self, h: Tensor) -> Ready:
        """Turns what the scales are made of into scales; views of h."""

    @abstractmethod
    def log_det(self, ready: Ready) -> Tensor:
        """Of `change_`, (B,)."""

    @abstractmethod
    def change_(self, x2: Tensor, ready: Ready) -> None:
        """Turns x2 into z2."""

    @abstractmethod
    def restore_(self, z2: Tensor, ready: Ready) -> None:
        """Turns z2 into x2."""

    @abstractmethod
    def change_backward(
        self, z2: Tensor, scale: Tensor, grad_z2: Tensor, grad_log_det: Tensor, grad_h: Tensor
    ) -> Tensor:
        """The gradient of x2 from those of z2 and log_det; writes that of h into `grad_h`."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Z (B, C, H, W), log_det (B,)."""
        x1, x2 = halves(x)
        z2, log_det = self.change(x2, self._network(x1))
        return torch.cat((x1, z2), dim=1), log_det

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """X (B, C, H, W), log_det (B,)."""
        z1, z2 = halves(z)
        h = self._network(z1)
        x2 = self.restore(z2, h)
        return torch.cat((z1, x2), dim=1), -self.change(x2, h)[1]

    def initialize(self, x: Tensor) -> Tensor:
        """Initialises the conditioner and passes x on."""
        self.conditioner.initialize(halves(x)[0])
        return self(x)[0]

    def _network(self, x1: Tensor) -> Tensor:
        h = self.in_order(self.conditioner(x1), dim=1).flatten(1, 2)
        if not self.offset:
            return h
        shift, s = h.chunk(2, dim=1)
        return torch.cat((shift, s + self.offset), dim=1)

    def in_order(self, h: Tensor, dim: int) -> Tensor:
        """All shifts, then all scales: a view, those and these in two dimensions."""
        return h.unflatten(dim, (-1, self.outputs)).transpose(dim, dim + 1)

    def by_turns(self, h: Tensor, dim: int) -> Tensor:
        """The inverse of `in_order`, from one dimension to one."""
        return h.unflatten(dim, (self.outputs, -1)).transpose(dim, dim + 1).flatten(dim, dim + 1)


class AdditiveCoupling(Coupling):
    """z1 = x1, z2 = x2 + NN(x1); log_det = 0 (NICE)."""

    outputs = 1
    offset = 0.0

    def __init__(self, channels: int, network: MakeNetwork) -> None:
        super().__init__()
        half = channels // 2
        self.conditioner = network(half, channels - half)

    def change(self, x2: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """X2 + h, 0."""
        return x2 + h, x2.new_zeros(len(x2))

    def restore(self, z2: Tensor, h: Tensor) -> Tensor:
        """Z2 - h."""
        return z2 - h

    def prepare_(self, h: Tensor) -> Ready:
        """There are no scales."""
        return h, h

    def log_det(self, ready: Ready) -> Tensor:
        """0."""
        return ready[0].new_zeros(len(ready[0]))

    def change_(self, x2: Tensor, ready: Ready) -> None:
        """X2 + h."""
        x2 += ready[0]

    def restore_(self, z2: Tensor, ready: Ready) -> None:
        """Z2 - h."""
        z2 -= ready[0]

    def change_backward(
        self, z2: Tensor, scale: Tensor, grad_z2: Tensor, grad_log_det: Tensor, grad_h: Tensor
    ) -> Tensor:
        """Both are that of z2."""
        grad_h.copy_(grad_z2)
        return grad_z2


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

    outputs = 2
    offset = 2.0

    def __init__(self, channels: int, network: MakeNetwork, min_scale: float = 0.0) -> None:
        super().__init__()
        self.min_scale = min_scale
        half = channels // 2
        self.conditioner = network(half, 2 * (channels - half))

    def change(self, x2: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """(x2 + shift) * scale, sum(log scale)."""
        shift, s = h.chunk(2, dim=1)
        log_scale = _log_scale(s, self.min_scale)
        return (x2 + shift) * log_scale.exp(), log_scale.sum(dim=(1, 2, 3))

    def restore(self, z2: Tensor, h: Tensor) -> Tensor:
        """Z2 / scale - shift."""
        shift, s = h.chunk(2, dim=1)
        return z2 * (-_log_scale(s, self.min_scale)).exp() - shift

    def prepare_(self, h: Tensor) -> Ready:
        """(shift, s) becomes (shift, scale)."""
        shift, scale = halves(h)
        scale.sigmoid_()
        if self.min_scale:
            scale.mul_(1 - self.min_scale).add_(self.min_scale)
        return shift, scale

    def log_det(self, ready: Ready) -> Tensor:
        """Sum(log scale)."""
        return ready[1].log().sum(dim=(1, 2, 3))

    def change_(self, x2: Tensor, ready: Ready) -> None:
        """(x2 + shift) * scale."""
        x2.add_(ready[0]).mul_(ready[1])

    def restore_(self, z2: Tensor, ready: Ready) -> None:
        """Z2 / scale - shift."""
        z2.div_(ready[1]).sub_(ready[0])

    def change_backward(
        self, z2: Tensor, scale: Tensor, grad_z2: Tensor, grad_log_det: Tensor, grad_h: Tensor
    ) -> Tensor:
        """With z2 = (x2 + shift) scale: d z2 = scale (d x2 + d shift) + z2 d(log scale).

        And d(log scale) = (1 - sigmoid) (1 - m / scale) ds.
        """
        of_shift, of_s = halves(grad_h)
        torch.mul(grad_z2, scale, out=of_shift)
        torch.addcmul(grad_log_det.view(-1, 1, 1, 1), grad_z2, z2, out=of_s)
        if self.min_scale:
            of_s *= (1 - scale) / (1 - self.min_scale)
            of_s *= 1 - self.min_scale / scale
        else:
            of_s.addcmul_(of_s, scale, value=-1)
        return of_shift


def _log_scale(s: Tensor, min_scale: float) -> Tensor:
    """Log(m + (1 - m) sigmoid(s))."""
    if min_scale == 0.0:
        return F.logsigmoid(s)
    return (min_scale + (1 - min_scale) * s.sigmoid()).log()


def shift_and_log_scale(h: Tensor, min_scale: float) -> tuple[Tensor, Tensor]:
    """What an affine coupling does to a number, from the even and the odd channels of NN's h."""
    return h[:, 0::2], _log_scale(h[:, 1::2] + AffineCoupling.offset, min_scale)


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """What a coupling sees and what it changes."""
    half = x.shape[1] // 2
    # what x.split comes to, without its Python: it is asked five times for each step of flow
    seen, changed = x.split_with_sizes((half, x.shape[1] - half), dim=1)
    return seen, changed
