"""What the parameters of many steps of flow come down to, all steps at once.

A step has some fifteen small parameters, which fold into three convolutions and a matrix:

    W s (x + b)                       = (W s) x + (W s) b          ActNorm, permutation
    relu(s1 (K1 x + b1))              = relu((s1 K1) x + s1 b1)    conv 3x3, ActNorm
    s3 (K3 relu(s2 (W2 h + b2)) + b3) = (s3 K3 s2) relu(W2 h + b2) + s3 b3

s2 > 0 passes through its ReLU, so the large matrix W2 is used as it is. Step by step this is a
hundred small operations forward and as many backward, more time than the arithmetic of a narrow
network; stacked, it is a hundred for all steps of a level.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from glow.actnorm import ActNorm
from glow.conditioner import Bias, Conditioner
from glow.convolution import inside
from glow.permutation import inverse_of
from glow.step import FlowStep


class FoldedStep(NamedTuple):
    """A step: z1, y2 = halves(matrix x + shift); h = network(z1); z2 = change(y2, h).

    network: relu(kernel1 * [z1, -1] + bias1), relu(weight2 . + bias2), kernel3 * . + response.
    The gradient of one is another, whose log_det is that of the scalar that the step adds.
    """

    matrix: Tensor  # (C, C)
    shift: Tensor  # (C, 1)
    log_det: Tensor  # of actnorm and permutation, a scalar, nats
    kernel1: Tensor  # (width, channels seen [+ 1], 3, 3), channels last
    bias1: Tensor
    weight2: Tensor  # (width, width)
    bias2: Tensor
    kernel3: Tensor  # (outputs, width, 3, 3), channels last, outputs in order
    response: Tensor  # (outputs, H, W), or (outputs, 1, 1) without an edge bias


class Folding:
    """Steps of one shape, folded; and the way back from gradients of what they were folded to.

    Args:
        steps: of one level, each with the plain network.
        x: images that they will see, for their height, width and device.
    """

    def __init__(self, steps: Sequence[FlowStep], x: Tensor) -> None:
        self.steps = steps
        self.size = x.shape[2:]
        self.pixels = self.size[0] * self.size[1]
        self.networks: list[Conditioner] = [step.coupling.conditioner for step in steps]  # type: ignore[misc]
        first = self.networks[0]
        self.edge = first.conv1.edge_bias
        self.outside = inside(x) + 1 if self.edge else None
        self._fold()

    def __getitem__(self, index: int) -> FoldedStep:
        return self.folded[index]

    @cached_property
    def inverses(self) -> Tensor:
        """Of the matrices, (K, C, C)."""
        return inverse_of(self.matrix)

    @torch.no_grad()
    def _fold(self) -> None:
        steps, networks = self.steps, self.networks
        actnorms = [step.actnorm for step in steps]
        permutation = steps[0].permutation
        self.factors = [
            torch.stack(factor)
            for factor in zip(*(step.permutation.factors() for step in steps), strict=True)
        ]
        log_scale = _log_scales(actnorms)
        self.bias = _stacked(actnorms, "bias")
        self.scale = log_scale.exp()
        self.matrix = permutation.matrix_of(*self.factors) * self.scale[:, None]
        shift = self.matrix @ self.bias[:, :, None]
        log_det = log_scale.sum(dim=1) + permutation.log_abs_det_of(*self.factors)

        norms1, norms2 = ([getattr(n, name) for n in networks] for name in ("norm1", "norm2"))
        thirds = [network.conv3 for network in networks]
        self.scale1, self.scale2, self.scale3 = (
            _log_scales(norms).exp() for norms in (norms1, norms2, thirds)
        )
        kernel1 = torch.stack([_nhwc(network.conv1.weight) for network in networks])
        self.bias1 = _stacked(norms1, "bias")
        if self.edge:
            self.bias1 = self.bias1 + kernel1[..., -1].sum(dim=(2, 3))
        self.bias1 *= self.scale1
        self.kernel1 = kernel1.mul_(self.scale1[:, :, None, None, None])

        coupling = steps[0].coupling
        stored = torch.stack([_nhwc(third.conv.weight) for third in thirds])
        bias3 = _stacked(thirds, "bias")[:, :, None]
        if self.edge:
            bias3 = bias3 + stored[..., -1].flatten(2) @ self.outside
            stored = stored[..., :-1]
        self.unshifted = coupling.in_order(bias3 * self.scale3[:, :, None], dim=1)
        response = self.unshifted.clone()
        response.chunk(coupling.outputs, dim=1)[-1].add_(coupling.offset)
        scaled = stored * self.scale3[:, :, None, None, None]
        self.kernel3 = coupling.in_order(scaled, dim=1).mul_(self.scale2[:, None, None, None])
        size = self.size if self.edge else (1, 1)
        each = zip(
            self.matrix,
            shift,
            self.pixels * log_det,
            self.kernel1.permute(0, 1, 4, 2, 3),
            self.bias1,
            [network.weight2.detach() for network in networks],
            [norm.bias.detach() for norm in norms2],
            self.kernel3.permute(0, 1, 4, 2, 3),
            response.unflatten(2, size),
            strict=True,
        )
        self.folded = [FoldedStep(*parts) for parts in each]

    def gradients(self, found: Sequence[FoldedStep]) -> dict[nn.Parameter, Tensor]:
        """Of the parameters of all steps, from the gradient of each step's folding."""
        of: dict[nn.Parameter, Tensor] = {}
        self._of_matrix(of, *map(_stacked, (found,) * 3, ("matrix", "shift", "log_det")))
        kernels1 = torch.stack([_nhwc(step.kernel1) for step in found])
        self._of_first(of, kernels1, _stacked(found, "bias1"))
        for network, step in zip(self.networks, found, strict=True):
            of[network.weight2], of[network.norm2.bias] = step.weight2, step.bias2
        kernels3 = torch.stack([_nhwc(step.kernel3) for step in found])
        self._of_third(of, kernels3, _stacked(found, "response"))
        return of

    def _of_matrix(
        self, of: dict[nn.Parameter, Tensor], matrix: Tensor, shift: Tensor, log_det: Tensor
    ) -> None:
        matrix = torch.baddbmm(matrix, shift, self.bias[:, None])
        log_det = self.pixels * log_det
        learned = self.steps[0].permutation.gradients_of(
            self.factors, matrix * self.scale[:, None], log_det
        )
        log_scale = (matrix * self.matrix).sum(dim=1) + log_det[:, None]
        actnorms = [step.actnorm for step in self.steps]
        _give(of, actnorms, "bias", (self.matrix.mT @ shift)[..., 0])
        _give(of, actnorms, "logs", log_scale * actnorms[0].log_scale_factor)
        for index, gradient in enumerate(learned):
            for step, one in zip(self.steps, gradient, strict=True):
                of[step.permutation.factors()[index]] = one  # type: ignore[index]  # a Parameter

    def _of_first(self, of: dict[nn.Parameter, Tensor], kernel: Tensor, bias: Tensor) -> None:
        norms = [network.norm1 for network in self.networks]
        log_scale = (kernel * self.kernel1).sum(dim=(2, 3, 4)).addcmul_(bias, self.bias1)
        bias = bias * self.scale1
        kernel = kernel * self.scale1[:, :, None, None, None]
        if self.edge:
            kernel[..., -1] += bias[:, :, None, None]
        _give(of, [network.conv1 for network in self.networks], "weight", _nchw(kernel))
        _give(of, norms, "bias", bias)
        _give_logs(of, norms, log_scale)

    def _of_third(self, of: dict[nn.Parameter, Tensor], kernel: Tensor, response: Tensor) -> None:
        coupling = self.steps[0].coupling
        norms = [network.norm2 for network in self.networks]
        thirds = [network.conv3 for network in self.networks]
        product = kernel * self.kernel3
        _give_logs(of, norms, product.sum(dim=(1, 2, 3)))
        response = response.flatten(2)
        log_scale = product.sum(dim=(2, 3, 4)) + (response * self.unshifted).sum(dim=2)
        kernel = coupling.by_turns(kernel * self.scale2[:, None, None, None], dim=1)
        kernel = kernel * self.scale3[:, :, None, None, None]
        response = coupling.by_turns(response, dim=1) * self.scale3[:, :, None]
        if self.edge:
            of_edge = (response @ self.outside.T).unflatten(2, (3, 3))
            kernel = torch.cat((kernel, of_edge[..., None]), dim=4)
        _give(of, [third.conv for third in thirds], "weight", _nchw(kernel))
        _give(of, thirds, "bias", response.sum(dim=2))
        log_scale = coupling.by_turns(log_scale, dim=1) * thirds[0].log_scale_factor
        _give(of, thirds, "logs", log_scale)


def _stacked(things: Sequence[object], name: str) -> Tensor:
    return torch.stack([getattr(thing, name) for thing in things])


def _log_scales(norms: Sequence[Any]) -> Tensor:
    """f logs of each, or zeros where there are none, (K, channels)."""
    if isinstance(norms[0], Bias):
        return torch.zeros_like(_stacked(norms, "bias"))
    return _stacked(norms, "logs") * norms[0].log_scale_factor


def _give(
    of: dict[nn.Parameter, Tensor], modules: Sequence[Any], name: str, gradients: Tensor
) -> None:
    for module, gradient in zip(modules, gradients, strict=True):
        of[getattr(module, name)] = gradient


def _give_logs(of: dict[nn.Parameter, Tensor], norms: Sequence[Any], log_scale: Tensor) -> None:
    if isinstance(norms[0], ActNorm):
        _give(of, norms, "logs", log_scale * norms[0].log_scale_factor)


def _nhwc(kernel: Tensor) -> Tensor:
    return kernel.permute(0, 2, 3, 1)


def _nchw(kernels: Tensor) -> Tensor:
    return kernels.permute(0, 1, 4, 2, 3)
