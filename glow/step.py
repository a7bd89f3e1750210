"""One step of flow, and its gradient by hand."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from glow.actnorm import ActNorm
from glow.bijection import Bijection
from glow.conditioner import Activations, Conditioner, FoldedNetwork
from glow.coupling import Coupling, halves
from glow.permutation import Permutation, at_every_pixel


class FlowStep(Bijection):
    """ActNorm, permutation, coupling (Glow, Figure 2a).

    ActNorm and permutation are one matrix product: W s (x + b) = (W s) x + (W s) b.

    In training the gradient is that of `pullback`: autograd would be right too, and slower, for
    it records a hundred small operations where a step has few large ones.
    """

    def __init__(self, actnorm: ActNorm, permutation: Permutation, coupling: Coupling) -> None:
        super().__init__()
        self.actnorm = actnorm
        self.permutation = permutation
        self.coupling = coupling

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Z (B, C, H, W), log_det (B,)."""
        if self.training and torch.is_grad_enabled() and self._network is not None:
            z, log_det = _ByHand.apply(self, x, *self.parameters())
            return z, log_det
        z, log_det = self.coupling(at_every_pixel(x, *self._matrix_and_shift()))
        return z, log_det + self._log_det_of_matrix(x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """X (B, C, H, W), log_det (B,)."""
        y, log_det = self.coupling.inverse(z)
        return self._unmix(y), log_det - self._log_det_of_matrix(z)

    def initialize(self, x: Tensor) -> Tensor:
        """Initialises the three one after the other."""
        x = self.actnorm.initialize(x)
        return self.coupling.initialize(self.permutation(x)[0])

    def trace(self, x: Tensor) -> tuple["StepTrace", Tensor]:
        """Forward, with all that `pullback` needs; and log_det."""
        matrix, shift = self._matrix_and_shift()
        y1, y2 = halves(at_every_pixel(x, matrix, shift))
        folded = self._plain.fold()
        at = self._plain.run(y1, folded)
        z2, log_det = self.coupling.change(y2, at.out)
        z = torch.cat((y1, z2), dim=1)
        return StepTrace(x, z, matrix, *at, *folded), log_det + self._log_det_of_matrix(x)

    def forward_keeping_half(self, x: Tensor) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        """Z, log_det, the second hidden activation and the output of the network."""
        if self._network is None:
            return super().forward_keeping_half(x)
        trace, log_det = self.trace(x)
        return trace.z, log_det, (trace.h2, trace.out)

    def retrace(self, z: Tensor, half: Sequence[Tensor], x: Tensor | None) -> Any:  # noqa: ANN401
        """What `trace` returned, from z: the network is run once, in both directions' stead."""
        if self._network is None:
            return super().retrace(z, half, x)
        matrix, shift = self._matrix_and_shift()
        z1, z2 = halves(z if x is None else at_every_pixel(x, matrix, shift))
        folded = self._plain.fold()
        if half:
            at = Activations(*self._plain.run_first(z1, folded), *half)
        else:
            at = self._plain.run(z1, folded)
        if x is None:
            x = self._unmix(torch.cat((z1, self.coupling.restore(z2, at.out)[0]), dim=1))
        else:
            z = torch.cat((z1, self.coupling.change(z2, at.out)[0]), dim=1)
        return StepTrace(x, z, matrix, *at, *folded)

    def pullback(
        self,
        trace: Any,  # noqa: ANN401
        grad_z: Tensor,
        grad_log_det: Tensor,
    ) -> tuple[Tensor, dict[nn.Parameter, Tensor]]:
        """Back through the coupling, its network, and the matrix of ActNorm and permutation."""
        if not isinstance(trace, StepTrace):
            return super().pullback(trace, grad_z, grad_log_det)
        (grad_y1, grad_z2), (_, z2) = halves(grad_z), halves(trace.z)
        grad_y2, grad_h = self.coupling.change_backward(z2, trace.out, grad_z2, grad_log_det)
        through, gradients = self._plain.pullback(trace.activations, trace.folded, grad_h)
        grad_y = torch.cat((grad_y1 + through, grad_y2), dim=1)
        of_shift = grad_y.sum(dim=(0, 2, 3))
        products = torch.bmm(grad_y.flatten(2), trace.x.flatten(2).transpose(1, 2))
        of_matrix = torch.addr(products.sum(dim=0), of_shift, self.actnorm.bias)
        of_log_det = grad_log_det.sum() * (grad_z.shape[2] * grad_z.shape[3])
        of_log_scale = (of_matrix * trace.matrix).sum(dim=0) + of_log_det
        gradients[self.actnorm.bias] = trace.matrix.T @ of_shift
        gradients[self.actnorm.logs] = of_log_scale * self.actnorm.log_scale_factor
        of_permutation = of_matrix * self.actnorm.log_scale.exp()
        gradients |= self.permutation.gradients(of_permutation, of_log_det)
        return at_every_pixel(grad_y, trace.matrix.T), gradients

    @property
    def _network(self) -> Conditioner | None:
        """The coupling's network, where it is one whose gradient is known here."""
        network = self.coupling.conditioner
        return network if isinstance(network, Conditioner) else None

    @property
    def _plain(self) -> Conditioner:
        assert self._network is not None
        return self._network

    def _matrix_and_shift(self) -> tuple[Tensor, Tensor]:
        matrix = self.permutation.matrix() * self.actnorm.log_scale.exp()
        return matrix, matrix @ self.actnorm.bias

    def _unmix(self, y: Tensor) -> Tensor:
        unscale = (-self.actnorm.log_scale).exp()
        matrix = self.permutation.inverse_matrix() * unscale[:, None]
        return at_every_pixel(y, matrix, -self.actnorm.bias)

    def _log_det_of_matrix(self, x: Tensor) -> Tensor:
        pixels = x.shape[2] * x.shape[3]
        return pixels * (self.actnorm.log_scale.sum() + self.permutation.log_abs_det())


class StepTrace(NamedTuple):
    """A step's input and output, and what was between: its matrix and its network."""

    x: Tensor
    z: Tensor
    matrix: Tensor
    seen: Tensor
    h1: Tensor
    h2: Tensor
    out: Tensor
    kernel1: Tensor
    bias1: Tensor
    kernel2: Tensor
    bias2: Tensor
    kernel3: Tensor
    bias3: Tensor

    @property
    def activations(self) -> Activations:
        """Of the network."""
        return Activations(*self[3:7])

    @property
    def folded(self) -> FoldedNetwork:
        """Weights of the network."""
        return FoldedNetwork(*self[7:])


class _ByHand(torch.autograd.Function):
    """A step whose whole trace is kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, step: FlowStep, x: Tensor, *parameters: Tensor) -> Any:  # noqa: ANN401
        trace, log_det = step.trace(x)
        ctx.step, ctx.parameters = step, parameters
        ctx.save_for_backward(*trace)
        return trace.z, log_det

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:  # noqa: ANN401
        trace = StepTrace(*ctx.saved_tensors)
        grad_x, of = ctx.step.pullback(trace, *gradients)
        return None, grad_x, *map(of.get, ctx.parameters)
