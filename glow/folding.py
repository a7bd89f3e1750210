"""What the parameters of many steps of flow come down to, all steps at once.

A step has some fifteen small parameters, which fold into a matrix and three convolutions:

    W s (x + b)                       = (W s) x + (W s) b          ActNorm, permutation
    relu(s1 (K1 x + b1))              = relu((s1 K1) x + s1 b1)    conv 3x3, ActNorm
    s3 (K3 relu(s2 (W2 h + b2)) + b3) = (s3 K3 s2) relu(W2 h + b2) + s3 b3

s2 > 0 passes through its ReLU, so the large matrix W2 is used as it is. Step by step this is a
hundred small operations forward and as many backward, more time than the arithmetic of a narrow
network; stacked, it is a hundred for all steps of a level.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from glow.convolution import outside
from glow.folded import FoldedStep
from glow.parts import Each, Parts, stacked
from glow.permutation import inverse_of, product_of
from glow.products import packed_kernel, packed_weight
from glow.step import FlowStep


class Folding:
    """Steps of one shape, folded; and the way back from gradients of what they were folded to.

    Args:
        steps: of one level, each with the plain network.
        parts: their parameters, stacked where they lie side by side.
        x: images that they will see, for their height, width and device.
        dtype: of the networks' weights as they are run; all else is as the parameters are.
    """

    def __init__(
        self, steps: Sequence[FlowStep], parts: Parts, x: Tensor, dtype: torch.dtype
    ) -> None:
        network: Any = steps[0].coupling.conditioner
        self.permutation, self.coupling = steps[0].permutation, steps[0].coupling
        self.edge: bool = network.conv1.edge_bias
        self.outside = outside(x)
        self.dtype = dtype
        self.size = x.shape[2:]
        self.pixels = self.size[0] * self.size[1]
        self.factor: float = steps[0].actnorm.log_scale_factor
        self.network_factor: float = network.conv3.log_scale_factor
        self._fold(parts)

    def __getitem__(self, index: int) -> FoldedStep:
        return self.folded[index]

    @cached_property
    def inverses(self) -> Tensor:
        """Of the matrices, (K, C, C)."""
        return inverse_of(self.matrix)

    @cached_property
    def unbias(self) -> Tensor:
        """What their inverses add, (K, C, 1)."""
        return -self.bias[:, :, None]

    @torch.no_grad()
    def _fold(self, parts: Parts) -> None:
        factors = [stacked(factor) for factor in parts.factors]
        self.matrices = self.permutation.matrices_of(*factors)
        log_scale = stacked(parts.logs) * self.factor
        self.bias, self.scale = stacked(parts.bias), log_scale.exp()
        self.matrix = product_of(self.matrices) * self.scale[:, None]
        log_det = log_scale.sum(dim=1) + self.permutation.log_abs_det_of(*factors)

        bias1 = stacked(parts.bias1)
        kernel1 = stacked(parts.kernel1).movedim(2, -1)
        self.scale1 = self._scale(parts.logs1, bias1)
        if self.edge:
            bias1 = bias1 + kernel1[..., -1].sum(dim=(2, 3))
        self.bias1 = bias1 * self.scale1
        self.kernel1 = torch.empty_like(kernel1, memory_format=torch.contiguous_format)
        torch.mul(kernel1, self.scale1[:, :, None, None, None], out=self.kernel1)

        response = self.coupling.in_order(stacked(parts.bias3), dim=1).flatten(1, 2)
        scale3 = self._scale(parts.logs3, response)
        self.scale3 = self.coupling.in_order(scale3, dim=1).flatten(1, 2)[:, :, None]
        scale2 = self._scale(parts.logs2, bias1)
        self.scale32 = self._split(self.scale3 * scale2[:, None])[:, :, :, None, None]
        kernel3 = self.coupling.in_order(stacked(parts.kernel3).movedim(2, -1), dim=1)
        response = response[:, :, None]
        if self.edge:
            response = response + kernel3[..., -1].reshape(*response.shape[:2], 9) @ self.outside
            kernel3 = kernel3[..., :-1]
        self.kernel3 = kernel3.new_empty(len(kernel3), response.shape[1], *kernel3.shape[3:])
        torch.mul(kernel3, self.scale32, out=self._split(self.kernel3))
        self.unshifted = response * self.scale3
        response = self.unshifted.clone()
        response.chunk(self.coupling.outputs, dim=1)[-1].add_(self.coupling.offset)
        each = zip(
            self.matrix.unbind(),
            (self.matrix @ self.bias[:, :, None]).unbind(),
            (self.pixels * log_det).unbind(),
            self.kernel1.to(self.dtype).movedim(-1, 2).unbind(),
            self.bias1.to(self.dtype).unbind(),
            self._each(parts.weight2),
            self._each(parts.bias2),
            self.kernel3.to(self.dtype).movedim(-1, 2).unbind(),
            response.unflatten(2, self.size if self.edge else (1, 1)).unbind(),
            strict=True,
        )
        self.folded = [FoldedStep(*tensors) for tensors in each]

    def pack(self, batch: int) -> None:
        """Into oneDNN's own form, for batches of about that size; no gradients after that."""
        self.folded = [
            step._replace(
                kernel1=packed_kernel(step.kernel1, (batch, step.kernel1.shape[1], *self.size)),
                weight2=packed_weight(step.weight2, batch * self.pixels),
                kernel3=packed_kernel(step.kernel3, (batch, step.kernel3.shape[1], *self.size)),
            )
            for step in self.folded
        ]

    def _each(self, tensors: Each) -> Sequence[Tensor]:
        if not isinstance(tensors, Tensor) and tensors[0].dtype == self.dtype:
            return [tensor.detach() for tensor in tensors]
        return stacked(tensors).to(self.dtype).unbind()

    def _scale(self, logs: Each, bias: Tensor) -> Tensor:
        return (stacked(logs) * self.network_factor).exp() if len(logs) else torch.ones_like(bias)

    def _split(self, ordered: Tensor) -> Tensor:
        """All shifts apart from all scales."""
        return ordered.unflatten(1, (self.coupling.outputs, -1))

    @cached_property
    def _of_kernels(self) -> tuple[Tensor, Tensor]:
        """The gradients of all steps' kernels."""
        return torch.empty_like(self.kernel1), torch.empty_like(self.kernel3)

    @cached_property
    def _places(self) -> list[tuple[Tensor, Tensor]]:
        """Each step's part of them."""
        of1, of3 = (of_kernel.movedim(-1, 2).unbind() for of_kernel in self._of_kernels)
        return list(zip(of1, of3, strict=True))

    def collect(self, index: int, *of_kernels: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients of a step's kernels, moved beside those of the other steps."""
        places = self._places[index]
        torch._foreach_copy_(places, of_kernels)
        return places

    def gradients(self, found: Sequence[FoldedStep]) -> Parts:
        """Of the parameters of all steps, from what `collect` gave of each step's folding.

        Kernels are large: their gradients are written over, and so are the folded ones.
        """
        matrix, shift, log_det, bias1, bias2, response = (
            torch.stack([getattr(step, name) for step in found])
            for name in ("matrix", "shift", "log_det", "bias1", "bias2", "response")
        )
        kernel1, kernel3 = self._of_kernels

        matrix = matrix.baddbmm_(shift, self.bias[:, None])
        log_det = self.pixels * log_det.sum(dim=1)
        response = response.flatten(2)
        factors = self.permutation.gradients_of(
            self.matrices, matrix * self.scale[:, None], log_det
        )
        logs = ((matrix * self.matrix).sum(dim=1) + log_det[:, None]) * self.factor
        bias = (self.matrix.mT @ shift)[..., 0]

        logs1 = self.kernel1.mul_(kernel1).sum(dim=(2, 3, 4)).addcmul_(bias1, self.bias1)
        bias1 *= self.scale1
        kernel1 *= self.scale1[:, :, None, None, None]

        product = self.kernel3.mul_(kernel3)
        logs2 = product.sum(dim=(1, 2, 3))
        logs3 = product.sum(dim=(2, 3, 4)) + (response * self.unshifted).sum(dim=2)
        response = response * self.scale3
        seen = self.kernel3.shape[-1]
        unfolded = kernel3.new_empty(*kernel3.shape[:2], seen + self.edge, 3, 3)
        ordered = self.coupling.in_order(unfolded.movedim(2, -1), dim=1)
        torch.mul(self._split(kernel3), self.scale32, out=ordered[..., :seen])
        if self.edge:
            kernel1[..., -1] += bias1[:, :, None, None]
            ordered[..., seen] = (response @ self.outside.T).view(ordered.shape[:-1])
        return Parts(
            bias=bias,
            logs=logs,
            factors=factors,
            kernel1=kernel1.movedim(-1, 2),
            bias1=bias1,
            logs1=logs1 * self.network_factor,
            weight2=[step.weight2 for step in found],
            bias2=bias2,
            logs2=logs2 * self.network_factor,
            kernel3=unfolded,
            bias3=self.coupling.by_turns(response.sum(dim=2), dim=1),
            logs3=self.coupling.by_turns(logs3 * self.network_factor, dim=1),
        )
