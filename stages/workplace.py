"""Folders of work that outlives its process: one at a time has it, others wait, old ones go."""

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from filelock import FileLock, Timeout

from glow.atomic import make_folder

POLL_SECONDS = 1.0


@dataclass
class Workplace:
    """A folder whose name says all that decides what is made in it, so that work can go on there.

    Attributes:
        root: of all such folders, below the main checkout: `dvc exp run --temp` works in a copy
            that is thrown away.
        name: of this one.
        work: of the process that has it, for a line to those that wait: "makes the same shards".
    """

    root: Path
    name: str
    work: str
    _waiting: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.root = Path(os.environ.get("DVC_ROOT", ".")) / self.root
        make_folder(self.root)

    @property
    def folder(self) -> Path:
        """May not be there yet."""
        return self.root / self.name

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Inside it is this process's alone; waits for another one to end, and says so."""
        try:
            while not self.acquire():
                pass
            yield
        finally:
            self.release()

    def acquire(self) -> bool:
        """Whether this process has it now; asked again and again, each time waits for a second."""
        try:
            self._lock.acquire(timeout=0 if self._waiting is None else POLL_SECONDS)
        except Timeout:
            if self._waiting is None:
                self._waiting = _shared(self._waiting_file)
                _say(
                    f"another process {self.work} and holds {self._lock.lock_file}; waits for it "
                    "to end"
                )
            return False
        self._wait_no_more()
        if self.folder.exists():
            os.utime(self.folder)  # the newest ones are kept
        return True

    def release(self) -> None:
        """Lets others have it, also where it was waited for in vain."""
        self._wait_no_more()
        if self._lock.is_locked:
            if not self.folder.exists():
                _unlink_locks(self.folder)
            self._lock.release()

    def is_awaited(self) -> bool:
        """Whether another process waits to have it."""
        try:
            descriptor = os.open(self._waiting_file, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def remove_old(self, kept: int, content: str) -> None:
        """Removes others, but those in use and the `kept` newest, with a line that says so."""
        others = [path for path in self.root.iterdir() if path.is_dir() and path != self.folder]
        for folder in sorted(others, key=changed)[:-kept]:
            try:
                with FileLock(f"{folder}.lock").acquire(timeout=0):
                    size = sum(_size(file) for file in folder.rglob("*"))
                    shutil.rmtree(folder, ignore_errors=True)
                    _unlink_locks(folder)
            except (Timeout, FileNotFoundError):  # in use, or another process removes it
                continue
            _say(
                f"removed {folder}: {size / 1e6:,.0f} MB of {content}; the newest {kept} such "
                "folders are kept"
            )

    @cached_property
    def _lock(self) -> FileLock:
        return FileLock(f"{self.folder}.lock")

    @property
    def _waiting_file(self) -> Path:
        """Locked by all who wait, and by nobody else for longer than a look."""
        return Path(f"{self.folder}.waiting")

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            os.close(self._waiting)
            self._waiting = None


def _shared(file: Path) -> int:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def _unlink_locks(folder: Path) -> None:
    for suffix in ("lock", "waiting"):
        Path(f"{folder}.{suffix}").unlink(missing_ok=True)


def changed(path: Path) -> float:
    """When, in seconds after 1970 began; 0 where another process has removed it."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
