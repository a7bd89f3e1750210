"""Steps of flow in a row, run fast, with their gradient written down by hand.

The same mathematics as FlowStep's. autograd would record a hundred small operations for each
step; here the parameters of all steps are folded together (folding.py), and the narrow tensors
around the network (folded_conditioner.py) are channels first, where halving them costs nothing.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from glow.conditioner import Conditioner
from glow.coupling import Ready, halves
from glow.flat import GradientVector
from glow.folded import FoldedStep
from glow.folded_conditioner import FoldedConditioner, Hidden
from glow.folding import Folding
from glow.parameters import StepParameters
from glow.permutation import at_every_pixel
from glow.piece import Piece
from glow.precision import Precision, type_of_products
from glow.step import FlowStep


class StepTrace(NamedTuple):
    """Input, output, the scale that the network gives, its hidden activations, what it sees.

    No gradient depends on the shift. What is None is computed again where the gradient needs it.
    """

    x: Tensor
    z: Tensor
    scale: Tensor
    h2: Tensor | None = None
    h1: Tensor | None = None
    seen: Tensor | None = None


def kind(bijection: object) -> tuple[Any, ...] | None:
    """The same for steps that can be folded together; None for what is no step of flow.

    Only steps with the plain network are run here.
    """
    if not isinstance(bijection, FlowStep):
        return None
    network = bijection.coupling.conditioner
    if not isinstance(network, Conditioner):
        return None
    shapes = (parameter.shape for parameter in bijection.parameters())
    return (type(bijection.permutation), type(bijection.coupling), *shapes)


class Steps(Piece):
    """Steps of one level: of one shape.

    Args:
        steps: of flow.
        precision: of the products inside their networks, forward and backward.
    """

    def __init__(self, steps: Sequence[FlowStep], precision: Precision = "float32") -> None:
        self.bijections: Sequence[FlowStep] = steps
        self.precision: Precision = precision
        self._conditioner = FoldedConditioner(precision)
        self._parameters = StepParameters(steps)

    def inputs(self, into: GradientVector | None) -> list[Any]:
        """All parameters; or any one, where gradients are added up past autograd."""
        return self._parameters.inputs(into)

    def fold(self, x: Tensor) -> Folding:
        """Of all steps."""
        dtype = type_of_products(self.precision, x)
        return Folding(self.bijections, self._parameters.stacks(), x, dtype)

    def bytes_of(self, folded: Folding) -> int:
        """Of the kernels."""
        return folded.kernel1.nbytes + folded.kernel3.nbytes

    def fold_for_good(self, x: Tensor) -> Folding:
        """Of all steps, brought into the form in which a CPU's library has them inside."""
        folded = self.fold(x)
        folded.pack(len(x))
        return folded

    def forward(self, at: int, folded: Folding, x: Tensor) -> tuple[Tensor, StepTrace]:
        """The step, and all that its gradient needs."""
        step, coupling = folded[at], self.bijections[at].coupling
        x = x.contiguous()
        z = at_every_pixel(x, step.matrix, step.shift)
        z1, y2 = halves(z)
        h, hidden = self._conditioner.run(step, z1)
        ready = coupling.prepare_(h)
        coupling.change_(y2, ready)
        return coupling.log_det(ready) + step.log_det, StepTrace(x, z, ready[1], *hidden)

    def inverse(self, at: int, folded: Folding, z: Tensor) -> tuple[Tensor, Tensor]:
        """The step's inverse; log_det is that of the inverse."""
        coupling = self.bijections[at].coupling
        y, ready = self._undo(at, folded, z)
        return self._unmix(at, folded, y), -coupling.log_det(ready) - folded[at].log_det

    def restore(self, at: int, folded: Folding, z: Tensor) -> Tensor:
        """X alone."""
        return self._unmix(at, folded, self._undo(at, folded, z)[0])

    def part_of(self, trace: StepTrace, *, hidden: bool) -> tuple[Tensor, ...]:
        """The scale, without the shift beside it in memory, and the second hidden activation."""
        scale = trace.scale.contiguous()
        return (scale, trace.h2) if hidden and trace.h2 is not None else (scale,)

    def complete(self, at: int, folded: Folding, *kept: Tensor) -> StepTrace:
        """The rest is for `pullback` to compute."""
        return StepTrace(*kept)

    def retrace(self, at: int, folded: Folding, z: Tensor, x: Tensor | None) -> StepTrace:
        """The network is run once, be it for the inverse or for the step itself."""
        step, coupling = folded[at], self.bijections[at].coupling
        y = z.clone() if x is None else at_every_pixel(x, step.matrix, step.shift)
        z1, other = halves(y)
        h, hidden = self._conditioner.run(step, z1)
        ready = coupling.prepare_(h)
        if x is not None:
            coupling.change_(other, ready)
            return StepTrace(x, y, ready[1], *hidden)
        coupling.restore_(other, ready)
        return StepTrace(self._unmix(at, folded, y), z, ready[1], *hidden)

    def pullback(
        self, at: int, folded: Folding, trace: StepTrace, grad_z: Tensor, grad_log_det: Tensor
    ) -> tuple[Tensor, FoldedStep]:
        """Back through coupling, network, and the matrix of ActNorm and permutation."""
        step = folded[at]
        (grad_z1, grad_z2), (z1, z2) = halves(grad_z), halves(trace.z)
        outputs = step.kernel3.shape[0]
        grad_h = trace.z.new_empty(len(grad_z), outputs, *grad_z.shape[2:])
        grad_y2 = self.bijections[at].coupling.change_backward(
            z2, trace.scale, grad_z2, grad_log_det, grad_h
        )
        response = grad_h.sum(dim=0) if folded.edge else grad_h.sum(dim=(0, 2, 3))[:, None, None]
        hidden = Hidden(trace.h2, trace.h1, trace.seen)
        through, network = self._conditioner.pullback(step, z1, hidden, grad_h)
        kernel1, bias1, weight2, bias2, kernel3 = network
        kernel1, kernel3 = folded.collect(at, kernel1, kernel3)
        grad_y = torch.cat((grad_z1 + through, grad_y2), dim=1)
        columns = grad_y.flatten(2)
        matrix = torch.bmm(columns, trace.x.flatten(2).transpose(1, 2)).sum(dim=0)
        shift = columns.sum(dim=(0, 2))[:, None]
        grad_x = at_every_pixel(grad_y, step.matrix.T)
        return grad_x, FoldedStep(
            matrix, shift, grad_log_det, kernel1, bias1, weight2, bias2, kernel3, response
        )

    def gradients(
        self, folded: Folding, found: Sequence[FoldedStep], into: GradientVector | None
    ) -> list[Tensor | None]:
        """Unfolds them, all steps at once."""
        return self._parameters.give(folded.gradients(found), into)

    def _undo(self, at: int, folded: Folding, z: Tensor) -> tuple[Tensor, Ready]:
        """What the coupling had, and the network's output."""
        coupling = self.bijections[at].coupling
        y = z.clone(memory_format=torch.contiguous_format)
        z1, other = halves(y)
        ready = coupling.prepare_(self._conditioner.run(folded[at], z1)[0])
        coupling.restore_(other, ready)
        return y, ready

    def _unmix(self, at: int, folded: Folding, y: Tensor) -> Tensor:
        return at_every_pixel(y, folded.inverses[at], folded.unbias[at])
