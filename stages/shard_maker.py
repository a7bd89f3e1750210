"""One shard, made in one process: read, quantise, write, remember."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glow import to_levels
from glow.apps.pictures import UnreadableImage
from glow.atomic import sync_file
from glow.marks import UNKNOWN
from stages.errors import InputError
from stages.listing import PlannedShard
from stages.looks import LOOK, looks
from stages.shards import Record, write_shard
from stages.sources.source import Entry, RawImage, Source
from stages.unfinished import Made, Unfinished

LOOK_BYTES = 2**20  # of images that are looked at together


@dataclass(frozen=True)
class Order:
    """A shard to make.

    Attributes:
        source: reads its images.
        attributes: of the source, which to ask in each process would list all of it there again.
        classes: likewise.
        n_bits: of the levels.
        stop_at_bad: whether an image that cannot be read stops it.
        shard: which one.
        entries: its images.
        into: where it belongs.
        known_bad: reasons of images not to be read, by their number in the shard.
    """

    source: Source
    attributes: tuple[str, ...]
    classes: tuple[str, ...]
    n_bits: int
    stop_at_bad: bool
    shard: PlannedShard
    entries: list[Entry]
    into: Unfinished
    known_bad: dict[int, str] = field(default_factory=dict)


def make_shard(order: Order) -> None:
    """Makes a shard and keeps it as finished.

    Raises:
        InputError: an image cannot be read, and that is to stop it.
        OSError: the disk is full.
    """
    file = order.into.file(order.shard)
    file.parent.mkdir(exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    seen = _Seen(order.n_bits, order.attributes, order.classes)
    try:
        about = write_shard(partial, _records(order, seen))
        size = partial.stat().st_size if about["count"] else 0
        if size:
            sync_file(partial)
            partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    made = Made(**about, size=size, skipped=seen.skipped, **seen.counted())
    order.into.keep(order.shard, made, seen.looks())


def stopped_by(name: str, trouble: str) -> InputError:
    """What is raised for an image that stops the stage."""
    return InputError(f"{name}: {trouble}; remove it, or set data.on_error: skip")


@dataclass
class _Seen:
    """What is learnt of the images of a shard."""

    n_bits: int
    attributes: tuple[str, ...]
    classes: tuple[str, ...]
    skipped: dict[str, str] = field(default_factory=dict)
    _labels: list[int] = field(default_factory=list)
    _marks: list[list[int]] = field(default_factory=list)
    _looks: list[NDArray[np.void]] = field(default_factory=list)
    _next: list[NDArray[np.uint8]] = field(default_factory=list)

    def add(self, record: Record) -> None:
        if record.label is not None:
            self._labels.append(record.label)
        self._marks.append([record.attributes.get(name, UNKNOWN) for name in self.attributes])
        self._next.append(record.levels)
        if len(self._next) * record.levels.nbytes >= LOOK_BYTES:
            self._look()

    def counted(self) -> dict[str, Any]:
        """The counts of `Made`, but for that of images."""
        marks = np.array(self._marks, np.int64).reshape(len(self._marks), len(self.attributes))
        has, is_known = (marks > 0).astype(np.int64), (marks > UNKNOWN).astype(np.int64)
        of_classes = np.bincount(self._labels, minlength=len(self.classes)).tolist()
        names = (*self.attributes, *self.classes)
        positives = has.sum(axis=0).tolist() + of_classes
        known = is_known.sum(axis=0).tolist() + [len(self._labels)] * len(self.classes)
        return {
            "positives": dict(zip(names, positives, strict=True)),
            "known": dict(zip(names, known, strict=True)),
            "together": (has.T @ has).tolist(),
            "comparable": (has.T @ is_known).tolist(),
        }

    def looks(self) -> NDArray[np.void]:
        self._look()
        return np.concatenate([np.empty(0, LOOK), *self._looks])

    def _look(self) -> None:
        self._looks.append(looks(self._next, self.n_bits))
        self._next.clear()


def _records(order: Order, seen: _Seen) -> Iterator[Record]:
    """Images that can be read; the number of the one being read outlives this process."""
    position = os.open(order.into.position_file(order.shard), os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        for index, entry in enumerate(order.entries):
            os.pwrite(position, index.to_bytes(8, "little"), 0)
            raw, trouble = _read(order, index, entry)
            if raw is None:
                if order.stop_at_bad:
                    raise stopped_by(entry.name, trouble)
                seen.skipped[entry.name] = trouble
                continue
            levels = to_levels(raw.pixels, order.n_bits)
            record = Record(entry.name, levels, raw.attributes, entry.label)
            seen.add(record)
            yield record
        os.pwrite(position, len(order.entries).to_bytes(8, "little"), 0)
    finally:
        os.close(position)


def _read(order: Order, index: int, entry: Entry) -> tuple[RawImage | None, str]:
    if index in order.known_bad:
        return None, order.known_bad[index]
    try:
        return order.source.read(entry), ""
    except UnreadableImage as error:
        return None, str(error)
    except OSError as error:
        return None, f"expected a readable file, came an error: {error.strerror or error}"
    except MemoryError:
        return None, "expected an image that fits into memory, came a larger one"
