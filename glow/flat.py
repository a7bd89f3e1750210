"""All parameters of a model as one vector.

So the optimiser, the average, the norm and the all-reduce of data-parallel training are each one
operation on one tensor, where a Glow has hundreds of small ones.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def flatten_parameters(module: nn.Module) -> Tensor:
    """A vector (P,) of all parameters, of which the module's own become views."""
    flat = torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
    for parameter, part in zip(module.parameters(), _parts(module, flat), strict=True):
        parameter.data = part
    return flat


def collect_gradients(parameters: Iterable[nn.Parameter], flat: Tensor) -> None:
    """Moves the gradients of all parameters into the vector `flat`, (P,); zero where none is."""
    found = []
    for parameter in parameters:
        gradient = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        found.append(gradient.reshape(-1))
        parameter.grad = None
    torch.cat(found, out=flat)


def _parts(module: nn.Module, flat: Tensor) -> list[Tensor]:
    shapes = [parameter.shape for parameter in module.parameters()]
    parts = flat.split([shape.numel() for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
