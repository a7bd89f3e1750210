"""The state of a training on disk: tensors without pickle, and the rest as JSON, in one file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from glow.atomic import make_folder, write_atomically

PROGRESS = "trainer"  # the key of the JSON among the file's metadata


class DamagedState(ValueError):
    """The file is not whole, or not of this training."""


def save_state(file: Path, tensors: Mapping[str, Tensor], progress: Mapping[str, Any]) -> None:
    """Writes the file whole or leaves the former one; OSError where the disk cannot take it."""
    content = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    make_folder(file.parent)
    write_atomically(file, save(content, {PROGRESS: json.dumps(progress)}))


def load_state(
    file: Path, expected: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What `save_state` wrote, on the CPU, or None where there is no file.

    Raises:
        DamagedState: it cannot be read, or lacks tensors of the names and shapes of `expected`.
    """
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - no dict
            progress = json.loads(stored.metadata()[PROGRESS])
    except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
        raise DamagedState(f"{file} is damaged: {error}") from None
    for name, tensor in expected.items():
        if name not in tensors or tensors[name].shape != tensor.shape:
            raise DamagedState(f"{file} is of another model: its {name} is not {tensor.shape}")
    return tensors, progress
