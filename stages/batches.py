"""Training batches as a function of (seed, step): the same on any number of ranks.

A split that fits is held on the device; a larger one is streamed by worker processes. That is a
matter of the machine (`GLOW_CACHE_BYTES`, `GLOW_WORKERS`), not of params.yaml: the batches are
the same.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import psutil  # type: ignore[import-untyped]  # has no types
import torch
from torch import Tensor

from glow.augment import Augmentation
from glow.trainer import Batch
from stages.cached import CachedLevels
from stages.counts import check_batch
from stages.environment import number
from stages.errors import InputError
from stages.labels import check_all_come, labels_of
from stages.order import WINDOW_BYTES, Order
from stages.reader import Reader
from stages.shards import ShardSet
from stages.stream import StreamedLevels

WORKERS = 2  # per rank, where there are cores for them


class Levels(Protocol):
    """Where batches come from."""

    order: Order

    def part(self, step: int) -> Tensor:
        """This rank's levels of update number `step`, (B / ranks, C, H, W), on the device."""

    def close(self) -> None:
        """Lets go of files and processes."""


@dataclass
class Batches:
    """This rank's part of the batch of any step, moved as the augmentation says.

    Attributes:
        source: of the levels, held or streamed.
        labels: of all images of the split, (N,), int64, or None where there are no classes.
        augmentation: of the images.
        device: where batches are.
    """

    source: Levels
    labels: Tensor | None
    augmentation: Augmentation
    device: torch.device

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
        flip: bool = False,
        shift: float = 0.0,
        window_bytes: int = WINDOW_BYTES,
        steps: int | None = None,
    ) -> "Batches":
        """The training split, read now if it is held and later if it is streamed.

        Labels are read now in either case, so that one that is missing is known at once. Where
        it is known that only so many `steps` are taken, no shard is fetched for those after them.

        Raises:
            InputError: the split is smaller than a batch or lacks a class, a batch does not part
                into ranks, or a shard is missing, damaged, or has lost images.
            StageError: a shard lies elsewhere, and cannot be fetched or kept.
        """
        if batch_size % world_size:
            raise InputError(
                f"train.batch_size is {batch_size}, expected a multiple of the {world_size} "
                "processes (GLOW_NPROC)"
            )
        check_batch(shards.count("train"), batch_size)
        shards.check("train")
        window = max(1, window_bytes // shards.image_bytes)
        order = Order(shards.counts("train"), window, batch_size, seed, rank, world_size)
        source: Levels
        if shards.count("train") * shards.image_bytes <= _room(device):
            levels, present = shards.load("train", device=device)
            source = CachedLevels(levels, order)
        else:
            present = shards.attributes("train") if classes else torch.zeros(0, 0)
            source = StreamedLevels(Reader(shards, "train"), order, device, _workers(), steps)
        labels = labels_of(classes, shards.attribute_names, present)
        if labels is not None:
            check_all_come(classes, labels)
            labels = labels.to(device)
        return cls(source, labels, Augmentation(flip=flip, shift=shift), device)

    def __call__(self, step: int) -> Batch:
        """This rank's B / ranks images of update number `step`."""
        order, labels = self.source.order, self.labels
        levels = self.source.part(step)
        if not self.augmentation.does_nothing:
            side = levels.shape[-1]
            moves = self.augmentation.moves(order.batch_size, side, seed=order.seed, step=step)
            levels = moves[order.mine](levels)
        if labels is not None:
            labels = labels[order.part(step).to(self.device, non_blocking=True)]
        return Batch(levels, labels)

    def close(self) -> None:
        """Ends workers, if there are any; batches asked for later begin them anew."""
        self.source.close()


def _room(device: torch.device) -> int:
    """Bytes that a held split may take: GLOW_CACHE_BYTES, or a quarter of what is free there."""
    wanted = number("GLOW_CACHE_BYTES", "a number of bytes")
    if wanted is not None:
        return wanted
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 4
    return int(psutil.virtual_memory().available) // 4 // _ranks_here()


def _workers() -> int:
    """Worker processes of this rank: GLOW_WORKERS, or 2 where the ranks leave cores for them."""
    wanted = number("GLOW_WORKERS", "a number of processes, 0 for none")
    if wanted is not None:
        return wanted
    spare = len(os.sched_getaffinity(0)) // _ranks_here() - 1
    return max(0, min(WORKERS, spare))


def _ranks_here() -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))
