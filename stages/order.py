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
        generator = self._generator(number)
        windows = self._windows(generator)
        if len(windows) == 1:
            return torch.randperm(sum(self.counts), generator=generator)
        sizes = torch.tensor(self.counts)
        first = sizes.cumsum(0) - sizes
        parts = []
        for window in windows:
            images = torch.cat(
                [first[shard] + torch.arange(self.counts[shard]) for shard in window]
            )
            parts.append(images[torch.randperm(len(images), generator=generator)])
        return torch.cat(parts)

    def shards_from(self, step: int) -> list[int]:
        """Shards of the window in which update number `step` ends, and of the window after it."""
        epoch, index = divmod(step, self.steps_per_epoch)
        last = (index + 1) * self.batch_size - 1
        here, there = (self._windows(self._generator(epoch + more)) for more in (0, 1))
        number = -1
        while last >= 0:
            number += 1
            last -= sum(self.counts[shard] for shard in here[number])
        return list(dict.fromkeys([*here[number], *[*here, *there][number + 1]]))

    def _generator(self, epoch: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)

    def _windows(self, generator: torch.Generator) -> list[list[int]]:
        """The shards of an epoch, in its order, cut into windows."""
        total = sum(self.counts)
        n_windows = -(-total // self.window)
        if n_windows == 1:
            return [list(range(len(self.counts)))]
        sizes = torch.tensor(self.counts)
        shards = torch.randperm(len(sizes), generator=generator)
        before = sizes[shards].cumsum(0) - sizes[shards]
        window_of = before * n_windows // total
        return [shards[window_of == window].tolist() for window in window_of.unique()]
