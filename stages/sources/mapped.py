"""Decoded images that all processes of a run share without holding them in memory."""

import os
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np

from stages.sources.source import Pixels

WRITTEN_AT_ONCE = 4096  # images


class MappedImages:
    """Images of one shape, in the order in which they were put in.

    They lie in a file without a name in the folder for temporary files (`TMPDIR`), as large as
    the decoded images. Copies sent to other processes map the file of the process that filled
    it, through /proc; the system forgets it when that process ends, however it ends.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._path = ""
        self._shape: tuple[int, ...] = ()
        self._mapped: Pixels | None = None

    @contextmanager
    def filling(self) -> Iterator[Callable[[Pixels], None]]:
        """Gives what takes images (N, H, W, C), of one shape, and keeps them from then on."""
        file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - it is the copies' to read
        count, shape = 0, None

        def put(images: Pixels) -> None:
            nonlocal count, shape
            if shape not in (None, images.shape[1:]):
                raise ValueError(f"expected images of {shape}, came {images.shape[1:]}")
            shape = images.shape[1:]
            for start in range(0, len(images), WRITTEN_AT_ONCE):
                file.write(np.ascontiguousarray(images[start : start + WRITTEN_AT_ONCE]).data)
            count += len(images)

        weakref.finalize(self, file.close)
        yield put
        file.flush()
        if self._file is not None:
            self._file.close()
        self._file, self._path = file, f"/proc/{os.getpid()}/fd/{file.fileno()}"
        self._shape, self._mapped = (count, *(shape or ())), None

    @property
    def filled(self) -> bool:
        """Whether there are images."""
        return bool(self._shape and self._shape[0])

    def __getitem__(self, number: int) -> Pixels:
        """One image (H, W, C)."""
        if self._mapped is None:
            self._mapped = np.memmap(self._path, np.uint8, mode="r", shape=self._shape)
        return self._mapped[number]

    def __getstate__(self) -> dict[str, Any]:
        """Where the images are, without them."""
        return {**self.__dict__, "_file": None, "_mapped": None}
