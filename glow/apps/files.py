"""Images on the disk: found, and read in batches."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from PIL import Image
from torch import Tensor

from glow import GlowConfig
from glow.apps.errors import complain, fail
from glow.apps.pictures import KINDS, SUFFIXES, UnreadableImage, open_image
from glow.apps.progress import progress
from glow.apps.saying import say
from glow.apps.uploads import BadRequest, TooFar, levels_of

BATCH_SIZE = 64

IMAGES = typer.Argument(help=f"images ({KINDS}, of any size), or folders of them")
Reader = Callable[[Image.Image, GlowConfig], Tensor]  # gives levels (C, H, W), uint8
Images = Annotated[list[Path], IMAGES]


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The files among the paths as they come, and those in folders, sorted; not in subfolders.

    What is in a folder and is no image by its suffix is counted on stderr.

    Raises:
        BadRequest: one is not there, or there are none.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            there = [file for file in path.iterdir() if not file.name.startswith(".")]
            images = [file for file in there if _is_named_an_image(file)]
            if images and len(there) > len(images):
                about = f"{len(there) - len(images)} of {len(there)} files and folders"
                say(f"{path}: passes over {about}, whose suffix is of no {KINDS}", err=True)
            found += sorted(images)
        elif path.is_file():
            found.append(path)
        else:
            raise BadRequest(f"{path} is not there, expected an image or a folder of images")
    if not found:
        raise BadRequest(f"no {KINDS} in {', '.join(map(str, paths))}")
    return found


def _is_named_an_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.is_dir()


def read_images(files: Sequence[Path], config: GlowConfig) -> Tensor:
    """Images as the model sees them, (N, C, H, W), uint8 levels; UnreadableImage says which."""
    levels = []
    for file in files:
        try:
            levels.append(_levels(file, config, levels_of))
        except UnreadableImage as error:
            raise UnreadableImage(f"{file}: {error}") from None
    return torch.stack(levels)


class Inputs:
    """The images of a command, some at a time, so that memory does not grow with them.

    One that cannot be used is reported and left out, and keeps no other from being used.

    Args:
        files: of the images.
        config: of the model.
        read: gives the levels of an opened image.

    Attributes:
        n_left_out: of the files that were tried so far.
    """

    def __init__(
        self, files: Sequence[Path], config: GlowConfig, read: Reader = levels_of
    ) -> None:
        self.files, self.n_left_out = files, 0
        self._config, self._read = config, read

    def each(self, title: str, work: Callable[[list[Path], Tensor], None]) -> None:
        """Gives all to a work, as files and their levels (N, C, H, W).

        Args:
            title: of the progress bar.
            work: done for all that it is given or, with TooFar, for none. Then it is given them
                one by one, and those that are too far alone are left out.

        Raises:
            BadRequest: no image can be used.
            UnreadableImage: the only image cannot be read.
        """
        with progress(title, len(self.files)) as advance:
            for start in range(0, len(self.files), BATCH_SIZE):
                some = self.files[start : start + BATCH_SIZE]
                self._try([found for file in some for found in self._found(file)], work)
                advance(len(some))
        if self.n_left_out == len(self.files):
            raise BadRequest(f"none of the {len(self.files)} images can be used")

    def all(self, title: str) -> tuple[list[Path], Tensor]:
        """Those that can be used at once, and their levels."""
        files: list[Path] = []
        levels: list[Tensor] = []

        def keep(some: list[Path], their_levels: Tensor) -> None:
            files.extend(some)
            levels.append(their_levels)

        self.each(title, keep)
        return files, torch.cat(levels)

    @property
    def n_used(self) -> int:
        """How many could be used, once all were tried."""
        return len(self.files) - self.n_left_out

    def end(self) -> None:
        """To be called when the outputs are written: exit code 1 where some were left out."""
        if self.n_left_out:
            raise fail(f"{self.n_left_out} of {len(self.files)} images are left out", 1)

    def _found(self, file: Path) -> list[tuple[Path, Tensor]]:
        """The file with its levels, or nothing."""
        try:
            return [(file, _levels(file, self._config, self._read))]
        except UnreadableImage as error:
            self._leave_out(file, error)
            return []

    def _try(
        self, found: list[tuple[Path, Tensor]], work: Callable[[list[Path], Tensor], None]
    ) -> None:
        if not found:
            return
        files, levels = zip(*found, strict=True)
        try:
            work(list(files), torch.stack(levels))
        except TooFar as error:
            if len(found) == 1:
                self._leave_out(files[0], error)
                return
            for one in found:
                self._try([one], work)

    def _leave_out(self, file: Path, error: TooFar | UnreadableImage) -> None:
        told = f"{file}: {error}"
        if len(self.files) == 1:
            raise type(error)(told) from None
        complain(told)
        self.n_left_out += 1


def _levels(file: Path, config: GlowConfig, read: Reader) -> Tensor:
    with open_image(file) as image:
        return read(image, config)
