"""CelebA-HQ as PNG or NPY files, or as CelebAMask-HQ has them, with CelebA's attributes."""

import re
from dataclasses import dataclass
from typing import TypeVar

from glow.apps.pictures import SUFFIXES
from stages.errors import InputError
from stages.params import FolderParams
from stages.sources.celeba import ATTRIBUTES, SPLITS
from stages.sources.files import Location
from stages.sources.layout import Layout
from stages.sources.npy_image import decoded_npy
from stages.sources.pictures import cropped, decoded, raw
from stages.sources.source import Entry, RawImage, Source
from stages.sources.tables import (
    read_attribute_names,
    read_attributes,
    read_columns,
    read_splits,
)

IMAGE = re.compile(r"(?:imgHQ)?0*(\d{1,5})\.(?:png|jpg|jpeg|webp|npy)", re.IGNORECASE)
OWN_ATTRIBUTES = "CelebAMask-HQ-attribute-anno.txt"  # of 0.jpg, not of CelebA's names
MAPPINGS = ("image_list.txt", "CelebA-HQ-to-CelebA-mapping.txt")
CELEBA_HQ = Layout(
    "CelebA-HQ",
    "https://github.com/tkarras/progressive_growing_of_gans, or as CelebAMask-HQ from "
    "https://github.com/switchablenorms/CelebAMask-HQ",
    "00000.png to 29999.png, imgHQ00000.npy to imgHQ29999.npy, or CelebA-HQ-img/0.jpg to "
    f"29999.jpg; with {' or '.join(MAPPINGS)} also {ATTRIBUTES} and {SPLITS} of CelebA",
    30_000,
)

T = TypeVar("T")


@dataclass(frozen=True)
class CelebaHqSource(Source):
    """Image `00007` is number 7 of CelebA-HQ, whatever its file is called.

    Args:
        params: where the files are; the rest of it is for other sources.
        image_size: to which the images are resized.
        official: whether there must be as many images as CelebA-HQ has.
    """

    params: FolderParams
    image_size: int
    official: bool = True

    @property
    def credit(self) -> str:
        """The authors and the terms."""
        return (
            "CelebA-HQ by Tero Karras, Timo Aila, Samuli Laine and Jaakko Lehtinen "
            "(https://arxiv.org/abs/1710.10196), of CelebA by Ziwei Liu, Ping Luo, Xiaogang Wang "
            "and Xiaoou Tang, for non-commercial research only; the photographs are not theirs"
        )

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """The 40 of CelebA; none where no table is there."""
        table = self._table(OWN_ATTRIBUTES) or self._table(ATTRIBUTES)
        return read_attribute_names(table) if table else ()

    def entries(self) -> list[Entry]:
        """All images by number, in CelebA's splits where its partition is there."""
        files = self._files()
        if self.official:
            CELEBA_HQ.check_count(self._root, len(files))
        attributes, splits = self._attributes(files), self._splits(files)
        return [
            Entry(f"{i:05d}", splits.get(i), attributes.get(i, {}), place=files[i])
            for i in sorted(files)
        ]

    def read(self, entry: Entry) -> RawImage:
        """Decodes one image; raises UnreadableImage."""
        file = self._root / entry.place
        image = decoded_npy(file) if file.path.lower().endswith(".npy") else decoded(file)
        return raw(cropped(image, "center"), self.image_size, entry.attributes)

    def _files(self) -> dict[int, str]:
        files: dict[int, str] = {}
        for name in self._root.files(SUFFIXES | {".npy"}) if self._root.is_folder() else []:
            match = IMAGE.fullmatch(name.rpartition("/")[2])
            if match and files.setdefault(int(match[1]), name) != name:
                raise InputError(
                    f"{self._root}: expected every image once, came {name} and "
                    f"{files[int(match[1])]}; remove one of the two"
                )
        if not files:
            raise CELEBA_HQ.missing(self._root, "00000.png")
        return files

    def _attributes(self, files: dict[int, str]) -> dict[int, dict[str, bool]]:
        if table := self._table(OWN_ATTRIBUTES):
            rows = read_attributes(table)
            return _pick(table, rows, {i: f"{i}.jpg" for i in files})
        table = self._table(ATTRIBUTES)
        return _pick(table, read_attributes(table), self._originals(files)) if table else {}

    def _splits(self, files: dict[int, str]) -> dict[int, str]:
        table = self._table(SPLITS)
        return _pick(table, read_splits(table), self._originals(files)) if table else {}

    def _originals(self, files: dict[int, str]) -> dict[int, str]:
        """What CelebA calls the images."""
        for table in filter(None, map(self._table, MAPPINGS)):
            rows = read_columns(table, "idx", "orig_file")
            return _pick(table, rows, {i: str(i) for i in files})
        raise CELEBA_HQ.missing(self._root, MAPPINGS[0])

    def _table(self, name: str) -> Location | None:
        table = self._root / name
        return table if table.is_file() else None

    @property
    def _root(self) -> Location:
        return Location(self.params.path)


def _pick(table: Location, rows: dict[str, T], names: dict[int, str]) -> dict[int, T]:
    """The row of every image."""
    for name in names.values():
        if name not in rows:
            raise InputError(
                f"{table}: expected a row for every image, came none for {name}; get it again"
            )
    return {number: rows[name] for number, name in names.items()}
