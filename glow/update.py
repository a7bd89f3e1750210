"""One update of all weights: clipping, optimiser, average."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.optim.adamax import adamax
from torch.optim.adamw import adamw

CHUNK = 2**18  # numbers: a chunk's weights, gradient, moments and average fit into a CPU's cache
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class Update:
    """Adamax (the paper's) or AdamW without decay, by torch's own functions, and the EMA.

    On a CPU it goes chunk by chunk, all operations on one chunk before the next: a dozen passes
    over memory become one. On a GPU all weights are one chunk.

    Args:
        weights: of the model, (P,), changed in place.
        gradients: (P,), changed in place where they are clipped.
        ema: the average of the weights, (P,).
        optimizer: which of the two.
    """

    def __init__(
        self,
        weights: Tensor,
        gradients: Tensor,
        ema: Tensor,
        *,
        optimizer: Literal["adamax", "adamw"],
    ) -> None:
        self.optimizer = optimizer
        self.steps = torch.zeros((), device=weights.device if optimizer == "adamw" else "cpu")
        second = "exp_inf" if optimizer == "adamax" else "exp_avg_sq"
        self.moments = {name: torch.zeros_like(weights) for name in ("exp_avg", second)}
        size = CHUNK if weights.device.type == "cpu" else len(weights)
        vectors = (weights, gradients, ema, *self.moments.values())
        self._chunks = list(zip(*(vector.split(size) for vector in vectors), strict=True))

    @torch.no_grad()
    def __call__(self, *, learning_rate: float, scale: float, ema_decay: float) -> None:
        """One step along `scale` times the gradient."""
        before = self.steps.clone()
        for weights, gradient, ema, first, second in self._chunks:
            if scale != 1.0:
                gradient *= scale
            self.steps.copy_(before)  # torch's functions count for themselves
            if self.optimizer == "adamax":
                adamax(
                    [weights],
                    [gradient],
                    [first],
                    [second],
                    [self.steps],
                    foreach=False,
                    eps=EPSILON,
                    beta1=BETA1,
                    beta2=BETA2,
                    lr=learning_rate,
                    weight_decay=0.0,
                )
            else:
                adamw(
                    [weights],
                    [gradient],
                    [first],
                    [second],
                    [],
                    [self.steps],
                    fused=True,
                    amsgrad=False,
                    beta1=BETA1,
                    beta2=BETA2,
                    lr=learning_rate,
                    weight_decay=0.0,
                    eps=EPSILON,
                    maximize=False,
                )
            ema.lerp_(weights, 1 - ema_decay)

    def state(self) -> dict[str, Tensor]:
        """All that it remembers, by name."""
        return {"step": self.steps, **self.moments}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from a `state`."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])
