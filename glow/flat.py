"""All parameters of a model as one vector, and all their gradients as another.

So the optimiser, the average, the norm and the all-reduce of data-parallel training are each one
operation on one tensor, where a Glow has hundreds of small ones.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn


def flatten_parameters(module: nn.Module) -> Tensor:
    """A vector (P,) of all parameters, of which the module's own become views."""
    parameters = list(module.parameters())
    flat = torch.cat([parameter.detach().flatten() for parameter in parameters])
    for parameter, part in zip(parameters, _parts(parameters, flat), strict=True):
        parameter.data = part
    return flat


class GradientVector:
    """Where gradients are added up; those of parameters that nothing depends on stay zero.

    Args:
        parameters: in the order of the vector.
        vector: (P,), written to.

    Attributes:
        stacks: views of several parameters at once, of those who made them; here, and not with
            them, so that no model keeps a vector alive.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], vector: Tensor) -> None:
        self.vector = vector
        self.stacks: WeakKeyDictionary[object, list[Tensor]] = WeakKeyDictionary()
        self._parameters = list(parameters)
        self._views = _parts(self._parameters, vector)
        self._number = {id(parameter): n for n, parameter in enumerate(self._parameters)}

    def __getitem__(self, parameter: Tensor) -> Tensor:
        """That parameter's part of the vector, in its shape."""
        return self._views[self._number[id(parameter)]]

    @contextmanager
    def open(self) -> Iterator[None]:
        """Inside, every parameter's `grad` is its part of the vector, at first zero; then None."""
        self.vector.zero_()
        for parameter, view in zip(self._parameters, self._views, strict=True):
            parameter.grad = view
        try:
            yield
        finally:
            for parameter in self._parameters:
                parameter.grad = None


def _parts(parameters: list[nn.Parameter], flat: Tensor) -> list[Tensor]:
    shapes = [parameter.shape for parameter in parameters]
    parts = flat.split([shape.numel() for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
