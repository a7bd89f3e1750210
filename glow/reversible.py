"""Backpropagation through a chain of bijections, in as much memory as one chooses.

Going backwards, each step's input can be recomputed by inverting its output, so nothing but the
chain's output need be kept (Gomez et al. 2017, 'The Reversible Residual Network'; named as an
advantage of flows in Kingma & Dhariwal 2018, section 1). The activations of a few steps exist at a
time: of the last ones of a chain, which are kept, then of one after another.

An ill-conditioned flow magnifies the rounding of its inverse until the recomputed inputs have
nothing to do with the true ones. So each step leaves a checksum of its input, one number per
image, and where a recomputed input has another, the inputs from the last anchor on, one of a few
that are kept, are computed again by the flow itself. The log says so, once.

Where half of the activations are kept, the inputs, which are narrow, are too: nothing is inverted.
Of every fifth step they are alone, to make up for what else is alive on the way back. What the
parameters fold to is kept there too, where it is small beside the activations.

Backwards, what is kept inside of a step is used up: its gradients take its place. A second pass
computes it again.
"""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from glow.drift import checksum, drifted
from glow.flat import GradientVector
from glow.piece import Opaque, Piece

ANCHORS = 4
WHOLE = 2  # steps at the end of a chain that keep their activations: the first to need them
BARE = 5  # one of so many keeps none of them where others keep half

log = logging.getLogger(__name__)


class Tape:
    """What a chain leaves behind on its way forward, for the way back.

    Args:
        pieces: of the chain.
        backprop: what is kept of each step: see Chain.
        into: where gradients are added up, if not by autograd.
    """

    def __init__(
        self, pieces: Sequence[Piece], backprop: str, into: GradientVector | None = None
    ) -> None:
        self.pieces, self.into = pieces, into
        self.keep_all, self.keep_half = backprop == "autograd", backprop == "balanced"
        self.length = sum(len(piece.bijections) for piece in pieces)
        self.replays = 0
        self._spacing = max(1, -(-self.length // ANCHORS))
        self._inputs: dict[int, Tensor] = {}
        self._checksums: list[Tensor] = []
        self._z: Tensor
        self.output: Tensor

    def run(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, log_det of all bijections; equal to calling them one after another."""
        log_det = x.new_zeros(len(x))
        start = 0
        for piece in self.pieces:
            if self.keep_all and isinstance(piece, Opaque):
                x, term = piece.bijections[0](x)
            else:
                x, term = _Node.apply(self, piece, start, x, *piece.inputs(self.into))
            log_det = log_det + term
            start += len(piece.bijections)
        self._z = x.detach()
        return x, log_det

    def rewind(self) -> None:
        """Before a pass backwards, the first or another: the output is the chain's."""
        self.output = self._z

    def keep(self, piece: Piece, index: int, trace: Any) -> tuple[Tensor, ...]:  # noqa: ANN401
        """What of the trace of step number `index` of the chain is kept."""
        if self.keep_all:
            return tuple(trace)
        if self.keep_half:
            return trace.x, trace.z, *piece.part_of(trace, hidden=index % BARE > 0)
        if index >= self.length - WHOLE and not isinstance(piece, Opaque):
            return tuple(trace)
        if index % self._spacing == 0:
            self._inputs[index] = trace.x
        self._checksums.append(checksum(trace.x))
        return ()

    def keeps(self, folded: int, kept: Sequence[tuple[Tensor, ...]]) -> bool:
        """Whether what the parameters fold to, so many bytes, is kept beside activations.

        Where half of these are, not if it is large, nor if to fold again is little work.
        """
        activations = sum(tensor.nbytes for tensors in kept for tensor in tensors)
        return self.keep_all or (self.keep_half and 4 * folded < activations < 12 * folded)

    def whole(self, trace: Any) -> Any:  # noqa: ANN401
        """The trace of a step that kept it; those after it have been asked for theirs."""
        self.output = trace.x
        return trace

    def retrace(self, piece: Piece, at: int, start: int, folded: Any) -> Any:  # noqa: ANN401
        """The trace of a step; those after it have been asked for theirs."""
        index = start + at
        trace = piece.retrace(at, folded, self.output, self._inputs.get(index))
        if index not in self._inputs and drifted(trace.x, self._checksums[index]):
            if not self.replays:
                log.warning(
                    "the flow is too ill-conditioned to invert in this precision: inputs from "
                    "step %d of %d on are computed again from kept ones, at some cost of time",
                    index + 1,
                    self.length,
                )
            self.replays += 1
            trace = piece.retrace(at, folded, self.output, self._replay(index))
        self.output = trace.x.detach()
        if index % self._spacing:
            self._inputs.pop(index, None)
        return trace

    def _replay(self, index: int) -> Tensor:
        """The true input of a step; those of the steps before it, up to an anchor, are kept."""
        known = max(at for at in self._inputs if at <= index)
        x = self._inputs[known]
        start = 0
        for piece in self.pieces:
            end = start + len(piece.bijections)
            if known < end and known < index:
                folded = piece.fold(x)
                for at in range(known, min(end, index)):
                    x = piece.forward(at - start, folded, x)[1].z
                    self._inputs[at + 1] = x
                known = min(end, index)
            start = end
        return x


class _Node(torch.autograd.Function):
    """A piece, in autograd's graph."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        tape: Tape,
        piece: Piece,
        start: int,
        x: Tensor,
        *inputs: Tensor,
    ) -> Any:  # noqa: ANN401
        x = x.detach()
        folded = piece.fold(x)
        log_det = x.new_zeros(len(x))
        kept: list[tuple[Tensor, ...]] = []
        for at in range(len(piece.bijections)):
            term, trace = piece.forward(at, folded, x)
            log_det += term
            kept.append(tape.keep(piece, start + at, trace))
            x = trace.z
            del trace
        ctx.about = tape, piece, start
        ctx.folded = folded if tape.keeps(piece.bytes_of(folded), kept) else None
        ctx.counts = [len(tensors[:2]) for tensors in kept]  # x and z, or nothing
        ctx.save_for_backward(*(tensor for tensors in kept for tensor in tensors[:2]))
        ctx.inside = [tensors[2:] for tensors in kept]
        return x, log_det

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_z: Tensor, grad_log_det: Tensor) -> Any:  # noqa: ANN401
        tape, piece, start = ctx.about
        if start + len(ctx.counts) == tape.length:
            tape.rewind()
        saved = list(ctx.saved_tensors)
        folded, ctx.folded = ctx.folded, None
        found: list[Any] = []
        for at in reversed(range(len(piece.bijections))):
            if folded is None:
                folded = piece.fold(grad_z)
            ends, inside = saved[len(saved) - ctx.counts[at] :], ctx.inside[at]
            del saved[len(saved) - ctx.counts[at] :]
            ctx.inside[at] = None
            if not ends:
                trace = tape.retrace(piece, at, start, folded)
            elif inside is None:
                trace = tape.whole(piece.retrace(at, folded, ends[1], ends[0]))
            else:
                trace = tape.whole(piece.complete(at, folded, *ends, *inside))
            grad_z, of_folded = piece.pullback(at, folded, trace, grad_z, grad_log_det)
            found.append(of_folded)
            del trace, inside, of_folded
        return None, None, None, grad_z, *piece.gradients(folded, found[::-1], tape.into)
