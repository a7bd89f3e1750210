"""A folder as a source, for the tests of what is in it."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stages.params import FolderParams
from stages.sources.folder import FolderSource
from stages.sources.source import Pixels


def source(folder: Path, size: int = 8, **changes: Any) -> FolderSource:  # noqa: ANN401
    params = {"path": str(folder), "attributes": None, "splits": None, "crop": "center"}
    params |= {"tile_size": 4, "tile_scale": 1.0} | changes
    return FolderSource(FolderParams.model_validate(params), size)


def save(file: Path, image: Image.Image | None = None, **options: Any) -> Path:  # noqa: ANN401
    file.parent.mkdir(parents=True, exist_ok=True)
    (image or Image.new("RGB", (8, 8), "red")).save(file, **options)
    return file


def pixels(folder: Path, name: str, **changes: Any) -> Pixels:  # noqa: ANN401
    images = source(folder, **changes)
    (entry,) = [entry for entry in images.entries() if entry.name == name]
    read = images.read(entry).pixels
    assert read.dtype == np.uint8
    return read


def numbered(width: int, height: int) -> Image.Image:
    """A pixel's red is its column, its green is its row."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return Image.fromarray(np.stack([columns, rows, 0 * rows], axis=-1))


def names(folder: Path, **changes: Any) -> list[str]:  # noqa: ANN401
    return [entry.name for entry in source(folder, **changes).entries()]
