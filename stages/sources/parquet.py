"""Parquet files of encoded images with labels and flags, as Hugging Face's hub has them."""

from dataclasses import dataclass
from functools import lru_cache

from glow.apps.pictures import UnreadableImage
from stages.errors import InputError
from stages.params import FolderParams
from stages.sources.facts import Facts, class_names
from stages.sources.files import Location, by_suffix
from stages.sources.parquet_columns import Columns
from stages.sources.parquet_rows import parquet_files, parquet_rows
from stages.sources.pictures import cropped, decoded_bytes, raw
from stages.sources.scratch import Scratch, Spot, read_spot
from stages.sources.source import Entry, RawImage
from stages.sources.split_names import splits_by_name


@dataclass(frozen=True)
class ParquetSource:
    """Image `train-00000-of-00002.parquet/0000007` is row 7 of that file.

    Images are wanted in the order of a hash, and a Parquet file gives none without the hundreds
    of its row group. So listing reads all of them once, in order and a few rows at a time, and
    copies the encoded bytes to a scratch file, which needs as much room as they do.
    """

    params: FolderParams
    image_size: int

    @property
    def credit(self) -> str:
        """Nothing is known but that the user brought them."""
        return "The user's own Parquet files; their terms are the user's to know"

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """The columns of booleans; where one is null, it is not known of that image."""
        return _listing(self._root).facts.names()

    @property
    def classes(self) -> tuple[str, ...]:
        """The names in the schema, else class_0, class_1, ..., where some image has a label."""
        listing = _listing(self._root)
        return class_names(listing.classes, listing.facts, f"{self._root}")

    @property
    def passed_over(self) -> dict[str, int]:
        """Files beside those of Parquet."""
        return by_suffix(self._root.sifted({".parquet"})[1])

    def entries(self) -> list[Entry]:
        """All images, file by file."""
        _listing.cache_clear()
        listing, classes = _listing(self._root), self.classes
        labels = listing.facts.labels if classes else [None] * len(listing.found)
        known = zip(listing.found, listing.facts.attributes(), labels, strict=True)
        return [
            Entry(f"{file}/{row:07d}", listing.splits[file], attributes, label, spot)
            for (file, row, spot), attributes, label in known
        ]

    def read(self, entry: Entry) -> RawImage:
        """Decodes one image; raises UnreadableImage."""
        if entry.place is None:
            raise UnreadableImage("expected the bytes of an image, came none; embed the files")
        image = cropped(decoded_bytes(read_spot(entry.place)), self.params.crop)
        return raw(image, self.image_size, entry.attributes)

    @property
    def _root(self) -> Location:
        return Location(self.params.path)


@dataclass(frozen=True)
class Listing:
    """All rows: file, row, and place of the image; the copy of the images must live as long."""

    found: list[tuple[str, int, Spot | None]]
    splits: dict[str, str | None]
    facts: Facts
    classes: tuple[str, ...]
    scratch: Scratch


@lru_cache(maxsize=1)
def _listing(root: Location) -> Listing:
    found: list[tuple[str, int, Spot | None]] = []
    files, facts, scratch = _files(root), Facts(), Scratch()
    splits = splits_by_name(f"{root}", files)
    first: Columns | None = None
    for file in files:
        for columns, row, cells in parquet_rows(root / file):
            first = first or columns
            if columns != first:
                raise InputError(
                    f"{root / file}: expected the columns and classes of the files before it "
                    f"({first}), came {columns}; keep one data set in a folder"
                )
            image, label, flags = cells
            found.append((file, row, scratch.add(image) if image is not None else None))
            facts.add(flags, (), label if label is not None and label >= 0 else None)
    if first is None:
        raise InputError(f"{root}: expected rows with images, came none; put them there")
    scratch.finish()
    return Listing(found, splits, facts, first.classes, scratch)


def _files(root: Location) -> list[str]:
    files = parquet_files(root)
    if not files:
        raise InputError(
            f"{root}: expected Parquet files (.parquet), came none; put them there, or correct "
            "data.folder.path"
        )
    return files
