"""Pictures of scores: a histogram of each, and the images at their ends."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from glow import to_pixels
from glow.scores import Scores
from stages.charts import chart
from stages.figures import save_grid

BINS = 40
AT_MOST = 99.5  # percent of the images; the few beyond would squeeze the rest
COUNT = 12
UNITS = {
    "bits_per_dim": "bits per dimension",
    "corrected_bits": "bits per dimension beyond WebP's",
    "typicality": "bits per dimension from the valid mean",
}


def save_score_histograms(file: Path, table: pd.DataFrame) -> None:
    """A panel per score, a line per split; to the right is odder."""
    names = [str(name) for name in table if f"{name}_percentile" in table]
    rows = -(-len(names) // 3)
    with chart(file, figsize=(11, 2.8 * rows), dpi=120) as figure:
        panels = list(figure.subplots(rows, 3, squeeze=False).flat)
        for axes in panels[len(names) :]:
            axes.remove()
        for axes, name in zip(panels, names, strict=False):
            finite = table[np.isfinite(table[name])]
            if len(finite):
                end = np.percentile(finite[name], AT_MOST)
                edges = np.linspace(finite[name].min(), end, BINS + 1).tolist()
                for split, of_split in finite.groupby("split", sort=False):
                    values = of_split[name].clip(upper=end)
                    axes.hist(values, edges, density=True, histtype="step", label=str(split))
                axes.legend(frameon=False)
            axes.set_title(name, fontsize=10)
            axes.set_xlabel(UNITS.get(name, "standard deviations of chi-square"))
        figure.tight_layout()


def save_ends(oddest: Path, typical: Path, levels: Tensor, scores: Scores, n_bits: int) -> None:
    """A row per score: the oddest images, oddest first, and the least odd, least first."""
    names = [name for name in scores if f"{name}_percentile" in scores]
    for file, descending in ((oddest, True), (typical, False)):
        rows, labels = [], []
        for name in names:
            order = torch.argsort(scores[name], descending=descending, stable=True)[:COUNT]
            first, last = (float(scores[name][order[end]]) for end in (0, -1))
            labels.append(f"{name}, {first:.2f} to {last:.2f}")
            rows.append(to_pixels(levels[order], n_bits))
        save_grid(file, rows, labels)
