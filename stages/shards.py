"""WebDataset shards of quantised images: written by preprocess, read by everything else.

A sample is `<number>.levels.bin`, the raw uint8 levels (H, W, C) of one image, and
`<number>.meta.json`, its name, its attributes as far as they are known, and its class if known.
`dataset.json` beside the splits says how many there are and of what shape, so that a shard that
lost its end is noticed.
"""

import hashlib
import json
import random
import re
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import webdataset as wds
from numpy.typing import NDArray
from torch import Tensor
from webdataset.tariterators import group_by_keys, tar_file_expander

from glow.marks import UNKNOWN
from stages.ahead import Ahead
from stages.errors import InputError
from stages.local_shard import LocalShard
from stages.remote import Remote
from stages.remote_shard import RemoteShard
from stages.shard_cache import ShardCache
from stages.shard_file import ShardFile, Tar

COMING = 2  # shards fetched while one is read
SPLITS = ("train", "valid", "test")
MANIFEST, DUPLICATES, FIGURES = "dataset.json", "duplicates.csv", "figures"
SHARD_NAME = re.compile(r"[\w\-][\w\-.]*", re.ASCII)  # of no other folder


@dataclass(frozen=True)
class Sample:
    """One image of a shard: levels (C, H, W), uint8."""

    name: str
    levels: Tensor
    attributes: dict[str, bool]


class Record(NamedTuple):
    """One image on its way into a shard: levels (H, W, C)."""

    name: str
    levels: NDArray[np.uint8]
    attributes: dict[str, bool]
    label: int | None = None


