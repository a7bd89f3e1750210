"""Images in a zip archive, read where it lies: nothing is ever unpacked to disk."""

import re
import zipfile
import zlib
from functools import lru_cache

from glow.apps.pictures import UnreadableImage
from stages.errors import InputError
from stages.sources.files import Location, reached
from stages.sources.pictures import check_size

DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


def names_in(archive: Location, pattern: str) -> list[str]:
    """Sorted names of its files, all of which must match the pattern.

    Raises:
        InputError: the archive is damaged or holds something else.
    """
    names = sorted(name for name in _open(archive).namelist() if not name.endswith("/"))
    for name, following in zip(names, [*names[1:], ""], strict=True):
        if not re.fullmatch(pattern, name) or name == following:
            why = "again" if name == following else "among them"
            raise InputError(
                f"{archive}: expected only files such as {pattern}, each once, "
                f"came {name!r} {why}; get it again"
            )
    return names


def read_from(archive: Location, name: str) -> bytes:
    """One file of it; raises UnreadableImage where it is damaged, or huge."""
    with reached(archive):
        opened = _open(archive)
        try:
            check_size(opened.getinfo(name).file_size)
            return opened.read(name)
        except UnreadableImage:
            raise
        except DAMAGE as error:
            raise UnreadableImage(
                f"expected a whole file in {archive}, came a damaged one: {error}"
            ) from None


@lru_cache(maxsize=4)  # in every process, since its list of files takes a second to read
def _open(archive: Location) -> zipfile.ZipFile:
    with reached(archive):
        try:
            return zipfile.ZipFile(archive.open())
        except DAMAGE as error:
            raise InputError(
                f"{archive}: expected a zip archive, came a damaged or foreign file ({error}); "
                "get it again"
            ) from None
