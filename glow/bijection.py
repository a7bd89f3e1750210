"""The interface that every layer of the flow implements."""

from abc import ABC, abstractmethod

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
