"""What a chain is made of for backpropagation: neighbours that autograd sees as one."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from glow.bijection import Bijection
from glow.flat import GradientVector


class Piece(ABC):
    """Some bijections f_1 ... f_n in a row, run one by one and without autograd.

    A trace is what one of them leaves behind for its gradient. Its first two entries are its
    input x and its output z.
    """

    bijections: Sequence[Bijection]

    def inputs(self, into: GradientVector | None) -> list[nn.Parameter]:
        """The parameters whose gradients `gradients` gives to autograd."""
        del into
        return [p for bijection in self.bijections for p in bijection.parameters()]

    @abstractmethod
    def fold(self, x: Tensor) -> Any:  # noqa: ANN401 - each kind has its own
        """What the parameters come down to, for images as large as x."""

    def fold_for_good(self, x: Tensor) -> Any:  # noqa: ANN401
        """The same for much use and no gradients: what takes time once may save it later."""
        return self.fold(x)

    def bytes_of(self, folded: Any) -> int:  # noqa: ANN401
        """About as many are alive with what the parameters fold to."""
        del folded
        return 0

    @abstractmethod
    def forward(self, at: int, folded: Any, x: Tensor) -> tuple[Tensor, Any]:  # noqa: ANN401
        """log_det (B,) and the trace of bijection number `at`."""

    @abstractmethod
    def inverse(self, at: int, folded: Any, z: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        """X and log_det (B,) of the inverse."""

    def restore(self, at: int, folded: Any, z: Tensor) -> Tensor:  # noqa: ANN401
        """X alone, where that is less work."""
        return self.inverse(at, folded, z)[0]

    @abstractmethod
    def part_of(self, trace: Any, *, hidden: bool) -> tuple[Tensor, ...]:  # noqa: ANN401
        """The part of a trace, besides x and z, that saves the most work for its memory.

        With what is hidden inside it is about half of the trace, without about nothing.
        """

    @abstractmethod
    def complete(self, at: int, folded: Any, *kept: Tensor) -> Any:  # noqa: ANN401
        """The trace again, from its input, its output and all of it or a part."""

    @abstractmethod
    def retrace(self, at: int, folded: Any, z: Tensor, x: Tensor | None) -> Any:  # noqa: ANN401
        """The trace again, from the output, or from x where that is known."""

    @abstractmethod
    def pullback(
        self,
        at: int,
        folded: Any,  # noqa: ANN401
        trace: Any,  # noqa: ANN401
        grad_z: Tensor,
        grad_log_det: Tensor,
    ) -> tuple[Tensor, Any]:
        """The gradients of x, and of what was folded, from those of z and log_det."""

    @abstractmethod
    def gradients(
        self,
        folded: Any,  # noqa: ANN401
        found: Sequence[Any],
        into: GradientVector | None,
    ) -> Sequence[Tensor | None]:
        """Of `inputs`, from those of what was folded, f_1's first.

        Where there is a vector to add them up in, they may be added there instead, and be None.
        `folded` is of no use after that.
        """


class _Graph(NamedTuple):
    """A part of autograd's graph."""

    x: Tensor
    z: Tensor
    log_det: Tensor


class Opaque(Piece):
    """Any one bijection, whose gradient is autograd's."""

    def __init__(self, bijection: Bijection) -> None:
        self.bijections = [bijection]

    def fold(self, x: Tensor) -> None:
        """Nothing."""

    def forward(self, at: int, folded: None, x: Tensor) -> tuple[Tensor, _Graph]:
        """Runs it; the trace has no graph."""
        with torch.no_grad():
            z, log_det = self.bijections[at](x)
        return log_det, _Graph(x, z, log_det)

    def inverse(self, at: int, folded: None, z: Tensor) -> tuple[Tensor, Tensor]:
        """Its own."""
        with torch.no_grad():
            return self.bijections[at].inverse(z)

    def part_of(self, trace: _Graph, *, hidden: bool) -> tuple[Tensor, ...]:
        """Nothing."""
        return ()

    def complete(self, at: int, folded: None, *kept: Tensor) -> _Graph:
        """Builds the graph."""
        return self.retrace(at, folded, kept[1], kept[0])

    def retrace(self, at: int, folded: None, z: Tensor, x: Tensor | None) -> _Graph:
        """Builds the graph."""
        if x is None:
            x, _ = self.inverse(at, folded, z)
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            return _Graph(x, *self.bijections[at](x))

    def pullback(
        self, at: int, folded: None, trace: _Graph, grad_z: Tensor, grad_log_det: Tensor
    ) -> tuple[Tensor, list[Tensor | None]]:
        """Goes back through the graph."""
        outputs = ((trace.z, grad_z), (trace.log_det, grad_log_det))
        connected = [(out, grad) for out, grad in outputs if out.requires_grad]
        parameters = self.inputs(None)
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        grad_x, *found = torch.autograd.grad(
            [out for out, _ in connected],
            [trace.x, *trained],
            [grad for _, grad in connected],
            allow_unused=True,
        )
        of = iter(found)
        return grad_x, [next(of) if p.requires_grad else None for p in parameters]

    def gradients(
        self,
        folded: None,
        found: Sequence[list[Tensor | None]],
        into: GradientVector | None,
    ) -> list[Tensor | None]:
        """Those of the one bijection; autograd adds them up."""
        return found[0]
