"""A training split that is read from its shards as it is needed, by worker processes.

Workers fill page-locked memory, from where a batch travels to the GPU while the one before it is
trained on. What they read the operating system keeps as long as it has room, once for all ranks
and workers; a process holds a few batches, whatever the size of the split.
"""

import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing import active_children
from multiprocessing.process import BaseProcess
from threading import Timer
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from stages.errors import InputError, StageError
from stages.order import Order
from stages.reader import Reader

PORTION_BYTES = 4 * 2**20  # that a worker hands over at once: each hand-over takes 2 ms
PORTIONS_AHEAD = 2  # of each worker
ENDING_SECONDS = 1.0  # that workers have to end by themselves after an error


class Wanted(NamedTuple):
    """Of a worker: images by their numbers, and the shards to fetch meanwhile."""

    images: NDArray[np.int64]
    shards: list[int]


class _Portions(Dataset[Tensor | Exception]):
    """What workers do: the numbers of images to their levels (n, H, W, C).

    Trouble is returned, since an error raised in a worker arrives as the text of its traceback.
    """

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def __getitem__(self, wanted: Wanted) -> Tensor | Exception:
        try:
            self.reader.fetch_ahead(wanted.shards)
            return torch.from_numpy(self.reader.read(wanted.images))
        except (InputError, StageError, OSError) as error:
            return error


class StreamedLevels:
    """Batches read ahead by `workers` processes, or by this one where there are none.

    They end before update number `end`, so that nothing is waited for that nobody needs. Batches
    are asked for in the order of their steps; one out of turn, as the first after a resume, begins
    a new stream there without reading what comes before.
    """

    def __init__(
        self,
        reader: Reader,
        order: Order,
        device: torch.device,
        workers: int,
        end: int | None = None,
    ) -> None:
        self.reader, self.order, self.device, self.workers = reader, order, device, workers
        self.end = sys.maxsize if end is None else end
        self._stream: Iterator[Tensor] | None = None
        self._ahead: tuple[int, Tensor] | None = None
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None

    def part(self, step: int) -> Tensor:
        """This rank's part of the batch of update number `step`, (B / ranks, C, H, W).

        Raises:
            InputError: a shard is missing, damaged, or has lost images.
            StageError: a worker was killed, or a shard cannot be fetched or kept.
        """
        if self._ahead is None or self._ahead[0] != step:
            self.close()
            self._stream = self._begin(step)
            self._ahead = step, self._next()
        levels = self._ahead[1]
        if self._copies is not None:
            now = torch.cuda.current_stream(self.device)
            now.wait_stream(self._copies)
            levels.record_stream(now)
        self._ahead = (step + 1, self._next()) if step + 1 < self.end else None
        return levels

    def close(self) -> None:
        """Ends the workers."""
        self._stream = self._ahead = None
        self.reader.close()

    def _begin(self, first: int) -> Iterator[Tensor]:
        """This rank's parts of the batches from step `first` on, (b, H, W, C), in memory."""
        size = self.order.batch_size // self.order.world_size
        fit = max(1, PORTION_BYTES // (size * 3 * self.reader.side**2))
        steps = min(fit, self.order.steps_per_epoch)
        loader = DataLoader(
            _Portions(self.reader),
            batch_size=None,
            sampler=(self._wanted(start, steps) for start in range(first, self.end, steps)),
            num_workers=self.workers,
            prefetch_factor=PORTIONS_AHEAD if self.workers else None,
            pin_memory=self._copies is not None,
            multiprocessing_context="fork" if self.workers else None,
            worker_init_fn=_leave_the_group,
            generator=torch.Generator(),  # else it draws from the global one
        )
        # torch's handler would raise wherever the training is when a worker dies; without it a
        # dead worker is found where its batch is missed
        before, others = signal.getsignal(signal.SIGCHLD), active_children()
        portions = iter(loader)
        signal.signal(signal.SIGCHLD, before)
        workers = [child for child in active_children() if child not in others]
        try:
            while True:
                portion = _received(portions)
                if isinstance(portion, Exception):
                    raise portion
                yield from portion.split(size)
        except (Exception, SystemExit):
            # a worker may be waiting for a server; but one that is ended while it asks the loader
            # whether all is over keeps the lock that `del` needs first
            later = Timer(ENDING_SECONDS, _end, [workers])
            later.daemon = True
            later.start()
            raise
        finally:
            del portions  # ends the workers, even while an error keeps this frame

    def _wanted(self, start: int, steps: int) -> Wanted:
        end = min(start + steps, self.end)
        images = torch.cat([self.order.part(step) for step in range(start, end)]).numpy()
        return Wanted(images, self.order.shards_from(end - 1) if self.reader.fetches else [])

    def _next(self) -> Tensor:
        """(b, C, H, W) on the device, brought there beside what the device computes."""
        assert self._stream is not None
        with torch.cuda.stream(self._copies):
            there = next(self._stream).to(self.device, non_blocking=True)
            return there.permute(0, 3, 1, 2).contiguous()


def _received(portions: Iterator[Tensor | Exception]) -> Tensor | Exception:
    """The next portion; StageError where its worker is gone, before or while it hands over."""
    try:
        return next(portions)
    except (RuntimeError, OSError, EOFError) as error:
        how = (str(error) or type(error).__name__).splitlines()[0]
        raise StageError(
            f"a worker that reads shards ended ({how}); if memory was short, set GLOW_WORKERS "
            "lower, or to 0 to read without workers"
        ) from None


def _end(workers: list[BaseProcess]) -> None:
    for worker in workers:
        worker.terminate()


def _leave_the_group(_worker: int) -> None:
    """Keeps signals meant for the training from its workers: it ends them when it ends."""
    os.setpgrp()
