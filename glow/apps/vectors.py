"""Attribute vectors of a file, and whether a file belongs to a model's weights."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from glow.apps.saying import say
from glow.weights import says_weights


def read_vectors(file: Path, n_dims: int, weights: str) -> dict[str, Tensor]:
    """A direction of the latents, (D,), by the name of its attribute.

    Raises:
        ValueError: the file holds none, or is of another size or other weights than the model.
    """
    try:
        found = load_file(file)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{file} does not hold attribute vectors: {error}") from None
    for name, vector in found.items():
        if vector.shape != (n_dims,):
            raise ValueError(
                f"{file}: {name} is {tuple(vector.shape)}, expected ({n_dims},) as the model's "
                "latents are; `dvc repro attributes` makes them"
            )
    check_weights(file, weights)
    return found


def check_weights(file: Path, weights: str) -> None:
    """Refuses what was found with other weights; of what does not say so, a line warns.

    Raises:
        ValueError: the file is of other weights than those of this hash.
    """
    if not says_weights(file, weights):
        say(
            f"warning: {file} does not say which weights it was made with, as an earlier version "
            "wrote it; `dvc repro attributes` makes one that does",
            err=True,
        )
