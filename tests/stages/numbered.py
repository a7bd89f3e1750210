"""Shards of images that hold nothing but their number, quickly written."""

from pathlib import Path

import numpy as np
from torch import Tensor

from stages.outputs import write_json
from stages.shards import MANIFEST, Record, ShardSet, write_shard

SIDE = 4
COUNTS = [7, 5, 9, 4, 8]
TOTAL = sum(COUNTS)


def numbered(folder: Path, counts: list[int] = COUNTS, side: int = SIDE) -> ShardSet:
    """A training split of so many images in each shard; every third image is `Odd`."""
    shards, number = {}, 0
    for index, count in enumerate(counts):
        name = f"train-{index:06d}.tar"
        samples = [
            Record(f"{image}", np.full((side, side, 3), image, np.uint8), {"Odd": image % 3 == 0})
            for image in range(number, number + count)
        ]
        shards[name] = write_shard(folder / "train" / name, samples)
        number += count
    manifest = {
        "image_size": side,
        "n_bits": 8,
        "attributes": {"Odd": 1 / 3},
        "splits": {"train": {"count": number, "shards": shards}},
        "checksum": "numbered",
    }
    write_json(folder / MANIFEST, manifest)
    return ShardSet.open(folder)


def numbers(levels: Tensor) -> list[int]:
    """Which images these are."""
    return [int(image.unique().item()) for image in levels]
