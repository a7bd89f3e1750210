"""Files that are written whole or not at all, and that a power cut does not take away again."""

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
        sync_folder(file.parent)
    except OSError as error:
        if error.errno is not None:
            error.filename = error.filename or str(file)
        raise
    finally:
        partial.unlink(missing_ok=True)


def sync_file(file: Path) -> None:
    """Returns once the file's content is on the disk; OSError where that cannot take it."""
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """The same for the names in a folder: a new one may be lost though the content is not."""
    with suppress(OSError):  # some file systems cannot
        sync_file(folder)


def make_folder(folder: Path) -> None:
    """Makes a folder, and its parents where they are missing, to stay."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)
