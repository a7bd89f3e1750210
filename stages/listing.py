"""All images of a source in the order of a hash of their names, cut into shards beforehand."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glow.apps.pictures import FORMATS
from stages.code import digest_of
from stages.params import DataParams, SplitParams
from stages.shards import SPLITS
from stages.sources.source import NOT_TEST, Entry

MAKERS = ("stages.makers", "stages.sources.choose")  # of shards; what describes them can change
PLUGINS = ("pillow-heif",) if "HEIF" in FORMATS else ()
LIBRARIES = ("numpy", "pillow", *PLUGINS)  # decode, resize and quantise
REACTIONS = {"on_error", "max_bad"}  # params that change no shard which could be finished


@dataclass(frozen=True)
class PlannedShard:
    """A shard to be made: its split, its file, and where its images are in the listing."""

    split: str
    name: str
    places: NDArray[np.int64]


@dataclass(frozen=True)
class Listing:
    """Images and the shards they are for, the same whoever makes them.

    Attributes:
        entries: as the source lists them.
        shards: of each split, in the order of a hash of the names: each is a random part.
    """

    entries: list[Entry]
    shards: list[PlannedShard]

    @classmethod
    def of(cls, listed: Iterable[Entry], data: DataParams) -> "Listing":
        """Cuts what a source lists into shards of `data.shard_size`."""
        entries = list(listed)
        hashes = np.fromiter((_hash(entry.name) for entry in entries), np.uint64, len(entries))
        order = np.argsort(hashes, kind="stable")
        numbers = np.fromiter(
            (SPLITS.index(split_of(entry, data.split)) for entry in entries),
            np.uint8,
            len(entries),
        )
        shards = []
        for number, split in enumerate(SPLITS):
            members = order[numbers[order] == number]
            for index, start in enumerate(range(0, len(members), data.shard_size)):
                places = members[start : start + data.shard_size]
                shards.append(PlannedShard(split, f"{split}-{index:06d}.tar", places))
        return cls(entries, shards)

    def members(self, shard: PlannedShard) -> list[Entry]:
        """The images of a shard."""
        return [self.entries[place] for place in shard.places.tolist()]

    def fingerprint(self, data: DataParams, seed: int, stamps: Iterable[str]) -> str:
        """A hash of all that decides the bytes of the shards.

        Args:
            data: of params.yaml; what is done about bad images decides nothing.
            seed: of params.yaml.
            stamps: of the files that are read, in any order.
        """
        digest = hashlib.sha256()
        about = [seed, data.model_dump(exclude=REACTIONS), digest_of(MAKERS, LIBRARIES)]
        digest.update(json.dumps(about, sort_keys=True).encode())
        for entry in self.entries:
            facts = (entry.name, entry.group, entry.split, entry.label, entry.attributes)
            digest.update(repr(facts).encode("utf-8", "surrogatepass"))
        total = sum(_hash(stamp) for stamp in stamps)
        digest.update(str(total).encode())
        return digest.hexdigest()[:16]


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
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8])
