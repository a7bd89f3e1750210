"""A copy of images out of containers in which none can be read without those around it."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from stages.errors import InputError, StageError


class Spot(NamedTuple):
    """Where an image lies in the scratch file that a process holds open."""

    process: int
    descriptor: int
    inode: int
    start: int
    size: int


class Scratch:
    """A file without a name, so that nothing is left of it however the process ends.

    Other processes read it for as long as this one holds this object. It lies where TMPDIR says.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it is held
        self._holder = os.getpid(), self._file.fileno(), os.fstat(self._file.fileno()).st_ino
        self._end = 0

    def add(self, data: bytes) -> Spot:
        """Appends one image.

        Raises:
            StageError: the disk is full.
        """
        try:
            self._file.write(data)
        except OSError as error:
            raise self._full(error) from None
        spot = Spot(*self._holder, self._end, len(data))
        self._end += len(data)
        return spot

    def finish(self) -> None:
        """Lets other processes see all of it; raises as `add` does."""
        try:
            self._file.flush()
        except OSError as error:
            raise self._full(error) from None

    def _full(self, error: OSError) -> StageError:
        return StageError(
            f"{tempfile.gettempdir()}: expected room for a copy of all images, came "
            f"{error.strerror} after {self._end} bytes; set TMPDIR to a folder on a larger disk"
        )


def read_spot(spot: Spot) -> bytes:
    """One image, in any process."""
    file = Path(f"/proc/{spot.process}/fd/{spot.descriptor}")
    with suppress(OSError), file.open("rb", buffering=0) as stream:
        if os.fstat(stream.fileno()).st_ino == spot.inode:  # else another file has this number
            return os.pread(stream.fileno(), spot.size, spot.start)
    raise InputError(
        f"expected the process {spot.process} to hold the images that it listed, came none; "
        "list them again"
    )
