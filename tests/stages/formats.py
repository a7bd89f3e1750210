"""Small data sets in the formats of big ones, and what their readers make of them."""

import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stages.params import FolderParams
from stages.sources.source import Entry, Pixels, Source


def folder(path: Path | str, **changes: Any) -> FolderParams:  # noqa: ANN401 - params
    params = {"path": str(path), "attributes": None, "splits": None, "crop": "center"}
    params |= {"tile_size": 4, "tile_scale": 1.0} | changes
    return FolderParams.model_validate(params)


def picture(number: int, width: int = 8, height: int = 8) -> Pixels:
    """Noise that no other number has, (height, width, 3)."""
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)


def encoded(pixels: Pixels, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, lossless=True)
    return stream.getvalue()


def save(file: Path, content: bytes | str | Pixels) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, np.ndarray):
        content = encoded(content)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def tar(file: Path, members: dict[str, bytes], *more: tarfile.TarInfo) -> Path:
    """The files of a tar, in this order, and entries that hold nothing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as opened:
        for name, content in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            opened.addfile(about, io.BytesIO(content))
        for about in more:
            opened.addfile(about)
    return file


def by_name(source: Source) -> dict[str, Entry]:
    entries = source.entries()
    assert len({entry.name for entry in entries}) == len(entries)
    return {entry.name: entry for entry in entries}


def pixels(source: Source, entry: Entry) -> Pixels:
    """As another process would read it."""
    source, entry = pickle.loads(pickle.dumps((source, entry)))
    read = source.read(entry)
    assert read.pixels.dtype == np.uint8
    assert read.attributes == entry.attributes
    return read.pixels
