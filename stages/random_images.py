"""Random training images, for classifiers: in memory that does not grow with their number."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from stages.reader import Reader
from stages.shards import ShardSet


def random_images(
    shards: ShardSet, steps: int, size: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Levels and marks (n, A) of random images, each image once before any comes again.

    Args:
        shards: whose training split.
        steps: batches.
        size: images in each.
        seed: of their order.
    """
    present, reader = shards.attributes("train"), Reader(shards, "train")
    random = np.random.default_rng(seed)
    waiting = np.empty(0, np.int64)
    for _ in range(steps):
        while len(waiting) < size:
            waiting = np.concatenate([waiting, random.permutation(len(present))])
        chosen, waiting = waiting[:size], waiting[size:]
        levels = torch.from_numpy(reader.read(chosen)).permute(0, 3, 1, 2)
        yield levels, present[torch.from_numpy(chosen)]
    reader.close()
