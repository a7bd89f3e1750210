"""Pictures of a data set: images of each split, and how often attributes come, and together."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glow import to_pixels
from stages.charts import chart, short
from stages.figures import save_grid, square
from stages.shards import ShardSet

SHEET = 100  # images of a split
MAX_BARS = 40
MAX_WRITTEN = 16  # attributes up to which a cell has its number


def save_sheet(file: Path, shards: ShardSet, split: str) -> None:
    """The first images of a split; shards are random parts, so these are as good as any."""
    levels, _ = shards.load(split, SHEET)
    save_grid(file, square(to_pixels(levels, shards.n_bits)))


def save_frequencies(
    file: Path,
    names: Sequence[str],
    positives: Mapping[str, Mapping[str, int]],
    known: Mapping[str, Mapping[str, int]],
    counts: Mapping[str, int],
) -> None:
    """A bar per attribute or class and split: the share of images that have it.

    Args:
        file: PNG to write.
        names: of the attributes and classes.
        positives: by split, then by name.
        known: likewise the images of which it is known.
        counts: images by split.
    """
    totals = {name: sum(of[name] for of in positives.values()) for name in names}
    most = sorted(totals, key=lambda name: -totals[name])[:MAX_BARS]
    size = (7, 1.2 + 0.3 * len(most))
    with chart(file, most, figsize=size, dpi=120, layout="constrained") as figure:
        axes = figure.add_subplot()
        height = 0.8 / len(positives)
        for number, (split, of) in enumerate(positives.items()):
            places = np.arange(len(most)) + (number - (len(positives) - 1) / 2) * height
            shares = [of[name] / max(1, known[split][name]) for name in most]
            axes.barh(places, shares, height, label=f"{split}, {counts[split]} images")
        axes.set_yticks(range(len(most)), [short(name) for name in most])
        axes.invert_yaxis()
        axes.set_xlabel("share of the images")
        if len(totals) > len(most):
            axes.set_title(f"the {len(most)} most frequent of {len(totals)}")
        figure.legend(loc="outside upper center", ncols=len(positives), frameon=False)
        axes.spines[["top", "right"]].set_visible(False)


def save_together(file: Path, names: Sequence[str], shares: NDArray[np.float64]) -> None:
    """Of the images with the attribute of a row, the share that has that of a column.

    Args:
        file: PNG to write.
        names: of the A attributes.
        shares: (A, A).
    """
    n, labels = len(names), [short(name) for name in names]
    size = (3.0 + 0.38 * n, 2.2 + 0.38 * n)
    with chart(file, names, figsize=size, dpi=120, layout="constrained") as figure:
        axes = figure.add_subplot()
        picture = axes.imshow(shares, vmin=0.0, vmax=1.0, cmap="Blues")
        axes.set_xticks(range(n), labels, rotation=90)
        axes.set_yticks(range(n), labels)
        axes.set_title("of the images of a row, the share with the column")
        if n <= MAX_WRITTEN:
            for row, column in np.ndindex(n, n):
                share = shares[row, column]
                color = "white" if share > 0.6 else "black"
                text = f"{share:.2f}".removeprefix("0")
                axes.text(column, row, text, ha="center", va="center", fontsize=7, color=color)
        figure.colorbar(picture, ax=axes, shrink=0.7)
