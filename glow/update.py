"""One update of all weights: clipping, optimiser, average."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.optim.adamax import adamax
from torch.optim.adamw import adamw

from glow.muon import Matrix, Muon
from glow.schedule import Optimizer

CHUNK = 2**18  # numbers: a chunk's weights, gradient, moments and average fit into a CPU's cache
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class Update:
    """Adamax (the paper's), AdamW without decay, or Muon and AdamW; and the average of weights.

    Adamax and AdamW are torch's own functions. On a CPU they go chunk by chunk, all operations on
    one chunk before the next: a dozen passes over memory become one. On a GPU all weights are one
    chunk.

    Args:
        weights: of the model, (P,), changed in place.
        gradients: (P,), changed in place where they are clipped.
        ema: the average of the weights, (P,).
        optimizer: which.
        matrices: what "muon" moves by Muon, in the order of the weights; AdamW moves the rest.
    """

    def __init__(
        self,
        weights: Tensor,
        gradients: Tensor,
        ema: Tensor,
        *,
        optimizer: Optimizer,
        matrices: Sequence[Matrix] = (),
    ) -> None:
        self.optimizer = optimizer
        self.steps = torch.zeros((), device="cpu" if optimizer == "adamax" else weights.device)
        second = "exp_inf" if optimizer == "adamax" else "exp_avg_sq"
        self.moments = {name: torch.zeros_like(weights) for name in ("exp_avg", second)}
        self._gradients = gradients
        if optimizer != "muon":
            matrices = ()
        self._muon = Muon(matrices, weights, gradients, self.moments["exp_avg"])
        size = CHUNK if weights.device.type == "cpu" else max(1, len(weights))
        parts = list(_between(matrices, len(weights), size))
        adam = (weights, gradients, *self.moments.values())
        self._chunks = [
            (
                gradients[chunk],
                ema[chunk],
                weights[chunk],
                [[vector[part] for part in parts if _inside(part, chunk)] for vector in adam],
            )
            for chunk in _slices(0, len(weights), size)
        ]

    @torch.no_grad()
    def __call__(
        self,
        *,
        learning_rate: float,
        scale: float,
        ema_decay: float,
        muon_learning_rate: float = 0.0,
    ) -> None:
        """One step along `scale` times the gradient."""
        if self.optimizer == "muon":  # which wants all gradients of a shape, not those of a chunk
            if scale != 1.0:
                self._gradients *= scale
            scale = 1.0
            self._muon(learning_rate=muon_learning_rate)
        for gradient, ema, weights, adam in self._chunks:
            if scale != 1.0:
                gradient *= scale
            self._adam(*adam, learning_rate=learning_rate)
            ema.lerp_(weights, 1 - ema_decay)
        self.steps += 1

    def _adam(
        self,
        weights: list[Tensor],
        gradients: list[Tensor],
        first: list[Tensor],
        second: list[Tensor],
        *,
        learning_rate: float,
    ) -> None:
        if not weights:
            return
        steps = list(self.steps.repeat(len(weights)).unbind())  # torch's functions count them on
        if self.optimizer == "adamax":
            adamax(
                weights,
                gradients,
                first,
                second,
                steps,
                foreach=False,
                eps=EPSILON,
                beta1=BETA1,
                beta2=BETA2,
                lr=learning_rate,
                weight_decay=0.0,
            )
        else:
            adamw(
                weights,
                gradients,
                first,
                second,
                [],
                steps,
                fused=True,
                amsgrad=False,
                beta1=BETA1,
                beta2=BETA2,
                lr=learning_rate,
                weight_decay=0.0,
                eps=EPSILON,
                maximize=False,
            )

    def state(self) -> dict[str, Tensor]:
        """All that it remembers, by name."""
        return {"step": self.steps, **self.moments}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from a `state`."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])


def _slices(start: int, end: int, size: int) -> Iterator[slice]:
    """From start to end in pieces that end at multiples of a size."""
    while start < end:
        stop = min(end, (start // size + 1) * size)
        yield slice(start, stop)
        start = stop


def _between(matrices: Sequence[Matrix], n: int, size: int) -> Iterator[slice]:
    """What of a vector of n numbers lies outside of its matrices, cut at multiples of a size."""
    start = 0
    for matrix in matrices:
        yield from _slices(start, matrix.start, size)
        start = matrix.end
    yield from _slices(start, n, size)


def _inside(part: slice, chunk: slice) -> bool:
    return bool(chunk.start <= part.start < chunk.stop)
