"""The network of a folded step, run fast, with its gradient written down by hand.

Nearly all the work of a flow is done here. The hidden activations are matrices in memory (channels
last), so that the 1x1 convolution is a matrix product.
"""

from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from glow.folded import FoldedStep
from glow.precision import Float32Products, Precision
from glow.products import (
    conv,
    conv_relu,
    linear_relu,
    narrowing_backward,
    product,
    through_relu,
    weight_gradient,
    widening_backward,
)


class Hidden(NamedTuple):
    """Both hidden activations, the second first, and what the network sees."""

    h2: Tensor | None = None
    h1: Tensor | None = None
    seen: Tensor | None = None


class FoldedConditioner:
    """The plain network of any folded step.

    Args:
        precision: of its products, forward and backward.
    """

    def __init__(self, precision: Precision) -> None:
        self.precision = precision

    def run(self, step: FoldedStep, z1: Tensor) -> tuple[Tensor, Hidden]:
        """Its output, in the type of z1, and what is inside."""
        seen, h1 = self._first(step, z1)
        h2 = self._second(step, h1)
        with self._products(z1):
            out = conv(h2, step.kernel3)
        h = torch.empty(out.shape, dtype=z1.dtype, device=out.device)
        torch.add(out, step.response, out=h)
        return h, Hidden(h2, h1, seen)

    def pullback(
        self, step: FoldedStep, z1: Tensor, hidden: Hidden, grad_h: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]:
        """The gradients of z1, and of kernel1, bias1, weight2, bias2, kernel3.

        Those of hidden activations take their places; what is None of these is computed again,
        as late as may be: so few are alive together.
        """
        h2, h1, seen = hidden
        like = grad_h.dtype
        grad_h = grad_h.to(step.weight2.dtype).contiguous(memory_format=torch.channels_last)
        if h2 is None:
            seen, h1 = self._first(step, z1)
            h2 = self._second(step, h1)
        with self._products(z1):
            grad, kernel3 = narrowing_backward(grad_h, h2, step.kernel3)
        grad = through_relu(grad, h2)
        if seen is None or h1 is None:
            seen, h1 = self._first(step, z1)
        with self._products(z1):
            weight2 = weight_gradient(grad, h1)
            bias2 = grad.sum(dim=(0, 2, 3), dtype=like)
            grad = product(grad.movedim(1, -1), step.weight2).movedim(-1, 1)
            grad = through_relu(grad, h1)
            grad, kernel1, bias1 = widening_backward(grad, seen, step.kernel1)
        found = kernel1.to(like), bias1.to(like), weight2.to(like), bias2, kernel3.to(like)
        return grad[:, : z1.shape[1]], found

    def _first(self, step: FoldedStep, z1: Tensor) -> tuple[Tensor, Tensor]:
        """What it sees, and the first hidden activation."""
        batch, channels, height, width = z1.shape
        shape = (batch, height, width, step.kernel1.shape[1])
        # -1 in the edge channel, if there is one (convolution.py)
        seen = step.bias1.new_full(shape, -1.0).permute(0, 3, 1, 2)
        seen[:, :channels] = z1
        with self._products(z1):
            return seen, conv_relu(seen, step.kernel1, step.bias1)

    def _second(self, step: FoldedStep, h1: Tensor) -> Tensor:
        with self._products(h1):
            return linear_relu(h1.movedim(1, -1), step.weight2, step.bias2).movedim(-1, 1)

    def _products(self, like: Tensor) -> Float32Products | nullcontext[None]:
        """As TF32, where that is wanted; else as around them, without a look at the switches."""
        return Float32Products(like, tf32=True) if self.precision == "tf32" else nullcontext()
