"""A linear probe, measured: how well a number says whether an attribute is there."""

import torch
from torch import Tensor

from glow.marks import has, is_known


def agreement(said: Tensor, present: Tensor) -> Tensor:
    """Share of the images of which an attribute is known, for which it is as said; (A,), float64.

    Args:
        said: (N, A), bool.
        present: (N, A), as `glow/marks.py` has them.

    Returns:
        NaN for an attribute that is known of no image.
    """
    right = (said == has(present)) & is_known(present)
    return right.double().sum(dim=0) / is_known(present).double().sum(dim=0)


def auroc(scores: Tensor, present: Tensor) -> Tensor:
    """Chance that an image with the attribute scores above one without, ties counting half.

    Args:
        scores: (N, A).
        present: (N, A), as `glow/marks.py` has them; images of which it is unknown do not count.

    Returns:
        (A,), float64; NaN for an attribute that all or no images have.
    """
    found = []
    for scored, marks in zip(scores.T, present.T, strict=True):
        column, there = scored[is_known(marks)], has(marks[is_known(marks)])
        _, place, counts = column.unique(sorted=True, return_inverse=True, return_counts=True)
        last = counts.cumsum(dim=0).double()
        ranks = (last - (counts - 1) / 2)[place]
        n = there.sum().double()
        found.append((ranks[there].sum() - n * (n + 1) / 2) / (n * (len(there) - n)))
    return torch.stack(found) if found else torch.zeros(0, dtype=torch.float64)
