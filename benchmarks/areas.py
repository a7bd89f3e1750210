"""AUROC: how well a score tells odd images from ordinary ones."""

import math

import torch
from torch import Tensor


def auroc(ordinary: Tensor, odd: Tensor) -> tuple[float, float]:
    """P(odd > ordinary) + P(equal) / 2, and its standard error.

    The error is that of DeLong, DeLong and Clarke-Pearson 1988: from the variances over the odd
    images, and over the ordinary ones, of the share of the others on the right side of each.

    Args:
        ordinary: scores, (M,), M at least 2.
        odd: scores, (N,), N at least 2.
    """
    of_odd = _share_below(ordinary, odd)
    of_ordinary = 1 - _share_below(odd, ordinary)
    variance = of_odd.var() / len(odd) + of_ordinary.var() / len(ordinary)
    return float(of_odd.mean()), math.sqrt(variance)


def _share_below(others: Tensor, scores: Tensor) -> Tensor:
    """Of the others, for each score, (N,), float64; equal ones count half."""
    ordered = others.sort().values
    below = torch.searchsorted(ordered, scores).double()
    up_to = torch.searchsorted(ordered, scores, right=True).double()
    return (below + up_to) / (2 * len(ordered))
