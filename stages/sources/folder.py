"""A folder of the user's own images: whole, cropped like CelebA's, or cut into tiles."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from glow.apps.pictures import UnreadableImage, center_square, decode, open_image, resized
from stages.errors import InputError
from stages.params import FolderParams
from stages.sources.source import Entry, RawImage
from stages.sources.tables import match_rows, read_attribute_names, read_attributes, read_splits

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
CELEBA_SIZE = (178, 218)
CELEBA_BOX = (15, 40, 163, 188)  # left, top, right, bottom

T = TypeVar("T")


@dataclass(frozen=True)
class FolderSource:
    """Images are named by their paths in the folder; tiles are `photo.jpg#0007`."""

    params: FolderParams
    image_size: int

    @property
    def credit(self) -> str:
        """Nothing is known but that the user brought them."""
        return "The user's own images; their terms are the user's to know"

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """The columns of the attribute table; none without one."""
        table = self.params.attributes
        return read_attribute_names(self._root / table) if table else ()

    @property
    def classes(self) -> tuple[str, ...]:
        """None."""
        return ()

    def entries(self) -> list[Entry]:
        """All images, sorted by path; for tiles, the header of each photograph is read."""
        images = _images(self._root)
        attributes = self._rows(self.params.attributes, read_attributes, images)
        splits = self._rows(self.params.splits, read_splits, images)
        return [
            Entry(name, splits.get(image), attributes.get(image, {}))
            for image in images
            for name in self._names(image)
        ]

    def read(self, entry: Entry) -> RawImage:
        """Decodes, crops and resizes one image; raises UnreadableImage."""
        if self.params.crop == "tiles":
            image = self._tile(entry.name)
        else:
            image = _cropped(_decode(self._root / entry.name), self.params.crop)
        size = self.image_size, self.image_size
        return RawImage(np.array(resized(image, size)), entry.attributes)

    def _rows(
        self, table: str | None, read: Callable[[Path], dict[str, T]], images: list[str]
    ) -> dict[str, T]:
        return match_rows(self._root / table, read(self._root / table), images) if table else {}

    @property
    def _root(self) -> Path:
        return Path(self.params.path)

    def _names(self, image: str) -> list[str]:
        """An unreadable photograph, or a small one, keeps a tile for read() to report."""
        if self.params.crop != "tiles":
            return [image]
        columns, rows = 0, 0
        with suppress(UnreadableImage), _opened(self._root / image) as header:
            columns, rows = self._grid(_scaled(header.size, self.params.tile_scale))
        return [f"{image}#{index:04d}" for index in range(max(1, columns * rows))]

    def _grid(self, size: tuple[int, int]) -> tuple[int, int]:
        return size[0] // self.params.tile_size, size[1] // self.params.tile_size

    def _tile(self, name: str) -> Image.Image:
        photograph, _, index = name.rpartition("#")
        image = _photograph(self._root / photograph, self.params.tile_scale)
        side = self.params.tile_size
        columns, rows = self._grid(image.size)
        if int(index) >= columns * rows:
            raise UnreadableImage(
                f"expected room for tile {int(index) + 1} of {side}x{side}, "
                f"came {image.width}x{image.height} after scaling"
            )
        top, left = (side * place for place in divmod(int(index), columns))
        return image.crop((left, top, left + side, top + side))


def _images(root: Path) -> list[str]:
    """POSIX paths of the images; linked folders are not entered, so that none comes twice."""
    if not root.is_dir():
        raise InputError(
            f"{root}: expected a folder of images, came no such folder; "
            "put your images there, or correct data.folder.path"
        )
    base = root.resolve()
    images = sorted(_walk(base))
    if not images:
        raise InputError(
            f"{root}: expected images ({', '.join(sorted(SUFFIXES))}), came none "
            "(hidden files and links out of the folder do not count); put your images there"
        )
    for image in images:
        if any("\ud800" <= letter <= "\udfff" for letter in image):
            came = os.fsencode(image)
            raise InputError(f"{root}: expected names in UTF-8, came {came!r}; rename the file")
    return images


def _walk(base: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(base):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            file = Path(folder, name)
            image = not name.startswith(".") and file.suffix.lower() in SUFFIXES and file.is_file()
            if image and (not file.is_symlink() or file.resolve().is_relative_to(base)):
                yield file.relative_to(base).as_posix()


def _opened(file: Path) -> Image.Image:
    if file.is_file() and not file.stat().st_size:
        raise UnreadableImage("expected an image, came an empty file")
    return open_image(file)


def _decode(file: Path) -> Image.Image:
    with _opened(file) as image:
        return decode(image)


@lru_cache(maxsize=64)  # in every process; large ones are some 10 MB each
def _photograph(file: Path, scale: float) -> Image.Image:
    image = _decode(file)
    return resized(image, _scaled(image.size, scale))


def _scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _cropped(image: Image.Image, crop: str) -> Image.Image:
    if crop == "celeba":
        if image.size != CELEBA_SIZE:
            came = "x".join(map(str, image.size))
            raise UnreadableImage(f"expected 178x218 pixels for crop: celeba, came {came}")
        return image.crop(CELEBA_BOX)
    return center_square(image)
