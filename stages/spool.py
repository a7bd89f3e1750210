"""Tracked runs on disk: what a stage reports is written here first, and sent on from here.

A spool is a folder that outlives a tracking server that is down and a process that is killed:

    operations.jsonl   a line for each thing reported, in order; the first opens the run
    state.json         the run's id, and how many operations the server is known to have
    files/00042/       copies of the files that operation 42 reports
    lock               held by whoever writes or sends it, and free once that process is gone

What is reported is synced before it is sent, metrics when they are, all else at once. So a loss
of power leaves a beginning of it; what cannot be read all the same is set aside.
"""

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from itertools import groupby, islice
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout

from glow.atomic import make_folder, sync_file, sync_folder, write_atomically
from stages.copies import copy_into

Operation = dict[str, Any]

SPOOLS = Path(".cache/tracking")
BROKEN = ".broken"  # at the end of the name of a spool that was set aside
OPENING = {"kind", "time", "fingerprint", "experiment", "name", "tags", "reopen", "uri"}
METRICS_PER_BATCH = 500  # operations that are sent in one request


class BrokenSpool(ValueError):
    """A spool cannot be read; says why, and where it is now."""


@dataclass
class Spool:
    """The operations of one run, those sent and those still to send.

    Attributes:
        folder: where it is.
        run_id: on the server, once an operation has opened it there.
        sent: how many operations the server is known to have.
    """

    folder: Path
    run_id: str | None = field(default=None, init=False)
    sent: int = field(default=0, init=False)
    _written: int = field(default=0, init=False)

    @classmethod
    def create(cls, root: Path, opening: Operation) -> "Spool":
        """A new spool below `root`, locked, whose first operation is `opening`."""
        name = f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}-{uuid4().hex[:6]}"
        spool = cls(root / SPOOLS / name)
        make_folder(spool.folder.parent)
        with _coming_and_going(spool.folder):
            make_folder(spool.folder)
            spool._lock.acquire()
        try:
            spool.append({"kind": "open", **opening})
            sync_folder(spool.folder)
        except OSError:
            spool.remove()
            raise
        return spool

    @classmethod
    def claim(cls, folder: Path) -> "Spool | None":
        """A spool that nobody has any more, locked; None while its stage or a replay has it.

        Raises:
            BrokenSpool: it cannot be read, and was set aside.
        """
        spool = cls(folder)
        try:
            with _coming_and_going(folder):
                spool._lock.acquire(timeout=0)
        except (Timeout, FileNotFoundError):  # it is in use, or was removed meanwhile
            return None
        if not spool._operations.exists():  # its stage was killed before it reported anything
            spool.remove()
            return None
        try:
            spool._read()
        except (OSError, ValueError) as error:
            aside = folder.with_name(folder.name + BROKEN)
            folder.rename(aside)
            spool.release()
            raise BrokenSpool(
                f"{folder} cannot be read ({error}): {aside.name} is what is left of it, and what "
                "it had not sent is not in MLflow; look at it, and remove it"
            ) from None
        return spool

    def append(self, operation: Operation, files: Mapping[str, Path] | None = None) -> None:
        """Writes an operation, and copies of its files under the names given, to disk.

        The line break comes first, so that a line that a full disk or a kill cut short spoils
        no other.

        Raises:
            OSError: the disk is full, or one of the files is not there.
        """
        operation = {"time": time.time_ns() // 1_000_000, **operation}
        if files is not None:
            operation["folder"] = f"files/{self._written:05d}"
            copy_into(self.folder / operation["folder"], files)
        line = b"\n" + json.dumps(operation).encode()
        with self._operations.open("ab", buffering=0) as stream:
            self._written += 1
            if stream.write(line) != len(line):
                raise OSError(f"{self._operations} was cut short; the disk is full")
        if operation["kind"] != "metrics":
            self.sync()

    def sync(self) -> None:
        """Returns once all of it is on the disk; OSError where that cannot take it."""
        sync_file(self._operations)

    def unsent(self) -> Iterator[list[Operation]]:
        """What is still to send, in order: metrics many at a time, all else one by one."""
        with self._operations.open("rb") as stream:
            operations = map(_parse, islice(stream, 1 + self.sent, None))
            for kind, group in groupby(operations, key=lambda operation: operation["kind"]):
                size = METRICS_PER_BATCH if kind == "metrics" else 1
                while batch := list(islice(group, size)):
                    yield batch

    def has_files_of(self, operation: Operation) -> bool:
        """Whether what belongs to an operation is there."""
        if "folder" not in operation:
            return True
        return self.folder.joinpath(operation["folder"], operation.get("name", "")).exists()

    def mark_sent(self, count: int) -> None:
        """Remembers on disk that `count` more operations, and the run, are on the server."""
        self._remember(self.run_id, self.sent + count)

    def forget_sent(self) -> None:
        """Starts again from the first operation, for a server that has lost the run."""
        self._remember(None, 0)

    @cached_property
    def opening(self) -> Operation:
        """The first operation: what run this is."""
        return _parse(self._records()[0])

    def last(self) -> Operation:
        """The last operation that is whole; `close`, unless the process was killed."""
        return next(
            operation
            for operation in map(_parse, reversed(self._records()))
            if operation["kind"] != "broken"
        )

    def release(self) -> None:
        """Lets others send it; the operations stay."""
        self._lock.release()

    def remove(self) -> None:
        """Deletes all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()

    @cached_property
    def _lock(self) -> FileLock:
        return FileLock(self.folder / "lock")

    @property
    def _operations(self) -> Path:
        return self.folder / "operations.jsonl"

    @property
    def _state(self) -> Path:
        return self.folder / "state.json"

    def _records(self) -> list[bytes]:
        return self._operations.read_bytes().split(b"\n")[1:]

    def _read(self) -> None:
        """Raises ValueError where it does not begin as a spool does.

        A state that cannot be read is none: what is sent again is recorded once.
        """
        records = self._records()
        if not records or not self.opening.keys() >= OPENING:
            raise ValueError(f"{self._operations.name} does not begin with the run that it is of")
        self._written = len(records)
        with suppress(OSError, ValueError, TypeError, KeyError):
            state = json.loads(self._state.read_bytes())
            if 0 < state["sent"] <= self._written:
                self.run_id, self.sent = str(state["run_id"]), int(state["sent"])

    def _remember(self, run_id: str | None, sent: int) -> None:
        self.run_id, self.sent = run_id, sent
        with suppress(OSError):  # the disk is full: then the next process sends more of it again
            write_atomically(self._state, json.dumps({"run_id": run_id, "sent": sent}).encode())


def spool_folders(root: Path) -> list[Path]:
    """The spools below `root`, oldest first, but those set aside."""
    folders = [path for path in (root / SPOOLS).glob("*") if path.is_dir()]
    return sorted(path for path in folders if path.suffix != BROKEN)


def _coming_and_going(folder: Path) -> FileLock:
    """Held where a spool is made and not locked yet, and where one is claimed."""
    return FileLock(folder.parent / "lock")


def _parse(line: bytes) -> Operation:
    try:
        operation = json.loads(line)
    except ValueError:
        operation = None
    return operation if isinstance(operation, dict) and "kind" in operation else {"kind": "broken"}
