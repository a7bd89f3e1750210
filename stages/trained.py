"""The trained model, for the stages after training."""

from pathlib import Path

import torch

from glow import Glow, load_glow
from stages.errors import InputError

RAW = "raw"  # in the folder of a model: the same with the last weights, not their average


def load_model(folder: Path) -> Glow:
    """The model on the GPU where there is one; InputError where the folder holds none."""
    try:
        return load_glow(folder, device="cuda" if torch.cuda.is_available() else "cpu")
    except ValueError as error:
        raise InputError(f"{error}; `dvc repro train` makes it") from None
