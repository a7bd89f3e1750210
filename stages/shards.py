"""WebDataset shards of quantised images: written by preprocess, read by everything else.

A sample is `<number>.levels.bin`, the raw uint8 levels (H, W, C) of one image, and
`<number>.meta.json`, its name, its attributes, and its class where the source has classes.
`dataset.json` beside the splits says how many there are and of what shape, so that a shard that
lost its end is noticed.
"""

import hashlib
import json
import random
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

from stages.errors import InputError
from stages.shard_file import REMEDY, ShardFile, missing

SPLITS = ("train", "valid", "test")
MANIFEST, DUPLICATES, FIGURES = "dataset.json", "duplicates.csv", "figures"


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
    """A folder of shards, as its dataset.json describes it."""

    folder: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> "ShardSet":
        """Reads dataset.json; InputError where there is none."""
        try:
            return cls(folder, json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(
                f"{folder} has no {MANIFEST}; `dvc repro preprocess` writes it"
            ) from None

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
        """Attributes that every image has; each class is one, after all others."""
        return list(self.manifest["attributes"])

    @property
    def classes(self) -> list[str]:
        """Names of the classes, of which every image has one; often none."""
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
        shards = list(self.manifest["splits"][split]["shards"].items())
        if epoch_seed is not None:
            random.Random(epoch_seed).shuffle(shards)
        for name, about in shards:
            yield from self._read(self.folder / split / name, int(about["count"]))

    def papers(self) -> list[Path]:
        """What is said about the images beside the shards: files, and a folder of pictures."""
        files = [self.folder / name for name in (MANIFEST, DUPLICATES, FIGURES)]
        return [file for file in files if file.exists()]

    @property
    def image_bytes(self) -> int:
        """H W C: one image's levels."""
        return 3 * self.image_size**2

    def check(self, split: str) -> None:
        """InputError where a shard is not there."""
        for shard in self.files(split):
            if not shard.file.is_file():
                raise missing(shard.file)

    def counts(self, split: str) -> list[int]:
        """Images in each shard of a split."""
        return [int(about["count"]) for about in self.manifest["splits"][split]["shards"].values()]

    def files(self, split: str) -> list[ShardFile]:
        """The shards of a split, to read by position."""
        names = self.manifest["splits"][split]["shards"]
        return [
            ShardFile(self.folder / split / name, count, self.image_bytes)
            for name, count in zip(names, self.counts(split), strict=True)
        ]

    def load(
        self, split: str, limit: int | None = None, *, device: torch.device | None = None
    ) -> tuple[Tensor, Tensor]:
        """A split or its first images, on `device`.

        Returns:
            levels (N, C, H, W) uint8, and attributes (N, A) bool, these always on the CPU.

        Raises:
            InputError: a shard is missing, damaged, or has lost images.
        """
        count, side = self._up_to(split, limit), self.image_size
        levels = torch.empty(count, 3, side, side, dtype=torch.uint8, device=device)
        present = torch.zeros(count, len(self.attribute_names), dtype=torch.bool)
        for start, shard, taken in self._shards(split, count):
            read = np.empty((taken, side, side, 3), np.uint8)
            for index in range(taken):
                shard.levels(index, read[index])
            part = torch.from_numpy(read).to(levels.device).permute(0, 3, 1, 2)
            levels[start : start + taken] = part
            present[start : start + taken] = self._attributes(shard, taken)
        return levels, present

    def attributes(self, split: str) -> Tensor:
        """Which attributes the images of a split have, (N, A) bool; raises as `load` does."""
        parts = self._shards(split, self.count(split))
        rows = [self._attributes(shard, taken) for _, shard, taken in parts]
        return torch.cat([torch.zeros(0, len(self.attribute_names), dtype=torch.bool), *rows])

    def _attributes(self, shard: ShardFile, taken: int) -> Tensor:
        names = self.attribute_names
        if not names:
            return torch.zeros(taken, 0, dtype=torch.bool)
        present = torch.zeros(taken, len(names), dtype=torch.bool)
        n_others = len(names) - len(self.classes)
        for index in range(taken):
            meta = shard.meta(index)
            has = [meta.attributes[name] for name in names[:n_others]]
            present[index, :n_others] = torch.tensor(has, dtype=torch.bool)
            if meta.label is not None:
                present[index, n_others + meta.label] = True
        return present

    def _up_to(self, split: str, limit: int | None) -> int:
        return min(self.count(split), limit or self.count(split))

    def _shards(self, split: str, count: int) -> Iterator[tuple[int, ShardFile, int]]:
        """Shards with the first `count` images: number of the first, and how many to take."""
        start = 0
        for shard in self.files(split):
            if start < count:
                with closing(shard):
                    yield start, shard, min(shard.count, count - start)
            start += shard.count

    def _read(self, shard: Path, expected: int) -> Iterator[Sample]:
        if not shard.is_file():
            raise missing(shard)
        shape = (self.image_size, self.image_size, 3)
        found = 0
        try:
            # every rank reads all of it: who trains on what is Batches' matter
            for sample in wds.WebDataset(
                str(shard), shardshuffle=False, empty_check=False, nodesplitter=None
            ):
                levels = np.frombuffer(bytearray(sample["levels.bin"]), np.uint8).reshape(shape)
                meta = json.loads(sample["meta.json"])
                found += 1
                pixels = torch.from_numpy(levels).permute(2, 0, 1)
                attributes = meta["attributes"]
                for number, name in enumerate(self.classes):
                    attributes[name] = number == meta["class"]
                yield Sample(meta["name"], pixels, attributes)
        except (tarfile.TarError, ValueError, KeyError, EOFError) as error:
            raise InputError(f"shard {shard} is damaged ({error}); {REMEDY}") from None
        if found != expected:
            raise InputError(f"shard {shard} holds {found} images, expected {expected}; {REMEDY}")
