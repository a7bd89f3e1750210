"""Training batches as a function of (seed, step): the same order on any number of ranks."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from glow.trainer import Batch
from stages.errors import InputError
from stages.labels import labels_of
from stages.shards import ShardSet


@dataclass
class Batches:
    """Batches of a training split that is held in memory, shuffled anew in every epoch.

    The global batch of a step is cut into equal parts, one per rank; the last images of an epoch
    that do not fill a batch wait for the next one's order.
    """

    levels: Tensor
    labels: Tensor | None
    batch_size: int
    seed: int
    rank: int
    world_size: int

    @classmethod
    def load(
        cls,
        shards: ShardSet,
        batch_size: int,
        *,
        classes: Sequence[str] = (),
        seed: int,
        rank: int,
        world_size: int,
        device: torch.device,
    ) -> "Batches":
        """Reads the training split; InputError where it is smaller than one batch."""
        if batch_size % world_size:
            raise InputError(
                f"train.batch_size is {batch_size}, expected a multiple of the {world_size} "
                "processes (GLOW_NPROC)"
            )
        if shards.count("train") < batch_size:
            raise InputError(
                f"the training split has {shards.count('train')} images, fewer than "
                f"train.batch_size = {batch_size}; add images or lower it"
            )
        levels, present = shards.load("train")
        labels = labels_of(classes, shards.attribute_names, present)
        if labels is not None:
            labels = labels.to(device)
        return cls(levels.to(device), labels, batch_size, seed, rank, world_size)

    def __call__(self, step: int) -> Batch:
        """This rank's B / ranks images of update number `step`."""
        per_epoch = len(self.levels) // self.batch_size
        epoch, index = divmod(step, per_epoch)
        start = index * self.batch_size
        order = self._order(epoch)[start : start + self.batch_size]
        part = self.batch_size // self.world_size
        mine = order[self.rank * part : (self.rank + 1) * part].to(self.levels.device)
        return Batch(self.levels[mine], None if self.labels is None else self.labels[mine])

    def _order(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        return torch.randperm(len(self.levels), generator=generator)