def write_shard(file: Path, records: Iterable[Record]) -> dict[str, Any]:
    """Writes records as one tar, the same bytes for the same records.

    Returns:
        count and sha256 of the shard.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with wds.TarWriter(str(file), mtime=0, user="glow", group="glow", mode=0o644) as tar:
        for count, record in enumerate(records, start=1):
            label = {} if record.label is None else {"class": record.label}
            meta = {"name": record.name, "attributes": record.attributes, **label}
            tar.write(
                {
                    "__key__": f"{count - 1:08d}",
                    "levels.bin": record.levels.tobytes(),
                    "meta.json": json.dumps(meta, sort_keys=True).encode(),
                }
            )
    return {"count": count, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}


@dataclass(frozen=True)
class ShardSet:
    """Shards, as dataset.json describes them.

    Attributes:
        folder: of dataset.json and, unless they lie elsewhere, of the shards.
        manifest: the content of dataset.json.
        remote: where the shards lie, if not in the folder.
    """

    folder: Path
    manifest: dict[str, Any]
    remote: Remote | None = None

    @classmethod
    def open(cls, folder: Path) -> "ShardSet":
        """Reads dataset.json; the shards lie beside it, or where GLOW_SHARDS says.

        Raises:
            InputError: there is no dataset.json, it is damaged or names a shard as none is
                named, or GLOW_SHARDS is no such place.
        """
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            names = [name for split in manifest["splits"].values() for name in split["shards"]]
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(
                f"{folder} has no {MANIFEST}; `dvc repro preprocess` writes it"
            ) from None
        except (ValueError, TypeError, KeyError, AttributeError):
            raise InputError(
                f"{folder / MANIFEST} is damaged, expected the splits of a data set and their "
                "shards; `dvc repro --force preprocess` writes it anew"
            ) from None
        for name in names:
            if not SHARD_NAME.fullmatch(name):
                raise InputError(
                    f"{folder / MANIFEST} names a shard {name!r}, expected a name such as "
                    "train-000000.tar; `dvc repro --force preprocess` writes it anew"
                )
        return cls(folder, manifest, Remote.wanted())

    @property
    def image_size(self) -> int:
        """Side of the images."""
        return int(self.manifest["image_size"])

    @property
    def n_bits(self) -> int:
        """Bits per channel of the levels."""
        return int(self.manifest["n_bits"])

    @property
    def attribute_names(self) -> list[str]:
        """Attributes; each class is one, after all others."""
        return list(self.manifest["attributes"])

    @property
    def classes(self) -> list[str]:
        """Names of the classes, of which an image has one or none; often there are none."""
        return list(self.manifest.get("classes", []))

    @property
    def checksum(self) -> str:
        """Of the content of all shards."""
        return str(self.manifest["checksum"])

    def count(self, split: str) -> int:
        """Images in a split."""
        return int(self.manifest["splits"][split]["count"])

    def samples(self, split: str, *, epoch_seed: str | None = None) -> Iterator[Sample]:
        """Streams a split, each image once; with `epoch_seed`, its shards in a random order.

        Raises:
            InputError: a shard is missing, damaged, or has lost images.
        """
        shards = self.files(split)
        if epoch_seed is not None:
            random.Random(epoch_seed).shuffle(shards)
        for shard in shards:
            with closing(shard):
                yield from self._read(shard)

    def papers(self) -> list[Path]:
        """What is said about the images beside the shards: files, and a folder of pictures."""
        files = [self.folder / name for name in (MANIFEST, DUPLICATES, FIGURES)]
        return [file for file in files if file.exists()]

    @property
    def image_bytes(self) -> int:
        """H W C: one image's levels."""
        return 3 * self.image_size**2

    def check(self, split: str) -> None:
        """InputError where a shard is known to be missing."""
        for shard in self.files(split):
            shard.tar.check()

    def counts(self, split: str) -> list[int]:
        """Images in each shard of a split."""
        return [int(about["count"]) for about in self.manifest["splits"][split]["shards"].values()]

    def files(self, split: str) -> list[ShardFile]:
        """The shards of a split, to read by position."""
        tars = zip(self._tars(split), self.counts(split), strict=True)
        return [ShardFile(tar, count, self.image_bytes) for tar, count in tars]

    @property
    def cache(self) -> ShardCache:
        """Of shards that lie elsewhere."""
        return ShardCache.wanted()

    def _tars(self, split: str) -> Iterator[Tar]:
        cache = self.cache
        for name, about in self.manifest["splits"][split]["shards"].items():
            if self.remote is None:
                yield LocalShard(self.folder / split / name)
            else:
                yield RemoteShard(self.remote, cache, f"{split}/{name}", str(about["sha256"]))

    def load(
        self, split: str, limit: int | None = None, *, device: torch.device | None = None
    ) -> tuple[Tensor, Tensor]:
        """A split or its first images, on `device`.

        Returns:
            levels (N, C, H, W) uint8, and attributes (N, A) int8, as `glow/marks.py` has them,
            these always on the CPU.

        Raises:
            InputError: a shard is missing, damaged, or has lost images.
        """
        count, side = self._up_to(split, limit), self.image_size
        levels = torch.empty(count, 3, side, side, dtype=torch.uint8, device=device)
        present = torch.zeros(count, len(self.attribute_names), dtype=torch.int8)
        for start, shard, taken in self._shards(split, count):
            read = np.empty((taken, side, side, 3), np.uint8)
            for index in range(taken):
                shard.levels(index, read[index])
            part = torch.from_numpy(read).to(levels.device).permute(0, 3, 1, 2)
            levels[start : start + taken] = part
            present[start : start + taken] = self._attributes(shard, range(taken))
        return levels, present

    def batches(
        self, split: str, size: int, limit: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The same as `load`, in parts of at most `size` images, with only one part in memory."""
        side = self.image_size
        for _, shard, taken in self._shards(split, self._up_to(split, limit)):
            for start in range(0, taken, size):
                chosen = range(start, min(start + size, taken))
                read = np.empty((len(chosen), side, side, 3), np.uint8)
                for row, index in enumerate(chosen):
                    shard.levels(index, read[row])
                yield torch.from_numpy(read).permute(0, 3, 1, 2), self._attributes(shard, chosen)

    def attributes(self, split: str, limit: int | None = None) -> Tensor:
        """Which attributes images of a split have, (N, A) int8; all or as `load` takes."""
        parts = self._shards(split, self._up_to(split, limit))
        rows = [self._attributes(shard, range(taken)) for _, shard, taken in parts]
        return torch.cat([torch.zeros(0, len(self.attribute_names), dtype=torch.int8), *rows])

    def _attributes(self, shard: ShardFile, images: range) -> Tensor:
        names = self.attribute_names
        present = torch.full((len(images), len(names)), UNKNOWN, dtype=torch.int8)
        if not names:
            return present
        n_others = len(names) - len(self.classes)
        for row, meta in enumerate(map(shard.meta, images)):
            has = [meta.attributes.get(name, UNKNOWN) for name in names[:n_others]]
            present[row, :n_others] = torch.tensor(has, dtype=torch.int8)
            if meta.label is not None:
                present[row, n_others:] = 0
                present[row, n_others + meta.label] = 1
        return present

    def _up_to(self, split: str, limit: int | None) -> int:
        return min(self.count(split), limit or self.count(split))

    def _shards(self, split: str, count: int) -> Iterator[tuple[int, ShardFile, int]]:
        """Shards with the first `count` images: number of the first, and how many to take."""
        shards, start = self.files(split), 0
        with closing(Ahead()) as ahead:
            for number, shard in enumerate(shards):
                if start >= count:
                    break
                coming = shards[number + 1 : number + 1 + COMING]
                ahead.want([later.tar for later in coming if isinstance(later.tar, RemoteShard)])
                with closing(shard):
                    yield start, shard, min(shard.count, count - start)
                start += shard.count
        if self.remote is not None:
            self.cache.trim()

    def _read(self, shard: ShardFile) -> Iterator[Sample]:
        shape = (self.image_size, self.image_size, 3)
        found = 0
        try:
            with shard.stream() as stream:
                source = {"url": str(shard.tar), "stream": stream}
                for sample in group_by_keys(tar_file_expander([source])):
                    raw = np.frombuffer(bytearray(sample["levels.bin"]), np.uint8)
                    meta = json.loads(sample["meta.json"])
                    found += 1
                    pixels = torch.from_numpy(raw.reshape(shape)).permute(2, 0, 1)
                    attributes = meta["attributes"]
                    if "class" in meta:
                        of = enumerate(self.classes)
                        attributes |= {name: number == meta["class"] for number, name in of}
                    yield Sample(meta["name"], pixels, attributes)
        except (tarfile.TarError, ValueError, KeyError, EOFError) as error:
            raise shard.wrong(f"is damaged ({error})") from None
        if found != shard.count:
            raise shard.wrong(f"holds {found} images, expected {shard.count}")
