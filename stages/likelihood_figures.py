"""Pictures of likelihoods: their histogram, and the images at its ends."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from glow import to_pixels
from stages.charts import chart
from stages.figures import save_grid

BINS = 60
EXTREMES = 12


def save_histogram(file: Path, table: pd.DataFrame) -> None:
    """Bits per dimension of the images, a line per split."""
    finite = table[np.isfinite(table["bits_per_dim"])]
    with chart(file, figsize=(7, 4), dpi=120) as figure:
        axes = figure.add_subplot()
        if len(finite):
            edges = np.histogram_bin_edges(finite["bits_per_dim"], bins=BINS).tolist()
            for split, rows in finite.groupby("split", sort=False):
                axes.hist(
                    rows["bits_per_dim"], edges, density=True, histtype="step", label=str(split)
                )
            axes.legend(frameon=False)
        axes.set_xlabel("bits per dimension of an image")
        axes.set_ylabel("density of images")
        figure.tight_layout()


def save_extremes(file: Path, levels: Tensor, bits: Tensor, n_bits: int) -> None:
    """The images that cost least and most, and those in the middle, each row in that order."""
    order = torch.argsort(torch.nan_to_num(bits, nan=torch.inf))
    count = min(EXTREMES, len(order))
    middle = (len(order) - count) // 2
    rows = [order[:count], order[middle : middle + count], order[len(order) - count :]]
    labels = [
        f"{name}, {float(bits[row[0]]):.2f} to {float(bits[row[-1]]):.2f}"
        for name, row in zip(("least", "middle", "most"), rows, strict=True)
    ]
    save_grid(file, [to_pixels(levels[row], n_bits) for row in rows], labels)
