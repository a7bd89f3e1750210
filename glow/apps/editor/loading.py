"""The model and its attribute vectors from their files."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from glow import load_glow
from glow.apps.actions import ATTRIBUTES, Actions


def load_actions(model: Path, vectors: Path | None) -> Actions:
    """A model with its vectors: from the file given, or in or beside the model's folder, or none.

    Raises:
        ValueError: the folder is no model, or the file is not of its vectors.
    """
    try:
        glow = load_glow(model, device="cuda" if torch.cuda.is_available() else "cpu")
    except ValueError as error:
        raise ValueError(f"{error}; `dvc pull` or `dvc repro train` makes one") from None
    beside = [model / ATTRIBUTES, model.parent / ATTRIBUTES]
    file = vectors or next((path for path in beside if path.is_file()), None)
    if file is None:
        return Actions(glow, {})
    try:
        found = load_file(file)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{file} does not hold attribute vectors: {error}") from None
    for name, vector in found.items():
        if vector.shape != (glow.config.n_dims,):
            raise ValueError(
                f"{file}: {name} is {tuple(vector.shape)}, expected ({glow.config.n_dims},) for "
                f"{model}; `dvc repro attributes` makes them"
            )
    return Actions(glow, found)
