"""Which weights something was made with: their hash goes with all that belongs to them."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from glow.checkpoint import WEIGHTS

KEY = "glow.weights"  # in the metadata of safetensors files


def weights_hash(folder: Path | str) -> str:
    """sha256 of the weights of a saved model, in hexadecimal; OSError where there are none.

    A fingerprint is of what was asked for (seed, params, data): two machines that train from the
    same one end in other weights, as does newer code.
    """
    with (Path(folder) / WEIGHTS).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def save_of(weights: str, tensors: Mapping[str, Tensor], **about: str) -> bytes:
    """A safetensors file of what was made with weights; `about` is further metadata of it.

    The same content gives the same bytes: safetensors alone puts metadata in an order of chance.
    """
    content = save(dict(tensors), {KEY: weights, **about})
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text + content[end:]


def says_weights(file: Path, weights: str) -> bool:
    """Whether a safetensors file says of which weights it is; earlier versions' say nothing.

    Raises:
        ValueError: it is of others, or it is none of safetensors.
    """
    try:
        with safe_open(file, "pt") as content:
            came = (content.metadata() or {}).get(KEY)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from None
    if came not in (None, weights):
        raise ValueError(
            f"{file} was made with other weights ({came[:12]}) than the model's ({weights[:12]}); "
            "`dvc repro attributes` makes it anew"
        )
    return came is not None
