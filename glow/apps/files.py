"""Images on the disk: found, and read in batches."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from PIL import Image
from torch import Tensor

from glow import GlowConfig
from glow.apps.pictures import KINDS, SUFFIXES, UnreadableImage, open_image
from glow.apps.uploads import BadRequest, levels_of

BATCH_SIZE = 64

IMAGES = typer.Argument(help=f"images ({KINDS}, of any size), or folders of them")
Reader = Callable[[Image.Image, GlowConfig], Tensor]  # gives levels (C, H, W), uint8
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
                if file.suffix.lower() in SUFFIXES
                and not file.name.startswith(".")
                and not file.is_dir()
            )
        elif path.is_file():
            found.append(path)
        else:
            raise BadRequest(f"{path} is not there, expected an image or a folder of images")
    if not found:
        raise BadRequest(f"no {KINDS} in {', '.join(map(str, paths))}")
    return found


def read_images(files: Sequence[Path], config: GlowConfig, read: Reader = levels_of) -> Tensor:
    """Images as the model sees them, (N, C, H, W), uint8 levels; UnreadableImage says which."""
    levels = []
    for file in files:
        try:
            with open_image(file) as image:
                levels.append(read(image, config))
        except UnreadableImage as error:
            raise UnreadableImage(f"{file}: {error}") from None
    return torch.stack(levels)


def in_batches(files: Sequence[Path], config: GlowConfig) -> Iterator[tuple[list[Path], Tensor]]:
    """Some of the files and their levels at a time, so that memory does not grow with them."""
    for start in range(0, len(files), BATCH_SIZE):
        some = list(files[start : start + BATCH_SIZE])
        yield some, read_images(some, config)
