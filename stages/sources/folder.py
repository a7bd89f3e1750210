"""A folder of the user's own images: whole, cropped like CelebA's, or cut into tiles."""

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple, TypeVar

from PIL import Image

from glow.apps.pictures import SUFFIXES, UnreadableImage, resized
from stages.errors import InputError
from stages.params import FolderParams
from stages.sources.files import Location, by_suffix
from stages.sources.named_folders import Meaning, meaning_of
from stages.sources.pictures import cropped, decoded, opened, raw
from stages.sources.source import Entry, RawImage, Source
from stages.sources.tables import match_rows, read_attribute_names, read_attributes, read_splits

T = TypeVar("T")


@dataclass(frozen=True)
class FolderSource(Source):
    """Images are named by their paths in the folder; tile 7 of photo.jpg is `photo.jpg#0007`."""

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
        """The outermost folders that differ, where every image is in one; sorted."""
        return _listing(self.params).meaning.classes

    @property
    def passed_over(self) -> dict[str, int]:
        """Files that are no images by their suffix, and none of the tables."""
        return _listing(self.params).passed_over

    def entries(self) -> list[Entry]:
        """All images, sorted by path; for tiles, the header of each photograph is read.

        What their folders are taken for is said on stderr.
        """
        _listing.cache_clear()
        images, meaning, _ = _listing(self.params)
        if line := meaning.line():
            print(f"folders in {self._root}: {line}", file=sys.stderr, flush=True)
        attributes = self._rows(self.params.attributes, read_attributes, images)
        splits = self._rows(self.params.splits, read_splits, images) or meaning.splits
        wholes = (
            Entry(image, splits.get(image), attributes.get(image, {}), meaning.labels.get(image))
            for image in images
        )
        return [entry for whole in wholes for entry in self._cut(whole)]

    def read(self, entry: Entry) -> RawImage:
        """Decodes, crops and resizes one image; raises UnreadableImage."""
        if self.params.crop == "tiles":
            image = self._tile(entry)
        else:
            image = cropped(decoded(self._root / entry.name), self.params.crop)
        return raw(image, self.image_size, entry.attributes)

    def _rows(
        self, table: str | None, read: Callable[[Location], dict[str, T]], images: list[str]
    ) -> dict[str, T]:
        return match_rows(self._root / table, read(self._root / table), images) if table else {}

    @property
    def _root(self) -> Location:
        return Location(self.params.path)

    def _cut(self, whole: Entry) -> list[Entry]:
        """An unreadable photograph, or a small one, keeps a tile for read() to report."""
        if self.params.crop != "tiles":
            return [whole]
        columns, rows = 0, 0
        with suppress(UnreadableImage), opened(self._root / whole.name) as header:
            columns, rows = self._grid(_scaled(header.size, self.params.tile_scale))
        return [
            replace(whole, name=f"{whole.name}#{index:04d}", place=index, photograph=whole.name)
            for index in range(max(1, columns * rows))
        ]

    def _grid(self, size: tuple[int, int]) -> tuple[int, int]:
        return size[0] // self.params.tile_size, size[1] // self.params.tile_size

    def _tile(self, entry: Entry) -> Image.Image:
        image = _photograph(self._root / entry.group, self.params.tile_scale)
        side = self.params.tile_size
        columns, rows = self._grid(image.size)
        if entry.place >= columns * rows:
            raise UnreadableImage(
                f"expected room for tile {entry.place + 1} of {side}x{side}, "
                f"came {image.width}x{image.height} after scaling"
            )
        top, left = (side * place for place in divmod(entry.place, columns))
        return image.crop((left, top, left + side, top + side))


class Listing(NamedTuple):
    """Images, what their folders say of them, and what else is there, by suffix."""

    images: list[str]
    meaning: Meaning
    passed_over: dict[str, int]


@lru_cache(maxsize=1)
def _listing(params: FolderParams) -> Listing:
    root = Location(params.path)
    if not root.is_folder():
        raise InputError(
            f"{root}: expected a folder of images, came no such folder; "
            "put your images there, or correct data.folder.path"
        )
    images, others = root.sifted(SUFFIXES)
    if not images:
        came = ", ".join(f"{n} {suffix!a}" for suffix, n in by_suffix(others).items())
        raise InputError(
            f"{root}: expected images ({', '.join(sorted(SUFFIXES))}), came "
            f"{f'none but {came}' if came else 'none'} "
            "(hidden files and links out of the folder do not count); put your images there"
        )
    meaning = meaning_of(
        params.path,
        images,
        split_folders=params.split_folders,
        class_folders=params.class_folders,
    )
    if params.splits:
        meaning = replace(meaning, parts={})
    tables = {params.attributes, params.splits}
    return Listing(images, meaning, by_suffix(name for name in others if name not in tables))


@lru_cache(maxsize=64)  # in every process; large ones are some 10 MB each
def _photograph(file: Location, scale: float) -> Image.Image:
    image = decoded(file)
    return resized(image, _scaled(image.size, scale))


def _scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
