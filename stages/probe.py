"""A linear probe, measured: how well a number says whether an attribute is there."""

import torch
from torch import Tensor


def accuracy(scores: Tensor, thresholds: Tensor, present: Tensor) -> Tensor:
    """Share of images (N, A) whose score is on the right side of the threshold (A,); (A,)."""
    return ((scores > thresholds) == present).double().mean(dim=0)


def auroc(scores: Tensor, present: Tensor) -> Tensor:
    """Chance that an image with the attribute scores above one without, ties counting half.

    Args:
        scores: (N, A).
        present: (N, A), bool.

    Returns:
        (A,), float64; NaN for an attribute that all or no images have.
    """
    found = []
    for column, has in zip(scores.T, present.T, strict=True):
        _, place, counts = column.unique(sorted=True, return_inverse=True, return_counts=True)
        last = counts.cumsum(dim=0).double()
        ranks = (last - (counts - 1) / 2)[place]
        n = has.sum().double()
        found.append((ranks[has].sum() - n * (n + 1) / 2) / (n * (len(has) - n)))
    return torch.stack(found) if found else torch.zeros(0, dtype=torch.float64)
