"""Bijections in a row."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Literal

import torch
from torch import Tensor, nn

from glow.bijection import Bijection
from glow.flat import GradientVector
from glow.piece import Opaque, Piece
from glow.precision import Precision
from glow.reversible import Tape
from glow.steps import Steps, kind

Backprop = Literal["autograd", "balanced", "reversible"]

FOLDED_AT_ONCE = 4  # steps, if "reversible": the gradients of what they fold to are alive together


class Chain(Bijection):
    """f = f_n ... f_2 f_1, log_det the sum of theirs.

    Steps of flow are run together (steps.py). In evaluation with gradients each bijection's own
    definition is run instead, so that autograd can go through it in any way, twice if need be.

    Args:
        bijections: f_1 to f_n, in the order in which data passes them.
        backprop: what training keeps for the backward pass: "autograd" every activation;
            "reversible" none, they are recomputed from the outputs for a third more work;
            "balanced" the half of them that is dearer to recompute, for up to a tenth more.

    Attributes:
        precision: of the products inside the networks of steps of flow (precision.py), where
            they are run together.
        into: where the gradients of their parameters are added up, all steps' at once; None
            leaves it to autograd, parameter by parameter.
    """

    def __init__(
        self, bijections: Iterable[Bijection], *, backprop: Backprop = "autograd"
    ) -> None:
        super().__init__()
        self.bijections = nn.ModuleList(bijections)
        self.backprop = backprop
        self.precision: Precision = "float32"
        self.into: GradientVector | None = None
        self._cut: tuple[tuple[Backprop, Precision], list[Piece]] | None = None
        self._frozen: dict[tuple[int, torch.Size], Any] | None = None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Z = f_n(... f_1(x)), log_det (B,)."""
        log_det = x.new_zeros(len(x))
        if not torch.is_grad_enabled():
            for number, piece in enumerate(self._pieces()):
                folded = self._folded(number, piece, x)
                for at in range(len(piece.bijections)):
                    term, trace = piece.forward(at, folded, x)
                    x, log_det = trace.z, log_det + term
            return x, log_det
        if self.training:
            return Tape(self._pieces(), self.backprop, self.into).run(x)
        for bijection in self._bijections():
            x, term = bijection(x)
            log_det = log_det + term
        return x, log_det

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """X = f_1^-1(... f_n^-1(z)), log_det (B,)."""
        log_det = z.new_zeros(len(z))
        if not torch.is_grad_enabled():
            for piece, folded, at in self._backwards(z):
                z, term = piece.inverse(at, folded, z)
                log_det = log_det + term
            return z, log_det
        for bijection in reversed(self._bijections()):
            z, term = bijection.inverse(z)
            log_det = log_det + term
        return z, log_det

    def restore(self, z: Tensor) -> Tensor:
        """X alone: all that sampling asks for."""
        if torch.is_grad_enabled():
            return self.inverse(z)[0]
        for piece, folded, at in self._backwards(z):
            z = piece.restore(at, folded, z)
        return z

    def initialize(self, x: Tensor) -> Tensor:
        """Initialises f_1 from x, f_2 from f_1(x), and so on."""
        for bijection in self._bijections():
            x = bijection.initialize(x)
        return x

    def freeze(self, *, frozen: bool) -> None:
        """While frozen, what the weights fold to is computed once; they must not change."""
        self._frozen = {} if frozen else None

    def _backwards(self, z: Tensor) -> Iterator[tuple[Piece, Any, int]]:
        for number, piece in reversed(list(enumerate(self._pieces()))):
            folded = self._folded(number, piece, z)
            for at in reversed(range(len(piece.bijections))):
                yield piece, folded, at

    def _folded(self, number: int, piece: Piece, x: Tensor) -> Any:  # noqa: ANN401
        frozen = self._frozen  # another thread may thaw meanwhile
        if frozen is None:
            return piece.fold(x)
        key = number, x.shape[2:]
        if key not in frozen:
            frozen[key] = piece.fold_for_good(x)
        return frozen[key]

    def _pieces(self) -> list[Piece]:
        how, cut = (self.backprop, self.precision), self._cut
        if cut is None or cut[0] != how:
            cut = self._cut = how, self._cut_up()
        return cut[1]

    def __getstate__(self) -> dict[str, Any]:
        """For copies, which find anew what depends on where the parameters are."""
        return self.__dict__ | {"_cut": None, "_frozen": None, "into": None}

    def _cut_up(self) -> list[Piece]:
        few = self.backprop == "reversible"
        at_once = FOLDED_AT_ONCE if few else max(1, len(self.bijections))
        pieces: list[Piece] = []
        for of, group in groupby(self._bijections(), kind):
            alike = list(group)
            if of is None:
                pieces += [Opaque(bijection) for bijection in alike]
            else:
                steps: list[Any] = alike
                pieces += [
                    Steps(steps[i : i + at_once], self.precision)
                    for i in range(0, len(steps), at_once)
                ]
        return pieces

    def _bijections(self) -> list[Bijection]:
        return list(self.bijections)  # type: ignore[arg-type]  # a ModuleList of Bijection
