"""What commands write: whole, in its own place, and over nothing that is not theirs."""

import io
import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image
from torch import Tensor

from glow.apps.uploads import BadRequest, to_picture
from glow.atomic import write_atomically

MAX_NAME = 255  # bytes, on every file system that is common

Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace files that are there")]


def check_output(output: Path, suffixes: Sequence[str], inputs: Iterable[Path] = ()) -> None:
    """Refuses what would be written over something else, before any work is done.

    Args:
        output: a file of one of these suffixes, or a folder, "", whose name has none.
        suffixes: that are possible.
        inputs: files that were given, and are not to be lost.
    """
    if output.suffix.lower() not in suffixes:
        names = " or ".join(f"a {suffix} file" if suffix else "a folder" for suffix in suffixes)
        raise BadRequest(f"output is {output}, expected {names}")
    if output.suffix and output.is_dir():
        raise BadRequest(f"output is {output}, a folder, expected a file")
    if not output.suffix and output.exists() and not output.is_dir():
        raise BadRequest(f"output is {output}, a file, expected a folder")
    place = output.resolve()
    for file in inputs:
        there = file.resolve() if output.suffix else file.resolve().parent
        if place == there:
            raise BadRequest(f"output is {output}, where {file} is; expected another place")


def check_free(files: Iterable[Path], *, overwrite: bool) -> None:
    """BadRequest where one of these is there already and is not to be replaced."""
    taken = None if overwrite else next(filter(os.path.lexists, files), None)
    if taken is not None:
        raise BadRequest(f"{taken} is there already; take another place, or add --overwrite")


def picture_name(file: Path) -> str:
    """The name of the PNG that is made of an image file."""
    return f"{file.stem}.png"


def check_picture_names(names: Sequence[str]) -> None:
    """BadRequest where these cannot be PNGs of one folder on every system, as `A.png`, `a.png`."""
    seen: set[str] = set()
    for name in names:
        if not _is_picture_name(name):
            raise BadRequest(f"an image is named {name!r}, expected the plain name of a PNG")
        key = unicodedata.normalize("NFC", name).casefold()
        if key in seen:
            stem = name.removesuffix(".png")
            raise BadRequest(f"several images are named {stem}, expected different names")
        seen.add(key)


def write_picture(file: Path, image: Image.Image) -> None:
    """A PNG, the whole of it or what was there before."""
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    write(file, stream.getvalue())


def write(file: Path, content: bytes) -> None:
    """The whole content or what was there before, in a folder that is made if need be."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, content)


class PictureFolder:
    """A folder that takes PNGs by names that are known before any work is done.

    Args:
        folder: made if it is not there; other files in it stay.
        names: of the PNGs.
        overwrite: whether those that are there are replaced.

    Raises:
        BadRequest: it is a file; the names are not plain and different; or one is there already.
    """

    def __init__(self, folder: Path, names: Sequence[str], *, overwrite: bool) -> None:
        if folder.exists() and not folder.is_dir():
            raise BadRequest(f"output is {folder}, a file, expected a folder")
        check_picture_names(names)
        check_free((folder / name for name in names), overwrite=overwrite)
        self.folder = folder

    def take(self, names: Iterable[str], images: Iterable[Tensor]) -> None:
        """Writes images (C, H, W) of these names."""
        for name, image in zip(names, images, strict=True):
            write_picture(self.folder / name, to_picture(image))


def _is_picture_name(name: str) -> bool:
    try:
        size = len(os.fsencode(name))
    except UnicodeEncodeError:
        return False
    drive, path = os.path.splitdrive(name)
    base = os.path.basename(path)  # noqa: PTH119 - there may be millions, and a Path is slow
    plain = not drive and base == path and "\0" not in path
    return plain and name.endswith(".png") and size <= MAX_NAME
