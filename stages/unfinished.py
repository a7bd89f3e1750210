"""Shards that are finished while the data set is not: outside of DVC's outputs, to go on from."""

import errno
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glow.atomic import make_folder, sync_folder, write_atomically
from stages.copies import copy_file
from stages.listing import PlannedShard
from stages.looks import LOOK
from stages.outputs import fresh_folder
from stages.workplace import Workplace

UNFINISHED = Path(".cache/preprocess")
KEPT = 2  # data sets that were begun and are not the one that is made


@dataclass(frozen=True)
class Made:
    """What is known of a shard that is finished.

    Attributes:
        count: of its images; 0 where none could be read, and then there is no file.
        sha256: of the file.
        size: of the file, in bytes.
        skipped: images that could not be read, and why.
        positives: by attribute or class, the images that have it.
        known: by attribute or class, the images of which it is known whether they have it.
        together: by attribute and attribute, the images that have both.
        comparable: likewise those that have the first, of which the second is known.
    """

    count: int
    sha256: str
    size: int
    skipped: dict[str, str]
    positives: dict[str, int]
    known: dict[str, int]
    together: list[list[int]]
    comparable: list[list[int]]


@dataclass(frozen=True)
class Unfinished:
    """The shards of a data set that is being made.

    Attributes:
        shards: what becomes data/shards.
        journal: of the finished ones, what is known of them; and how far the others are.
    """

    shards: Path
    journal: Path

    @classmethod
    @contextmanager
    def open(cls, fingerprint: str) -> Iterator["Unfinished"]:
        """In `.cache/preprocess/<fingerprint>` of the main checkout, locked; waits for the lock.

        What other params or files left there long ago is removed, with a line that says so.
        """
        place = Workplace(UNFINISHED, fingerprint, "makes the same shards")
        with place.taken():
            place.remove_old(KEPT, "shards that other params or files began and did not finish")
            yield cls.at(place.folder)

    @classmethod
    def at(cls, folder: Path) -> "Unfinished":
        """In a folder of one's own."""
        unfinished = cls(folder / "shards", folder / "journal")
        make_folder(unfinished.shards)
        make_folder(unfinished.journal)
        for pattern in ("*.tmp", "*.position"):  # of processes that were killed
            for left_behind in folder.rglob(pattern):
                left_behind.unlink(missing_ok=True)
        return unfinished

    def file(self, shard: PlannedShard) -> Path:
        """The tar."""
        return self.shards / shard.split / shard.name

    def position_file(self, shard: PlannedShard) -> Path:
        """Says which image of a shard is being read."""
        return self.journal / f"{shard.name}.position"

    def position(self, shard: PlannedShard) -> int | None:
        """The image of a shard that is being read, or was when its process died."""
        return _number(self.position_file(shard))

    def positions(self) -> list[int]:
        """How many images of each unfinished shard are read."""
        return [_number(file) or 0 for file in self.journal.glob("*.position")]

    def keep(self, shard: PlannedShard, made: Made, looks: NDArray[np.void]) -> None:
        """Remembers a shard as finished; OSError where the disk is full."""
        stream = BytesIO()
        np.save(stream, looks)
        write_atomically(self._looks(shard), stream.getvalue())
        write_atomically(self._made(shard), json.dumps(asdict(made)).encode())
        self.position_file(shard).unlink(missing_ok=True)

    def made(self, shard: PlannedShard) -> Made | None:
        """What is known of a shard; None where it is not finished, or not all of it is there."""
        try:
            made = Made(**json.loads(self._made(shard).read_bytes()))
            size = self.file(shard).stat().st_size if made.count else 0
            whole = size == made.size and len(self.looks(shard)) == made.count
        except (FileNotFoundError, ValueError, TypeError, EOFError):
            return None
        return made if whole else None

    def looks(self, shard: PlannedShard) -> NDArray[np.void]:
        """Of the images of a finished shard, in their order."""
        return np.load(self._looks(shard))

    def all_looks(self, shards: Sequence[PlannedShard], total: int) -> NDArray[np.void]:
        """Of all images of finished shards, in their order, in a file: a kilobyte each."""
        together = np.lib.format.open_memmap(self.journal / "looks.npy", "w+", LOOK, (total,))
        start = 0
        for shard in shards:
            found = self.looks(shard)
            together[start : start + len(found)] = found
            start += len(found)
        return together

    def publish(self, folder: Path) -> None:
        """Puts the shards in place of `folder`, and removes the rest."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            self.shards.replace(folder)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with fresh_folder(folder) as copy:
                shutil.copytree(self.shards, copy, copy_function=copy_file, dirs_exist_ok=True)
        sync_folder(folder.parent)
        shutil.rmtree(self.shards.parent, ignore_errors=True)

    def _made(self, shard: PlannedShard) -> Path:
        return self.journal / f"{shard.name}.json"

    def _looks(self, shard: PlannedShard) -> Path:
        return self.journal / f"{shard.name}.looks.npy"


def _number(file: Path) -> int | None:
    """None where there is none, or where its writer died before it wrote it."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    return int.from_bytes(content, "little") if content else None
