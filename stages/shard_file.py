"""One shard, read by position: any image of it without those before.

A shard is an uncompressed tar that `write_shard` wrote, so an image is so many bytes at a known
place. That is found once by a walk over the tar's headers, of 512 bytes each, and takes one
system call per image from then on.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from stages.errors import InputError

BLOCK = 512  # what a tar counts in
LEVELS, META = b".levels.bin", b".meta.json"


class Meta(NamedTuple):
    """Attributes of an image, and its class where there are classes."""

    attributes: dict[str, bool]
    label: int | None


class Tar(Protocol):
    """Where a shard lies: `str` names it, `remedy` says what restores it."""

    remedy: str

    def check(self) -> None:
        """InputError where it is known to be missing."""

    def open(self) -> int:
        """A descriptor to read it by."""


class ShardFile:
    """A tar of images; opened when it is first read, and again after `close`.

    Args:
        tar: where it lies.
        count: images that it holds.
        image_bytes: H W C, of each.
    """

    def __init__(self, tar: Tar, count: int, image_bytes: int) -> None:
        self.tar, self.count, self.image_bytes = tar, count, image_bytes
        self._descriptor: int | None = None
        self._places: NDArray[np.int64] | None = None  # (count, 3): levels, metadata, its length

    @contextmanager
    def stream(self) -> Iterator[BinaryIO]:
        """The whole tar, from its beginning."""
        with os.fdopen(os.dup(self._open()), "rb") as stream:
            stream.seek(0)
            yield stream

    def levels(self, index: int, into: NDArray[np.uint8]) -> None:
        """Reads the levels of an image, (H, W, C), into `into`, contiguous.

        Raises:
            InputError: the shard is missing, damaged or has lost images.
        """
        if os.preadv(self._open(), [into.data], self._place(index)[0]) != self.image_bytes:
            raise self._damaged(f"it ends within image {index}")

    def meta(self, index: int) -> Meta:
        """What is known of an image; raises as `levels` does."""
        _, start, length = self._place(index)
        try:
            read = json.loads(os.pread(self._open(), length, start))
            return Meta(dict(read["attributes"]), read.get("class"))
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(f"metadata of image {index}: {error}") from None

    def close(self) -> None:
        """Gives the file descriptor back; the places of the images stay known."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            self._descriptor = self.tar.open()
        return self._descriptor

    def _place(self, index: int) -> tuple[int, int, int]:
        if self._places is None:
            self._places = self._walk()
        levels, meta, length = self._places[index].tolist()
        return levels, meta, length

    def _walk(self) -> NDArray[np.int64]:
        descriptor = self._open()
        # all of it is about to be read, though in another order: let the disk begin at the front
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
        end = os.fstat(descriptor).st_size
        places = np.empty((self.count, 3), np.int64)
        position = found = 0
        while True:
            levels = self._member(position, LEVELS, found)
            if levels is None or found == self.count:
                break
            if levels != self.image_bytes:
                raise self._damaged(f"image {found} has {levels} bytes, not {self.image_bytes}")
            after = position + BLOCK + _padded(levels)
            length = self._member(after, META, found)
            if length is None or after + BLOCK + length > end:
                break
            places[found] = position + BLOCK, after + BLOCK, length
            position = after + BLOCK + _padded(length)
            found += 1
        if found != self.count or levels is not None:
            held = f"{found} images" if levels is None or found < self.count else "more images"
            raise self.wrong(f"holds {held}, expected {self.count}")
        return places

    def _member(self, position: int, suffix: bytes, index: int) -> int | None:
        """The length of the file whose header is there, or None where the tar ends."""
        header = os.pread(self._open(), BLOCK, position)
        if len(header) < BLOCK or not header[0]:
            return None
        if header[:100].rstrip(b"\0") != b"%08d%s" % (index, suffix):
            raise self._damaged(f"no image {index} at byte {position}")
        try:
            return int(header[124:136].rstrip(b"\0 "), 8)
        except ValueError:
            raise self._damaged(f"no length at byte {position}") from None

    def wrong(self, how: str) -> InputError:
        """What is raised for a shard that is not as it should be."""
        return InputError(f"shard {self.tar} {how}; {self.tar.remedy}")

    def _damaged(self, how: str) -> InputError:
        return self.wrong(f"is damaged ({how})")


def _padded(length: int) -> int:
    return -(-length // BLOCK) * BLOCK
