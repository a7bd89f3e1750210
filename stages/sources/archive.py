"""Reads single files out of a tar archive, in memory: nothing is ever unpacked to disk."""

import io
import tarfile
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

LARGEST = 2**28  # bytes of a member that is read into memory


def read_members(archive: Path, wanted: Collection[str]) -> dict[str, io.BytesIO]:
    """The wanted members by name, as many of them as are there.

    Raises:
        ValueError, tarfile.TarError, EOFError, zlib.error: the archive is damaged or has tricks.
    """
    found: dict[str, io.BytesIO] = {}
    with tarfile.open(archive) as tar:
        for member in plain_members(tar):
            name = member.name.removeprefix("./")
            if name not in wanted:
                continue
            if name in found:
                raise ValueError(f"{name} is in it twice")
            content = tar.extractfile(member) if member.size <= LARGEST else None
            if content is None:
                raise ValueError(f"{name} has {member.size} bytes, expected at most {LARGEST}")
            found[name] = io.BytesIO(content.read())
    return found


def plain_members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The files of an archive, folders left out, in bounded memory.

    Raises:
        ValueError: a link, a device, or a path that leads out of the archive.
    """
    while (member := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined]  # it would keep a million of them
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"the path {member.name} leads out of it")
        if member.isdir():
            continue
        if not member.isreg():
            raise ValueError(f"{member.name} is a link or a device")
        yield member
