"""WebDataset shards that others made: tars of key.jpg, key.json and key.cls, one key an image."""

import json
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from glow.apps.pictures import SUFFIXES
from stages.errors import InputError
from stages.params import FolderParams
from stages.sources.facts import Facts, class_names
from stages.sources.files import Location, most_frequent
from stages.sources.pictures import cropped, decoded_bytes, fetched_part, raw
from stages.sources.source import Entry, RawImage
from stages.sources.split_names import splits_by_name
from stages.sources.tar_samples import TEXTS, Member, Sample, samples

CLASSES = "classes.txt"
Found = tuple[str, str, Member]  # shard, key, image


class Listing(NamedTuple):
    """All images, the split of each shard, what is known of each image, and what is not read."""

    found: list[Found]
    splits: dict[str, str | None]
    facts: Facts
    passed_over: dict[str, int]


@dataclass(frozen=True)
class WebdatasetSource:
    """Image `train-000000.tar/KEY` is KEY.jpg, or .png or .webp, of that shard.

    The headers of all shards are read to list it; of those in a store, all bytes. After that
    each image is one read of its bytes.
    """

    params: FolderParams
    image_size: int

    @property
    def credit(self) -> str:
        """Nothing is known but that the user brought them."""
        return "The user's own WebDataset shards; their terms are the user's to know"

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """What the .json of each image that has it has as true or false, as 0 or 1, or as null."""
        return _listing(self._root).facts.names()

    @property
    def classes(self) -> tuple[str, ...]:
        """The lines of classes.txt, else class_0, class_1, ..., where some image has a .cls."""
        return class_names(_names(self._root), _listing(self._root).facts, f"{self._root}")

    @property
    def passed_over(self) -> dict[str, int]:
        """Members of shards, as .txt or .seg.png, and files beside the shards."""
        return _listing(self._root).passed_over

    def entries(self) -> list[Entry]:
        """All images, shard by shard."""
        _listing.cache_clear()
        found, splits, facts, _ = _listing(self._root)
        labels = facts.labels if self.classes else [None] * len(found)
        known = zip(found, facts.attributes(), labels, strict=True)
        return [
            Entry(f"{shard}/{key}", splits[shard], attributes, label, (shard, *image[:2]))
            for (shard, key, image), attributes, label in known
        ]

    def read(self, entry: Entry) -> RawImage:
        """Decodes one image; raises UnreadableImage."""
        shard, start, size = entry.place
        data = fetched_part(self._root / shard, start, size)
        image = cropped(decoded_bytes(data), self.params.crop)
        return raw(image, self.image_size, entry.attributes)

    @property
    def _root(self) -> Location:
        return Location(self.params.path)


@lru_cache(maxsize=1)
def _listing(root: Location) -> Listing:
    found: list[Found] = []
    (shards, beside), facts = _shards(root), Facts()
    unread = Counter(PurePosixPath(name).suffix for name in beside if name != CLASSES)
    splits = splits_by_name(f"{root}", shards)
    for shard in shards:
        for key, sample in samples(root / shard):
            where = f"{root / shard}: {key}"
            images = [suffix for suffix in sample if suffix in SUFFIXES]
            unread.update(sample.keys() - {*images, *(TEXTS if images else ())})
            if len(images) > 1:
                raise InputError(
                    f"{where}: expected one image, came {' and '.join(images)}; remove the others"
                )
            if images:
                found.append((shard, key, sample[images[0]]))
                facts.add(*_flags(_content(where, sample)), _label(where, sample))
    if not found:
        raise InputError(f"{root}: expected images in the shards, came none; put them there")
    return Listing(found, splits, facts, most_frequent(unread))


def _shards(root: Location) -> tuple[list[str], list[str]]:
    shards, beside = root.sifted({".tar"}) if root.is_folder() else ([], [])
    if not shards:
        raise InputError(
            f"{root}: expected WebDataset shards (.tar, uncompressed), came none; put them there, "
            "or correct data.folder.path"
        )
    return shards, beside


def _content(where: str, sample: Sample) -> dict[str, Any]:
    """What the .json says of the image."""
    if ".json" not in sample:
        return {}
    try:
        content = json.loads(sample[".json"].text)
    except (ValueError, RecursionError):
        raise InputError(f"{where}.json: expected JSON, came something else; correct it") from None
    if isinstance(content, dict) and isinstance(content.get("attributes"), dict):
        content = content["attributes"]
    return content if isinstance(content, dict) else {}


def _flags(content: dict[str, Any]) -> tuple[dict[str, bool | None], list[str]]:
    """What is true, false, 0, 1, or not known; and the names of all else."""
    flags: dict[str, bool | None] = {}
    others = []
    for name, value in content.items():
        if value is None or value != value:  # null, or NaN as pandas writes it
            flags[name] = None
        elif isinstance(value, int) and value in (0, 1):  # a measured 1.0 is no attribute
            flags[name] = bool(value)
        else:
            others.append(name)
    return flags, others


def _label(where: str, sample: Sample) -> int | None:
    """The number in the .cls; a negative one says that there is none."""
    if ".cls" not in sample:
        return None
    text = sample[".cls"].text.decode("ascii", "replace").strip()
    if not text.removeprefix("-").isdecimal() or len(text) > 6:
        raise InputError(f"{where}.cls: expected a number, came {text[:20]!r}; correct it")
    number = int(text)
    return number if number >= 0 else None


def _names(root: Location) -> list[str]:
    file = root / CLASSES
    if not file.is_file():
        return []
    return [line.strip() for line in file.read().decode("utf-8-sig").splitlines() if line.strip()]
