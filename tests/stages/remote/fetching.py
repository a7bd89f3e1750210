"""Numbered images in shards that are fetched: how they are read, and what that asked for."""

import re
from collections import Counter
from pathlib import Path

import torch
from numbered import SIDE, numbers
from servers import Server

from stages.batches import Batches
from stages.shards import ShardSet

COUNTS = [7, 5, 9, 4, 8, 6, 3, 10, 7, 5]
BATCH = 4
WINDOW_BYTES = 12 * 3 * SIDE**2  # six windows
EPOCH = sum(COUNTS) // BATCH


def fetched(server: Server) -> Counter[str]:
    """How often each shard was asked for."""
    return Counter(re.findall(r'"GET /train/(\S+)', server.log.read_text()))


def kept(folder: Path) -> list[Path]:
    return list((folder / "cache").glob("*.tar"))


def open_batches(shards: ShardSet, rank: int = 0, world_size: int = 1, **more: int) -> Batches:
    return Batches.load(
        shards,
        BATCH,
        seed=1,
        rank=rank,
        world_size=world_size,
        device=torch.device("cpu"),
        window_bytes=WINDOW_BYTES,
        **more,
    )


def an_epoch(batches: Batches) -> list[int]:
    return [image for step in range(EPOCH) for image in numbers(batches(step).levels)]


def bytes_of(shards: ShardSet, count: int) -> int:
    """Of the largest shards."""
    sizes = sorted(file.stat().st_size for file in (shards.folder / "train").iterdir())
    return sum(sizes[-count:])
