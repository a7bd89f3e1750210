"""Fetched shards on this machine's disk: a folder of bounded size, shared by all its processes.

A shard is kept under its checksum. Who fetches one holds a lock on the unfinished file, so that
each is fetched once, and who reads one holds a shared lock on it, so that what is read is not
removed; both end with the process that holds them. What was read longest ago is removed first.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stages.environment import number
from stages.errors import StageError

MAX_BYTES = 10 * 2**30

Fetch = Callable[[Path], None]


@dataclass(frozen=True)
class ShardCache:
    """Files by key, of `max_bytes` together.

    Beyond the bound there may be what is being read at the moment, a file per process.
    """

    folder: Path
    max_bytes: int = MAX_BYTES

    @classmethod
    def wanted(cls) -> "ShardCache":
        """GLOW_SHARD_CACHE, by default `.cache/shards`, seen from the main checkout."""
        wanted = os.environ.get("GLOW_SHARD_CACHE") or ".cache/shards"
        folder = Path(os.environ.get("DVC_ROOT", "."), wanted)
        max_bytes = number("GLOW_SHARD_CACHE_BYTES", "a number of bytes")
        return cls(folder.absolute(), MAX_BYTES if max_bytes is None else max_bytes)

    def open(self, key: str, fetch: Fetch) -> int:
        """A descriptor of the file; while it is open, the file stays.

        Args:
            key: of the file.
            fetch: writes it to a path, where it is not here yet.

        Raises:
            StageError: it cannot be kept, for the disk is full or not ours.
        """
        with self._or_told():
            while True:
                descriptor = self._found(key)
                if descriptor is None:
                    descriptor = self._fetched(key, fetch, wait=True)
                if descriptor is not None:
                    return descriptor

    def fetch(self, key: str, fetch: Fetch) -> None:
        """Sees to it that the file is here, unless another process is at it; raises as `open`."""
        if not self.has(key):
            with self._or_told():
                descriptor = self._fetched(key, fetch, wait=False)
            if descriptor is not None:
                os.close(descriptor)

    def trim(self) -> None:
        """Brings the files within the bound, where some were read that are not any more."""
        if self.folder.is_dir():
            with self._or_told():
                self._make_room()

    def has(self, key: str) -> bool:
        """Whether the file is here."""
        return self._size(key) is not None

    def has_room_beside(self, keys: list[str]) -> bool:
        """Whether another file like these would fit without removing one of them."""
        sizes = [size for key in keys if (size := self._size(key)) is not None]
        return sum(sizes) + max(sizes, default=0) <= self.max_bytes

    def _found(self, key: str) -> int | None:
        try:
            descriptor = os.open(self._file(key), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        os.utime(descriptor)
        return descriptor

    def _fetched(self, key: str, fetch: Fetch, *, wait: bool) -> int | None:
        """A descriptor of the file; None where another process has fetched it.

        Without `wait`, also where another process is at it, or there is no room for it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / f"{key}.partial"
        descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        mine = False
        try:
            if not _lock(descriptor, wait=wait) or not _is_at(descriptor, unfinished):
                return None
            if not self.has(key):
                fetch(unfinished)
                os.fsync(descriptor)
                if not self._make_room(unfinished) and not wait:
                    return None
                unfinished.rename(self._file(key))
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                mine = True
                return descriptor
            return None
        finally:
            if not mine:
                if _lock(descriptor, wait=False) and _is_at(descriptor, unfinished):
                    unfinished.unlink()
                os.close(descriptor)

    def _make_room(self, newest: Path | None = None) -> bool:
        """Removes files, but `newest`, until all are within the bound; whether they are."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            found = []
            for file in self.folder.iterdir():
                try:
                    about = file.stat()
                except FileNotFoundError:
                    continue
                found.append((about.st_mtime_ns, about.st_size, file))
            total = sum(size for _, size, _ in found)
            for _, size, file in sorted(found):
                if total <= self.max_bytes:
                    break
                if file.suffix in (".tar", ".partial") and file != newest and _removed(file):
                    total -= size
            return total <= self.max_bytes

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.tar"

    def _size(self, key: str) -> int | None:
        try:
            return self._file(key).stat().st_size
        except FileNotFoundError:
            return None

    @contextmanager
    def _or_told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StageError(
                f"shards cannot be kept in {self.folder}: {error}; make room, or see "
                "GLOW_SHARD_CACHE and GLOW_SHARD_CACHE_BYTES"
            ) from None


def _lock(descriptor: int, *, wait: bool) -> bool:
    """Whether it is ours alone now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, file: Path) -> bool:
    """Whether the open file still has that name: who fetches it renames it."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


def _removed(file: Path) -> bool:
    """Removes a file that nobody has open; whether it is gone."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        if not _lock(descriptor, wait=False) or not _is_at(descriptor, file):
            return False
        file.unlink()
        return True
    finally:
        os.close(descriptor)
