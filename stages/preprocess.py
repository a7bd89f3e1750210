"""DVC stage `preprocess`: images -> WebDataset shards of quantised levels."""

import hashlib
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from glow import to_levels
from glow.apps.pictures import UnreadableImage
from stages.environment import number
from stages.errors import InputError, run
from stages.outputs import fresh_folder, write_json
from stages.params import DataParams, SplitParams, load_params
from stages.progress import Advance, progress
from stages.shards import MANIFEST, SPLITS, Record, write_shard
from stages.sources.choose import make_source
from stages.sources.source import NOT_TEST, Entry, Source

Read = tuple[Entry, NDArray[np.uint8] | None, dict[str, bool], str]
CHUNK = 32  # images handed to a process at a time


@dataclass
class Report:
    """What preprocess saw on its way."""

    skipped: dict[str, str] = field(default_factory=dict)
    positives: Counter[str] = field(default_factory=Counter)


def split_of(entry: Entry, shares: SplitParams) -> str:
    """The split that the source settles, else one by a hash of the name: no image ever moves."""
    if entry.split not in (None, NOT_TEST):
        return entry.split
    position = _hash(entry.group) / 2**64
    test = 0.0 if entry.split == NOT_TEST else shares.test
    if position < test:
        return "test"
    return "valid" if position < test + shares.valid else "train"


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def _read(source: Source, n_bits: int, entry: Entry) -> Read:
    try:
        image = source.read(entry)
    except UnreadableImage as error:
        return entry, None, {}, str(error)
    return entry, to_levels(image.pixels, n_bits), image.attributes, ""


def _good_ones(
    reads: Iterator[Read],
    classes: tuple[str, ...],
    data: DataParams,
    report: Report,
    advance: Advance,
) -> Iterator[Record]:
    for entry, levels, attributes, trouble in reads:
        advance()
        if levels is None:
            if data.on_error == "raise":
                raise InputError(f"{entry.name}: {trouble}; remove it, or set data.on_error: skip")
            report.skipped[entry.name] = trouble
            continue
        report.positives.update(name for name, present in attributes.items() if present)
        if entry.label is not None:
            report.positives[classes[entry.label]] += 1
        yield Record(entry.name, levels, attributes, entry.label)


def preprocess(data: DataParams, seed: int, folder: Path) -> dict[str, Any]:
    """Writes all shards of a data set, the same bytes for any number of processes.

    Images stand in the order of a hash of their names, so that every shard is a random part.

    Returns:
        The content of dataset.json.
    """
    source = make_source(data, seed)
    entries = sorted(source.entries(), key=lambda entry: (_hash(entry.name), entry.name))
    by_split = {
        split: [entry for entry in entries if split_of(entry, data.split) == split]
        for split in SPLITS
    }
    report = Report()
    splits: dict[str, Any] = {}
    with (
        multiprocessing.get_context("spawn").Pool(_processes(len(entries))) as pool,
        progress("preprocess", len(entries), "images") as advance,
    ):
        for split, members in by_split.items():
            reads = pool.imap(partial(_read, source, data.n_bits), members, chunksize=CHUNK)
            good = _good_ones(reads, source.classes, data, report, advance)
            splits[split] = _write_split(folder / split, good, data.shard_size)
    empty = [split for split, about in splits.items() if not about["count"]]
    if empty:
        raise InputError(
            f"no image fell to the split {', '.join(empty)} of {len(entries)} images; "
            "add images or raise its share in data.split"
        )
    checksum = hashlib.sha256()
    for split in splits.values():
        checksum.update("".join(shard["sha256"] for shard in split["shards"].values()).encode())
    total = sum(split["count"] for split in splits.values())
    names = (*source.attribute_names, *source.classes)
    return {
        "source": data.source,
        "credit": source.credit,
        "image_size": data.image_size,
        "channels": 3,
        "n_bits": data.n_bits,
        "attributes": {name: report.positives[name] / total for name in names},
        **({"classes": list(source.classes)} if source.classes else {}),
        "splits": splits,
        "skipped": dict(sorted(report.skipped.items())),
        "checksum": checksum.hexdigest(),
    }


def _write_split(folder: Path, samples: Iterator[Record], size: int) -> dict[str, Any]:
    shards: dict[str, Any] = {}
    batch = _take(samples, size)
    while batch:
        name = f"{folder.name}-{len(shards):06d}.tar"
        shards[name] = write_shard(folder / name, batch)
        batch = _take(samples, size)
    return {"count": sum(shard["count"] for shard in shards.values()), "shards": shards}


def _take(samples: Iterator[Record], size: int) -> list[Record]:
    return [sample for _, sample in zip(range(size), samples, strict=False)]


def _processes(n_images: int) -> int:
    """As many as there are cores to run on (GLOW_WORKERS overrides), fewer for few images."""
    wanted = number("GLOW_WORKERS", "a number of processes, 0 for one per core")
    cores = wanted or len(os.sched_getaffinity(0))
    return max(1, min(cores, n_images // CHUNK))


def command(
    shards: Annotated[Path, typer.Argument(help="folder to write, data/shards in dvc.yaml")],
) -> None:
    """Turn the images of `data.source` into shards of quantised levels.

    Example: python -m stages.preprocess data/shards
    """
    params = load_params()
    with fresh_folder(shards) as folder:
        write_json(folder / MANIFEST, preprocess(params.data, params.seed, folder))


if __name__ == "__main__":
    run(lambda: typer.run(command))
