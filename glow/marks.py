"""What is known of images' attributes: 1 has it, 0 has it not, -1 is unknown; (N, A), int8.

Booleans will do where all is known.
"""

import torch
from torch import Tensor

UNKNOWN = -1


def has(marks: Tensor) -> Tensor:
    """Whether images are known to have the attributes, bool."""
    return marks > 0


def is_known(marks: Tensor) -> Tensor:
    """Whether it is known if images have the attributes, bool."""
    return marks > UNKNOWN


def shares_of(marks: Tensor) -> Tensor:
    """Of the images of which it is known, the share that has each attribute; (A,), float64."""
    return has(marks).double().sum(dim=0) / is_known(marks).double().sum(dim=0).clamp(min=1)


def filled(marks: Tensor, shares: Tensor) -> Tensor:
    """1.0 and 0.0, and where it is unknown the share (A,) of those that have it; float64."""
    return torch.where(is_known(marks), marks.double(), shares)
