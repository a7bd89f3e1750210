"""Backpropagation through a chain of bijections in memory that does not grow with its length.

Going backwards, each step's input is recomputed by inverting its output, so nothing but the
chain's output is kept (Gomez et al. 2017, 'The Reversible Residual Network'; named as an
advantage of flows in Kingma & Dhariwal 2018, section 1). One step's activations exist at a time,
and one step's gradients: each step is a node of autograd's graph, which adds them to `.grad`.

An ill-conditioned flow magnifies the rounding of its inverse until the recomputed inputs have
nothing to do with the true ones. So each step leaves a checksum of its input, one number per
image, and where a recomputed input has another, the inputs from the last anchor on, one of a few
that are kept, are computed again by the flow itself.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from glow.bijection import Bijection

ANCHORS = 4


class Tape:
    """What a chain leaves behind on its way forward, for the way back.

    Args:
        bijections: of the chain.
        keep_half: whether steps keep what `forward_keeping_half` says.
    """

    def __init__(self, bijections: Iterable[Bijection], *, keep_half: bool) -> None:
        self.bijections = list(bijections)
        self.keep_half = keep_half
        self.replays = 0
        self._inputs: dict[int, Tensor] = {}
        self._checksums: list[Tensor] = []
        self._output = self._last = torch.empty(0)

    def run(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, log_det of all bijections; equal to calling them one after another."""
        log_det = x.new_zeros(len(x))
        for index, bijection in enumerate(self.bijections):
            x, term = _Link.apply(self, index, x, *bijection.parameters())
            log_det = log_det + term
        return x, log_det

    def forward(self, index: int, x: Tensor) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        """One step: z, log_det, and what it keeps."""
        spacing = -(-len(self.bijections) // ANCHORS)
        x = x.detach()
        if index % spacing == 0:
            self._inputs[index] = x
        self._checksums.append(_checksum(x))
        if self.keep_half:
            z, log_det, half = self.bijections[index].forward_keeping_half(x)
        else:
            (z, log_det), half = self.bijections[index](x), ()
        self._last = z.detach()  # not z, whose history would refer to this tape
        return z, log_det, half

    def backward(self, index: int, half: Sequence[Tensor]) -> Any:  # noqa: ANN401
        """The trace of a step; those after it have been asked for theirs."""
        last = index == len(self.bijections) - 1
        bijection, z = self.bijections[index], self._last if last else self._output
        trace = bijection.retrace(z, half, self._inputs.get(index))
        if index not in self._inputs and self._drifted(index, trace.x):
            self.replays += 1
            trace = bijection.retrace(z, half, self._replay(index))
        self._output = trace.x.detach()
        if index % -(-len(self.bijections) // ANCHORS):
            self._inputs.pop(index, None)
        return trace

    def _drifted(self, index: int, x: Tensor) -> bool:
        """Whether x differs from the true input by more than float's precision explains.

        The difference of two checksums is about the length of the difference of what they are of.
        """
        allowed = torch.finfo(x.dtype).eps ** 0.5 / 4 * x.flatten(1).norm(dim=1)
        difference = (_checksum(x) - self._checksums[index]).abs()
        return not bool((difference <= allowed).all())  # nor if either is NaN

    def _replay(self, index: int) -> Tensor:
        """The true input of a step; those of the steps before it, up to an anchor, are kept."""
        anchor = max(at for at in self._inputs if at <= index)
        x = self._inputs[anchor]
        with torch.no_grad():
            for at in range(anchor, index):
                x, _ = self.bijections[at](x)
                self._inputs[at + 1] = x
        return x


class _Link(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tape: Tape, index: int, x: Tensor, *parameters: Tensor) -> Any:  # noqa: ANN401
        z, log_det, half = tape.forward(index, x)
        ctx.tape, ctx.index, ctx.parameters = tape, index, parameters
        ctx.save_for_backward(*half)
        return z, log_det

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:  # noqa: ANN401
        bijection = ctx.tape.bijections[ctx.index]
        trace = ctx.tape.backward(ctx.index, ctx.saved_tensors)
        grad_x, of = bijection.pullback(trace, *gradients)
        return None, None, grad_x, *map(of.get, ctx.parameters)


def _checksum(x: Tensor) -> Tensor:
    """The product of each image with a fixed vector of signs, (B,)."""
    x = x.flatten(1)
    return x @ _signs(x.shape[1], x.device, x.dtype)


@lru_cache(maxsize=16)
def _signs(n: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.randint(0, 2, (n,), generator=generator) * 2 - 1).to(device, dtype)
