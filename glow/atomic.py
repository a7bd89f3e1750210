"""Files that are written whole or not at all."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path


def write_atomically(file: Path, content: bytes) -> None:
    """The file has all of the content or what it had before, whatever happens meanwhile.

    Raises:
        OSError: with the file's name, where the disk is full or cannot be written.
    """
    known = hashlib.sha256(os.fsencode(file.name)).hexdigest()[:16]  # the name may be too long
    partial = file.with_name(f".{known}.{os.getpid()}.tmp")
    try:
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(file)
        _keep_name(file.parent)
    except OSError as error:
        if error.errno is not None:
            error.filename = error.filename or str(file)
        raise
    finally:
        partial.unlink(missing_ok=True)


def _keep_name(folder: Path) -> None:
    """Without it a power cut may lose the new name, though not the content."""
    with suppress(OSError):  # some file systems cannot
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
