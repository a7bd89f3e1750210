"""Images of a split by their numbers, read from its shards."""

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from stages.ahead import Ahead
from stages.remote_shard import RemoteShard
from stages.shard_file import ShardFile
from stages.shards import ShardSet

MAX_OPEN = 256  # shards at a time, below the usual limit of 1024 files of a process


class Reader:
    """Reads images in any order, from few files at a time.

    Args:
        shards: whose images.
        split: of them.

    Attributes:
        fetches: whether shards lie elsewhere.
    """

    def __init__(self, shards: ShardSet, split: str) -> None:
        self.side = shards.image_size
        self.files = shards.files(split)
        self._ends = np.cumsum(shards.counts(split))
        self._open: OrderedDict[int, ShardFile] = OrderedDict()
        self._remote, self._cache, self._ahead = shards.remote, shards.cache, Ahead()
        self.fetches = shards.remote is not None

    def read(self, images: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Levels (n, H, W, C) of the images of these numbers (n,).

        Raises:
            InputError: a shard is missing, damaged, or has lost images.
            StageError: it lies elsewhere, and cannot be fetched or kept.
        """
        levels = np.empty((len(images), self.side, self.side, 3), np.uint8)
        shards = np.searchsorted(self._ends, images, side="right")
        for row in np.argsort(shards, kind="stable").tolist():  # each shard is opened once
            number = int(shards[row])
            shard = self._shard(number)
            shard.levels(int(images[row] - self._ends[number]) + shard.count, levels[row])
        if self.fetches:
            self._close_files()
            self._cache.trim()
        return levels

    def fetch_ahead(self, shards: list[int]) -> None:
        """Begins to fetch shards that will be needed, in this order."""
        tars = [self.files[number].tar for number in shards]
        self._ahead.want([tar for tar in tars if isinstance(tar, RemoteShard)])

    def close(self) -> None:
        """Closes files and connections; they are opened again when they are needed."""
        self._close_files()
        self._ahead.close()
        if self._remote is not None:
            self._remote.close()

    def _close_files(self) -> None:
        for shard in self._open.values():
            shard.close()
        self._open.clear()

    def _shard(self, number: int) -> ShardFile:
        shard = self.files[number]
        self._open[number] = shard
        self._open.move_to_end(number)
        if len(self._open) > (1 if self.fetches else MAX_OPEN):  # what is open stays in the cache
            self._open.popitem(last=False)[1].close()
        return shard
