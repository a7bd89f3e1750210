"""Bits per dimension of the held-out images that have no twin among those trained on."""

from typing import Any

import pandas as pd
import torch

from stages.likelihood import Likelihood
from stages.shards import DUPLICATES, SPLITS, ShardSet

COLUMNS = ["image", "split", "twin_split"]


def without_twins(
    shards: ShardSet, split: str, names: list[str], found: Likelihood
) -> dict[str, Any]:
    """What `evaluate` reports of the images without a twin, below `without_twins`.

    Args:
        shards: with duplicates.csv beside dataset.json.
        split: of the images.
        names: of the images.
        found: their likelihoods.

    Returns:
        Mean bits per dimension, standard error and number of images; None where there is no such
        image or one is not finite. Nothing where nothing is known of twins, as in older shards.
    """
    try:
        told = pd.read_csv(shards.folder / DUPLICATES, usecols=COLUMNS, dtype=str)
    except (OSError, ValueError):
        return {}
    leaked = set(told["image"][(told["split"] == split) & (told["twin_split"] == SPLITS[0])])
    alone = torch.tensor([name not in leaked for name in names])
    rest = Likelihood(
        found.draws[:, alone],
        found.log_dets[:, alone],
        found.log_priors[:, alone],
        found.squared_norms[:, alone],
        n_dims=found.n_dims,
    )
    count = int(alone.sum())
    bits, error = rest.mean_and_error() if count else (None, None)
    about = {"bits_per_dim": bits, "standard_error": error, "n_images": count}
    return {"without_twins": about}
