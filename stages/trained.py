"""The trained model, for the stages after training."""

from pathlib import Path

import torch

from glow import Glow, load_glow
from stages.errors import InputError
from stages.shards import ShardSet

RAW = "raw"  # in the folder of a model: the same with the last weights, not their average


def load_model(folder: Path, shards: ShardSet) -> Glow:
    """The model of such images, on the GPU where there is one.

    Raises:
        InputError: the folder holds none, or one of images of another size or number of bits.
    """
    try:
        glow = load_glow(folder, device="cuda" if torch.cuda.is_available() else "cpu")
    except ValueError as error:
        raise InputError(f"{error}; `dvc repro train` makes it") from None
    expected, came = (
        f"{about.image_size}x{about.image_size} images with {about.n_bits} bits"
        for about in (glow.config, shards)
    )
    if came != expected:
        raise InputError(
            f"{folder} is a model of {expected}, {shards.folder} has {came}; `dvc repro train` "
            "makes one of these"
        )
    return glow
