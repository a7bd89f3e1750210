"""Which images make which batch: a function of (seed, step), of the shards, and of nothing else.

The images of an epoch are shuffled within windows. The shards, in a random order, are cut into
windows of about equal size, and the images of a window are shuffled together. So a reader stays
within few shards at a time, of which the operating system keeps one copy for all processes, and
a split of one window is shuffled as a whole.

The order knows neither the machine nor how images are read nor the number of ranks, so a
training goes on elsewhere as if nothing had happened.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

WINDOW_BYTES = 512 * 2**20  # of levels: 174,762 images of 32x32, 2,730 of 256x256


@dataclass
class Order:
    """The order of a split, cut into batches and these into equal parts, one per rank.

    The last images of an epoch that do not fill a batch wait for the next one's order.

    Attributes:
        counts: images in each shard.
        window: images that are shuffled together, about.
        batch_size: B, of all ranks together.
        seed: of the order.
        rank: whose parts these are, from 0.
        world_size: number of ranks; divides B.
    """

    counts: list[int]
    window: int
    batch_size: int
    seed: int
    rank: int = 0
    world_size: int = 1
    _epochs: dict[int, Tensor] = field(default_factory=dict, repr=False)

    @property
    def mine(self) -> slice:
        """This rank's part of a batch."""
        part = self.batch_size // self.world_size
        return slice(self.rank * part, (self.rank + 1) * part)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches of an epoch."""
        return sum(self.counts) // self.batch_size

    def part(self, step: int) -> Tensor:
        """This rank's images of update number `step`, (B / ranks,): numbers within the split."""
        epoch, index = divmod(step, self.steps_per_epoch)
        if epoch not in self._epochs:
            if len(self._epochs) > 1:  # who reads ahead and who does not share the order
                del self._epochs[next(iter(self._epochs))]
            self._epochs[epoch] = self.epoch(epoch)
        start = index * self.batch_size
        return self._epochs[epoch][start : start + self.batch_size][self.mine]

    def epoch(self, number: int) -> Tensor:
        """All images of the split, (N,), in the order of an epoch."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        total = sum(self.counts)
        n_windows = -(-total // self.window)
        if n_windows == 1:
            return torch.randperm(total, generator=generator)
        sizes = torch.tensor(self.counts)
        first = sizes.cumsum(0) - sizes
        shards = torch.randperm(len(sizes), generator=generator)
        before = sizes[shards].cumsum(0) - sizes[shards]
        window_of = before * n_windows // total
        windows = []
        for window in window_of.unique():
            inside = shards[window_of == window].tolist()
            images = torch.cat(
                [first[shard] + torch.arange(self.counts[shard]) for shard in inside]
            )
            windows.append(images[torch.randperm(len(images), generator=generator)])
        return torch.cat(windows)
