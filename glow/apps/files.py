"""Images on the disk: found, read in batches, written whole."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from PIL import Image
from torch import Tensor

from glow import GlowConfig
from glow.apps.pictures import KINDS, SUFFIXES, UnreadableImage, open_image
from glow.apps.uploads import BadRequest, levels_of, to_picture
from glow.atomic import write_atomically

BATCH_SIZE = 64

IMAGES = typer.Argument(help=f"images ({KINDS}, of any size), or folders of them")
Images = Annotated[list[Path], IMAGES]


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The files among the paths as they come, and those in folders, sorted; not in subfolders.

    Raises:
        BadRequest: one is not there, or there are none.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(
                file
                for file in path.iterdir()
                if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
            )
        elif path.is_file():
            found.append(path)
        else:
            raise BadRequest(f"{path} is not there, expected an image or a folder of images")
    if not found:
        raise BadRequest(f"no {KINDS} in {', '.join(map(str, paths))}")
    return found


def read_images(files: Sequence[Path], config: GlowConfig) -> Tensor:
    """Images as the model sees them, (N, C, H, W), uint8 levels; UnreadableImage says which."""
    levels = []
    for file in files:
        try:
            with open_image(file) as image:
                levels.append(levels_of(image, config))
        except UnreadableImage as error:
            raise UnreadableImage(f"{file}: {error}") from None
    return torch.stack(levels)


def in_batches(files: Sequence[Path], config: GlowConfig) -> Iterator[tuple[list[Path], Tensor]]:
    """Some of the files and their levels at a time, so that memory does not grow with them."""
    for start in range(0, len(files), BATCH_SIZE):
        some = list(files[start : start + BATCH_SIZE])
        yield some, read_images(some, config)


def check_output(output: Path, suffixes: Sequence[str], images: Sequence[Path] = ()) -> None:
    """Refuses what would be written over something else, before any work is done.

    Args:
        output: a file of one of these suffixes, or a folder, "", whose name has none.
        suffixes: that are possible.
        images: that were given, and are not to be lost.
    """
    if output.suffix.lower() not in suffixes:
        names = " or ".join(f"a {suffix} file" if suffix else "a folder" for suffix in suffixes)
        raise BadRequest(f"output is {output}, expected {names}")
    if output.suffix and output.is_dir():
        raise BadRequest(f"output is {output}, a folder, expected a file")
    if not output.suffix and output.exists() and not output.is_dir():
        raise BadRequest(f"output is {output}, a file, expected a folder")
    place = output.resolve()
    for image in images:
        there = image.resolve() if output.suffix else image.resolve().parent
        if place == there:
            raise BadRequest(f"output is {output}, where {image} is; expected another place")


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
    """A folder that takes a PNG for each image, named like it.

    Args:
        folder: made if it is not there; other files in it stay.
        files: whose images it takes; BadRequest where two have the same name.
    """

    def __init__(self, folder: Path, files: Sequence[Path]) -> None:
        self.folder = folder
        stems = [file.stem for file in files]
        if len(set(stems)) < len(stems):
            twice = min(stem for stem in set(stems) if stems.count(stem) > 1)
            raise BadRequest(f"several images are named {twice}, expected different names")

    def take(self, files: Sequence[Path], images: Tensor) -> None:
        """Writes the images (N, C, H, W) of these files."""
        for file, image in zip(files, images, strict=True):
            write_picture(self.folder / f"{file.stem}.png", to_picture(image))
