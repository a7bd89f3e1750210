"""All parameters of a model as one vector.

So the optimiser, the average, the norm and the all-reduce of data-parallel training are each one
operation on one tensor, where a Glow has hundreds of small ones.
"""

import torch
from torch import Tensor, nn


def flatten_parameters(module: nn.Module) -> Tensor:
    """A vector (P,) of all parameters, of which the module's own become views."""
    flat = torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
    for parameter, part in zip(module.parameters(), _parts(module, flat), strict=True):
        parameter.data = part
    return flat


def view_gradients(module: nn.Module, flat: Tensor) -> None:
    """Gradients are summed up in the vector `flat`, (P,), from here on."""
    for parameter, part in zip(module.parameters(), _parts(module, flat), strict=True):
        parameter.grad = part


def _parts(module: nn.Module, flat: Tensor) -> list[Tensor]:
    shapes = [parameter.shape for parameter in module.parameters()]
    parts = flat.split([shape.numel() for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
