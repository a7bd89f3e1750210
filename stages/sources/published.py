"""A data set as its makers publish it, and the checks that its files are theirs."""

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BufferedIOBase
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.errors import InputError
from stages.sources.source import Pixels

# What gzip, zipfile, tarfile, numpy and our own decoders raise on damaged files; the rest is ours.
DAMAGE = (
    gzip.BadGzipFile,
    tarfile.TarError,
    zlib.error,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    OverflowError,
    MemoryError,
)


class Part(NamedTuple):
    """Images of one file: (N, H, W, C) of 8 bits, C 3 or 1; labels (N,); the part of the set."""

    name: str
    images: Pixels
    labels: NDArray[np.integer]


@dataclass(frozen=True)
class Publication:
    """A data set that comes as a few official files.

    Attributes:
        title: its name.
        credit: its authors and terms.
        url: where to get the files.
        layout: which files the folder should hold.
        side: of the images, in pixels.
        classes: their names, in the order of the labels.
        counts: images of each part; a part that is not named may have any number.
        md5: of files by name; a file that is not named may have any.
        sha256: of all images of a part, as `check_images` has it; a part that is not named may
            have any images.
        parts: reads the files of a folder.
        margin: black pixels added on each side.
    """

    title: str
    credit: str
    url: str
    layout: str
    side: int
    classes: tuple[str, ...]
    counts: Mapping[str, int]
    md5: Mapping[str, str] = field(repr=False)
    parts: Callable[["Publication", Path], Iterator[Part]]
    sha256: Mapping[str, str] = field(default_factory=dict, repr=False)
    margin: int = 0

    def unchecked(self) -> "Publication":
        """The same format with any number of images in files of any content."""
        return replace(self, counts={}, md5={}, sha256={})

    def missing(self, folder: Path, came: str) -> InputError:
        """What to do where a file is not there."""
        return InputError(
            f"{folder}: expected {self.title} as {self.layout}, came {came}; "
            f"get it from {self.url}, or correct data.folder.path"
        )

    @contextmanager
    def reading(self, file: Path) -> Iterator[None]:
        """Turns what decoders raise on a bad file into one line."""
        try:
            yield
        except InputError:
            raise
        except DAMAGE as error:
            said = " ".join(str(error).split()) or type(error).__name__
            raise InputError(
                f"{file}: expected a file of {self.title}, came a damaged or foreign one "
                f"({said}); get it again from {self.url}"
            ) from None

    def check(self, file: Path, content: BufferedIOBase, name: str | None = None) -> None:
        """InputError where the content is not that of the official file of this name."""
        expected = self.md5.get(name or file.name)
        if expected is None:
            return
        came = hashlib.file_digest(content, "md5").hexdigest()
        content.seek(0)
        if came != expected:
            raise InputError(
                f"{file}: expected the official {name or file.name} of {self.title}, "
                f"md5 {expected}, came {came}; get it again from {self.url}"
            )

    def check_counts(self, folder: Path, counts: Mapping[str, int]) -> None:
        """InputError where a part has not as many images as the official one."""
        for part, count in counts.items():
            expected = self.counts.get(part, count)
            if count != expected:
                raise InputError(
                    f"{folder}: expected {expected} images in the part {part} of {self.title}, "
                    f"came {count}; get the whole of it from {self.url}, or read your own "
                    "selection as images with data.source: folder"
                )

    def check_images(self, folder: Path, hashes: Mapping[str, Sequence[str]]) -> None:
        """InputError where the images of a part are not the official ones, in whatever order.

        Args:
            folder: where they are from.
            hashes: of each image of each part, as `hash_images` has them.
        """
        for part, expected in self.sha256.items():
            came = hashlib.sha256("\n".join(sorted(hashes[part])).encode()).hexdigest()
            if came != expected:
                raise InputError(
                    f"{folder}: expected the official images in the part {part} of {self.title}, "
                    f"sha256 {expected}, came others, {came}; get them again from {self.url}"
                )

    def check_part(self, file: Path, part: Part) -> Part:
        """The part itself; InputError where shapes or labels are not those of this data set."""
        _, height, width, channels = part.images.shape
        with self.reading(file):
            if (height, width) != (self.side, self.side) or channels not in (1, 3):
                raise ValueError(
                    f"expected images of {self.side}x{self.side}, came {width}x{height}"
                )
            if len(part.labels) != len(part.images):
                raise ValueError(f"{len(part.images)} images, {len(part.labels)} labels")
            wrong = (part.labels < 0) | (part.labels >= len(self.classes))
            if wrong.any():
                raise ValueError(f"class number {part.labels[wrong][0]} of {len(self.classes)}")
        return part


def hash_images(images: Pixels) -> list[str]:
    """The sha256 of the bytes of each, (H, W, C)."""
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
