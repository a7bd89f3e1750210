"""Images of a split by their numbers, read from its shards."""

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from stages.shard_file import ShardFile
from stages.shards import ShardSet

MAX_OPEN = 256  # shards at a time, below the usual limit of 1024 files of a process


class Reader:
    """Reads images in any order, from few files at a time.

    Args:
        shards: whose images.
        split: of them.
    """

    def __init__(self, shards: ShardSet, split: str) -> None:
        self.side = shards.image_size
        self.files = shards.files(split)
        self._ends = np.cumsum(shards.counts(split))
        self._open: OrderedDict[int, ShardFile] = OrderedDict()

    def read(self, images: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Levels (n, H, W, C) of the images of these numbers (n,).

        Raises:
            InputError: a shard is missing, damaged, or has lost images.
        """
        levels = np.empty((len(images), self.side, self.side, 3), np.uint8)
        shards = np.searchsorted(self._ends, images, side="right")
        for row, (image, number) in enumerate(zip(images.tolist(), shards.tolist(), strict=True)):
            shard = self._shard(number)
            shard.levels(image - int(self._ends[number]) + shard.count, levels[row])
        return levels

    def close(self) -> None:
        """Closes the files; they are opened again when they are needed."""
        for shard in self._open.values():
            shard.close()
        self._open.clear()

    def _shard(self, number: int) -> ShardFile:
        shard = self.files[number]
        self._open[number] = shard
        self._open.move_to_end(number)
        if len(self._open) > MAX_OPEN:
            self._open.popitem(last=False)[1].close()
        return shard
