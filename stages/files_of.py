"""The files that a source reads: a stamp of each, and what only looks like an image."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from glow.apps.pictures import SUFFIXES
from stages.params import DataParams


def folder_of(data: DataParams) -> Path | None:
    """Where the images of a data set are; None for one that is drawn."""
    section = getattr(data, data.source, None)
    if path := getattr(section, "path", None):
        return Path(path)
    return None if data.source == "avatars" else Path(data.folder.path)


def stamps(root: Path) -> Iterator[str]:
    """Path, size and time of change of `root`, a file, or of all below it but hidden ones."""
    if root.is_file():
        about = root.stat()
        yield f"{about.st_size}\0{about.st_mtime_ns}"
        return
    for entry in _walk(root):
        try:
            about = entry.stat()
        except OSError:  # a link to nothing
            continue
        if stat.S_ISREG(about.st_mode):
            yield f"{os.path.relpath(entry.path, root)}\0{about.st_size}\0{about.st_mtime_ns}"


def left_out(root: Path) -> dict[str, str]:
    """What has the name of an image and is none that could be read, and why."""
    base, found = root.resolve(), {}
    for entry in _walk(base):
        if Path(entry.name).suffix.lower() in SUFFIXES and (reason := _why_not(entry, base)):
            name = os.path.relpath(entry.path, base)
            found[os.fsencode(name).decode(errors="backslashreplace")] = reason
    return dict(sorted(found.items()))


def _why_not(entry: "os.DirEntry[str]", base: Path) -> str:
    try:
        mode = entry.stat().st_mode
    except OSError as error:
        return f"a link to nothing ({error.strerror})" if entry.is_symlink() else str(error)
    if stat.S_ISDIR(mode):
        return "a folder"
    if not stat.S_ISREG(mode):
        return "no file but a pipe, socket or device"
    if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(base):
        return "a link out of the folder"
    return ""


def _walk(root: Path) -> Iterator["os.DirEntry[str]"]:
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
