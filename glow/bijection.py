"""The interface that every layer of the flow implements."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Bijection(nn.Module, ABC):
    """An invertible map from x, the data side, to z, the latent side.

    Both directions return `log_det`: log|det J| of the direction just computed, in nats,
    shape (B,), summed over everything but the batch. If `z, log_det = f(x)`, then `f.inverse(z)`
    is `x, -log_det`.
    """

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data to latents: the direction that is trained."""

    @abstractmethod
    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Maps latents to data: the direction that samples."""

    def initialize(self, x: Tensor) -> Tensor:
        """Sets data-dependent parameters from a first batch and returns `forward(x)[0]`.

        Most layers have none; those that do override this.
        """
        return self(x)[0]

    # Backpropagation through z without what the forward pass had in memory (reversible.py). A
    # layer that knows more of itself than these defaults do does it with less work.

    def forward_keeping_half(self, x: Tensor) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        """Z, log_det, and what `retrace` may be given to save it work; here nothing."""
        return *self(x), ()

    def retrace(self, z: Tensor, half: Sequence[Tensor], x: Tensor | None) -> Any:  # noqa: ANN401
        """The forward pass again, from its output; x, where it is known, need not be inverted.

        Returns:
            Its trace: something with the recomputed `x`, which `pullback` takes.
        """
        del half
        if x is None:
            with torch.no_grad():
                x, _ = self.inverse(z)
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            return _Graph(x, *self(x))

    def pullback(
        self,
        trace: Any,  # noqa: ANN401 - each layer has its own
        grad_z: Tensor,
        grad_log_det: Tensor,
    ) -> tuple[Tensor, dict[nn.Parameter, Tensor]]:
        """The gradient of x, and of the parameters, from those of z and log_det."""
        outputs = zip(trace[1:], (grad_z, grad_log_det), strict=True)
        connected = [(out, grad) for out, grad in outputs if out.requires_grad]
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        grad_x, *found = torch.autograd.grad(
            [out for out, _ in connected],
            [trace.x, *trained],
            [grad for _, grad in connected],
            allow_unused=True,
        )
        return grad_x, dict(zip(trained, found, strict=True))


class _Graph(NamedTuple):
    """A piece of autograd's graph, from x to z and log_det."""

    x: Tensor
    z: Tensor
    log_det: Tensor
