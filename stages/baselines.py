"""What a model has to beat: bits per dimension of codes that know only histograms."""

import torch
from torch import Tensor


def histogram_bits(train: Tensor, test: Tensor, n_bits: int, *, per_position: bool) -> float:
    """Mean bits per dimension of `test` under the histogram of `train`, one count added to each.

    Args:
        train: levels (N, C, H, W), uint8.
        test: likewise.
        n_bits: of the levels.
        per_position: one histogram for each pixel and channel, else one for all.
    """
    n_bins = 2**n_bits
    groups = train[0].numel() if per_position else 1
    group = torch.arange(train[0].numel()) if per_position else torch.zeros(1, dtype=torch.long)
    offset = (group * n_bins).expand(train[0].numel())
    counts = torch.ones(groups * n_bins, dtype=torch.float64)
    for images in train.flatten(1).split(1000):
        index = (images.long() + offset).flatten()
        counts += torch.bincount(index, minlength=groups * n_bins)
    counts = counts.view(groups, n_bins)
    bits = -(counts / counts.sum(dim=1, keepdim=True)).log2().flatten()
    means = [bits[images.long() + offset].mean(dim=1) for images in test.flatten(1).split(1000)]
    return float(torch.cat(means).mean())
