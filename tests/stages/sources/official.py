"""Small files in the formats that data sets were published in, and the readers of them."""

import gzip
import io
import os
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.sources.arrays import ArraySource
from stages.sources.published import Publication
from stages.sources.source import Pixels, Source


class Python2Pickler(pickle._Pickler):
    """Writes bytes as Python 2 wrote its strings, for which Python 3 has no opcode left."""

    def save_string(self, text: bytes) -> None:
        """SHORT_BINSTRING or BINSTRING."""
        short = len(text) < 256
        self.write(b"U" + bytes([len(text)]) if short else b"T" + struct.pack("<i", len(text)))
        self.write(text)
        self.memoize(text)

    dispatch = {**pickle._Pickler.dispatch, bytes: save_string}  # noqa: RUF012 - as in pickle


def python2_pickle(content: dict[bytes, Any]) -> bytes:
    """Protocol 2, and numpy's modules by the names of its first version."""
    stream = io.BytesIO()
    Python2Pickler(stream, protocol=2).dump(content)
    return stream.getvalue().replace(b"numpy._core.", b"numpy.core.")


def python3_pickle(content: dict[str, Any]) -> bytes:
    """Protocol 3, the default of the years around 2017."""
    return pickle.dumps(content, protocol=3).replace(b"numpy._core.", b"numpy.core.")


class Hostile:
    """When it is unpickled as such, makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def noise(count: int, side: int = 32, channels: int = 3, seed: int = 0) -> Pixels:
    """Images (N, H, W, C)."""
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, channels), np.uint8)


def rows(images: Pixels) -> NDArray[np.uint8]:
    """As CIFAR and ImageNet have them: all of the red, all of the green, all of the blue."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2).reshape(len(images), -1))


def idx(array: NDArray[np.uint8]) -> bytes:
    """MNIST's format."""
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def tar(file: Path, members: dict[str, bytes], *extra: tarfile.TarInfo) -> Path:
    """Gzipped where its name ends so."""
    with tarfile.open(file, "w:gz" if file.suffix == ".gz" else "w") as archive:
        for info in extra:
            archive.addfile(info)
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file


def write(file: Path, content: bytes) -> Path:
    """Gzipped where its name ends so."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)
    return file


def small(publication: Publication, folder: Path, size: int = 32) -> ArraySource:
    """A reader that takes fewer images than the official ones."""
    return ArraySource(publication.unchecked(), folder, size)


def read_all(source: Source) -> Pixels:
    """All images, read by a copy that was sent to another process."""
    entries = source.entries()
    copy: Source = pickle.loads(pickle.dumps(source))
    return np.stack([copy.read(entry).pixels for entry in entries])
