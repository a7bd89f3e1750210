"""WebDataset shards of quantised images: written by preprocess, read by everything else.

A sample is `<number>.levels.bin`, the raw uint8 levels (H, W, C) of one image, and
`<number>.meta.json`, its name and attributes. `dataset.json` beside the splits says how many
there are and of what shape, so that a shard that lost its end is noticed.
"""

import hashlib
import json
import random
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset as wds
from numpy.typing import NDArray
from torch import Tensor

from stages.errors import InputError

SPLITS = ("train", "valid", "test")
MANIFEST = "dataset.json"


@dataclass(frozen=True)
class Sample:
    """One image of a shard: levels (C, H, W), uint8."""

    name: str
    levels: Tensor
    attributes: dict[str, bool]


def write_shard(
    file: Path, samples: Iterable[tuple[str, NDArray[np.uint8], dict[str, bool]]]
) -> dict[str, Any]:
    """Writes (name, levels HWC, attributes) as one tar, the same bytes for the same samples.

    Returns:
        count and sha256 of the shard.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with wds.TarWriter(str(file), mtime=0, user="glow", group="glow", mode=0o644) as tar:
        for count, (name, levels, attributes) in enumerate(samples, start=1):
            meta = json.dumps({"name": name, "attributes": attributes}, sort_keys=True)
            tar.write(
                {
                    "__key__": f"{count - 1:08d}",
                    "levels.bin": levels.tobytes(),
                    "meta.json": meta.encode(),
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
        """Attributes that every image has."""
        return list(self.manifest["attributes"])

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

    def load(self, split: str, limit: int | None = None) -> tuple[Tensor, Tensor]:
        """A split or its first images: levels (N, C, H, W) uint8, attributes (N, A) bool."""
        count = min(self.count(split), limit or self.count(split))
        levels = torch.empty(count, 3, self.image_size, self.image_size, dtype=torch.uint8)
        attributes = torch.zeros(count, len(self.attribute_names), dtype=torch.bool)
        for index, sample in zip(range(count), self.samples(split), strict=False):
            levels[index] = sample.levels
            row = [sample.attributes[name] for name in self.attribute_names]
            attributes[index] = torch.tensor(row, dtype=torch.bool)
        return levels, attributes

    def _read(self, shard: Path, expected: int) -> Iterator[Sample]:
        remedy = "`dvc checkout data/shards` or `dvc repro --force preprocess` restores it"
        if not shard.is_file():
            raise InputError(f"shard {shard} is missing; {remedy}")
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
                yield Sample(meta["name"], pixels, meta["attributes"])
        except (tarfile.TarError, ValueError, KeyError, EOFError) as error:
            raise InputError(f"shard {shard} is damaged ({error}); {remedy}") from None
        if found != expected:
            raise InputError(f"shard {shard} holds {found} images, expected {expected}; {remedy}")
