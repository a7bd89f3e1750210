"""LSUN as published: an LMDB database of encoded images for each category and split."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from glow.apps.pictures import UnreadableImage
from stages.errors import InputError
from stages.params import FolderParams
from stages.sources.files import Location
from stages.sources.pictures import check_size, cropped, decoded_bytes, raw
from stages.sources.source import NOT_TEST, Entry, RawImage, Source

URL = "https://github.com/fyu/lsun"
FILES = "bedroom_train_lmdb/ and bedroom_val_lmdb/, or those of other categories, unzipped"
DATABASE = re.compile(r"(.+)_(train|val)_lmdb")


@dataclass(frozen=True)
class LsunSource(Source):
    """Image `bedroom_val/KEY` has that key in bedroom_val_lmdb.

    A name and an entry of some 250 bytes in all is held for each of the three million bedrooms.
    """

    params: FolderParams
    image_size: int

    @property
    def credit(self) -> str:
        """The authors; they state no terms."""
        return (
            "LSUN by Fisher Yu, Ari Seff, Yinda Zhang, Shuran Song, Thomas Funkhouser and "
            "Jianxiong Xiao (https://arxiv.org/abs/1506.03365), for research; the photographs are "
            "not theirs"
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """The categories, where there are several."""
        categories = sorted({_parts(name)[0] for name in self._databases()})
        return tuple(categories) if len(categories) > 1 else ()

    def entries(self) -> list[Entry]:
        """All images; what the makers call validation is our test."""
        classes, names = self.classes, self._databases()
        tested = {category for category, split in map(_parts, names) if split == "val"}
        nothing: dict[str, bool] = {}
        entries = []
        for name in names:
            category, split = _parts(name)
            label = classes.index(category) if classes else None
            ours = "test" if split == "val" else NOT_TEST if category in tested else None
            prefix = name.removesuffix("lmdb").rstrip("_")
            for key in self._keys(name):
                entries.append(Entry(f"{prefix}/{key}", ours, nothing, label))
        if not entries:
            raise InputError(
                f"{self.params.path}: expected images in LSUN, came none; get it again"
            )
        return entries

    def read(self, entry: Entry) -> RawImage:
        """Decodes one image, which is WebP or JPEG; raises UnreadableImage."""
        name, _, key = entry.name.partition("/")
        with _database(self._root / f"{name}_lmdb").begin() as transaction:
            data = transaction.get(key.encode())
        if data is None:
            raise UnreadableImage("expected an image, came none under its key")
        check_size(len(data))
        return raw(cropped(decoded_bytes(data), "center"), self.image_size, entry.attributes)

    def _databases(self) -> list[str]:
        if Location(self.params.path).is_remote:
            raise InputError(
                f"{self.params.path}: expected LSUN on a disk, since LMDB maps its files, came a "
                "URL; copy it to data/raw"
            )
        if not self._root.is_dir():
            raise self._missing("folder of this name")
        names = sorted(path.name for path in self._root.iterdir() if DATABASE.fullmatch(path.name))
        if not any(_parts(name)[1] == "train" for name in names):
            raise self._missing("*_train_lmdb/")
        return names

    def _keys(self, name: str) -> Iterator[str]:
        with _database(self._root / name).begin() as transaction:
            for key in transaction.cursor().iternext(values=False):
                if not key.isascii():
                    raise InputError(
                        f"{self._root / name}: expected keys in ASCII, came {key!r}; get it again"
                    )
                yield key.decode()

    def _missing(self, what: str) -> InputError:
        return InputError(
            f"{self._root}: expected LSUN as {FILES}, came no {what}; get it from {URL}, or "
            "correct data.folder.path"
        )

    @property
    def _root(self) -> Path:
        return Path(self.params.path)


def _parts(name: str) -> tuple[str, str]:
    """Category and split of a database."""
    match = DATABASE.fullmatch(name)
    assert match
    return match[1], match[2]


@cache  # a process must not open a database twice
def _database(folder: Path) -> Any:  # noqa: ANN401 - lmdb is untyped
    try:
        import lmdb
    except ImportError:
        raise InputError(
            "data.source: lsun needs the package lmdb; "
            "pip install -c constraints.txt -e '.[lsun]' brings it"
        ) from None
    try:
        database = lmdb.open(
            str(folder), readonly=True, lock=False, readahead=False, max_spare_txns=1
        )
    except (lmdb.Error, OSError) as error:
        raise InputError(
            f"{folder}: expected an LMDB database, came a damaged or foreign one ({error}); "
            f"get it from {URL}"
        ) from None
    # what is mapped beyond the end of the file would end the process without a word
    needed = (database.info()["last_pgno"] + 1) * database.stat()["psize"]
    came = (folder / "data.mdb").stat().st_size
    if came < needed:
        raise InputError(
            f"{folder}: expected {needed} bytes in data.mdb, came {came}; get it from {URL}"
        )
    return database
