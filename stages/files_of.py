"""The files that a source reads, and a stamp of each."""

import json
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

from stages.params import DataParams
from stages.sources.files import Location

ASKED_AT_ONCE = 32
OF_ANY = {"name", "type", "size", "url", "mimetype", "partial"}  # may stay when a file is replaced


def folder_of(data: DataParams) -> Location | None:
    """Where the images of a data set are; None for one that is drawn."""
    section = getattr(data, data.source, None)
    if path := getattr(section, "path", None):
        return Location(path)
    return None if data.source == "avatars" else Location(data.folder.path)


def stamps(root: Location) -> Iterator[str]:
    """Of `root`, a file, or of all below it but hidden ones: another one for what is replaced.

    Raises:
        InputError: a store cannot be reached.
    """
    return _remote_stamps(root) if root.is_remote else _local_stamps(root.local)


def _local_stamps(root: Path) -> Iterator[str]:
    """Path, size and time of change."""
    if root.is_file():
        about = root.stat()
        yield f"{about.st_size}\0{about.st_mtime_ns}"
        return
    for entry in walk(root):
        try:
            about = entry.stat()
        except OSError:  # a link to nothing
            continue
        if stat.S_ISREG(about.st_mode):
            yield f"{os.path.relpath(entry.path, root)}\0{about.st_size}\0{about.st_mtime_ns}"


def _remote_stamps(root: Location) -> Iterator[str]:
    """Path, and all that the store tells: ETag, size, time of change.

    Web servers tell it only of a file that they are asked for. Where one tells nothing that would
    change with the file, each stamp is a new one, so that nothing is taken for what it was.
    """
    told = root.told()
    silent = [name for name, about in told.items() if not about.keys() - OF_ANY]
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        told |= zip(silent, pool.map(lambda name: (root / name).about(), silent), strict=True)
    for name, about in told.items():
        known = about if about.keys() - OF_ANY else {"asked": uuid4().hex}
        yield f"{name}\0{json.dumps(known, sort_keys=True, default=repr)}"


def walk(root: Path) -> Iterator["os.DirEntry[str]"]:
    """All but hidden ones; linked folders are not entered."""
    waiting = [str(root)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    yield entry
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except FileNotFoundError:
            continue
