"""Bijections in a row."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from glow.bijection import Bijection
from glow.reversible import Tape

Backprop = Literal["autograd", "balanced", "reversible"]


class Chain(Bijection):
    """f = f_n ... f_2 f_1, log_det the sum of theirs.

    Args:
        bijections: f_1 to f_n, in the order in which data passes them.
        backprop: "autograd" keeps every activation for the backward pass; "reversible" keeps none
            and recomputes them from the outputs, for a third more work; "balanced" keeps the
            larger half of them, for a few per cent.
    """

    def __init__(
        self, bijections: Iterable[Bijection], *, backprop: Backprop = "autograd"
    ) -> None:
        super().__init__()
        self.bijections = nn.ModuleList(bijections)
        self.backprop = backprop

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Z = f_n(... f_1(x)), log_det (B,)."""
        if self.backprop != "autograd" and self.training and torch.is_grad_enabled():
            return Tape(self._bijections(), keep_half=self.backprop == "balanced").run(x)
        log_det = x.new_zeros(len(x))
        for bijection in self._bijections():
            x, term = bijection(x)
            log_det = log_det + term
        return x, log_det

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """X = f_1^-1(... f_n^-1(z)), log_det (B,)."""
        log_det = z.new_zeros(len(z))
        for bijection in reversed(self._bijections()):
            z, term = bijection.inverse(z)
            log_det = log_det + term
        return z, log_det

    def initialize(self, x: Tensor) -> Tensor:
        """Initialises f_1 from x, f_2 from f_1(x), and so on."""
        for bijection in self._bijections():
            x = bijection.initialize(x)
        return x

    def _bijections(self) -> list[Bijection]:
        return list(self.bijections)  # type: ignore[arg-type]  # a ModuleList of Bijection
