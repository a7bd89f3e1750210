"""Tracked runs on disk: what a stage reports is written here first, and sent on from here.

A spool is a folder that outlives a tracking server that is down and a process that is killed:

    operations.jsonl   a line for each thing reported, in order; the first opens the run
    state.json         the run's id, and how many operations the server is known to have
    files/00042/       copies of the files that operation 42 reports
    lock               held by whoever writes or sends it, and free once that process is gone
"""

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from itertools import groupby, islice
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout

Operation = dict[str, Any]

SPOOLS = Path(".cache/tracking")
METRICS_PER_BATCH = 500  # operations that are sent in one request


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
        spool.folder.mkdir(parents=True)
        spool._lock.acquire()
        try:
            spool.append({"kind": "open", **opening})
        except OSError:
            spool.remove()
            raise
        return spool

    @classmethod
    def claim(cls, folder: Path) -> "Spool | None":
        """A spool that nobody has any more, locked; None while its stage or a replay has it."""
        spool = cls(folder)
        if not spool._operations.exists():
            return None
        try:
            spool._lock.acquire(timeout=0)
        except Timeout:
            return None
        finished_meanwhile = not spool._operations.exists()
        if finished_meanwhile or spool.opening["kind"] != "open":
            spool.remove()
            return None
        spool._written = len(spool._records())
        if spool._state.exists():
            state = json.loads(spool._state.read_text(encoding="utf-8"))
            spool.run_id, spool.sent = state["run_id"], state["sent"]
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
            for name, source in files.items():
                _copy(source, self.folder / operation["folder"] / name)
        line = b"\n" + json.dumps(operation).encode()
        with self._operations.open("ab", buffering=0) as stream:
            self._written += 1
            if stream.write(line) != len(line):
                raise OSError(f"{self._operations} was cut short; the disk is full")

    def unsent(self) -> Iterator[list[Operation]]:
        """What is still to send, in order: metrics many at a time, all else one by one."""
        with self._operations.open("rb") as stream:
            operations = map(_parse, islice(stream, 1 + self.sent, None))
            for kind, group in groupby(operations, key=lambda operation: operation["kind"]):
                size = METRICS_PER_BATCH if kind == "metrics" else 1
                while batch := list(islice(group, size)):
                    yield batch

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

    def _remember(self, run_id: str | None, sent: int) -> None:
        self.run_id, self.sent = run_id, sent
        partial = self._state.with_suffix(".tmp")
        partial.write_text(json.dumps({"run_id": run_id, "sent": sent}), encoding="utf-8")
        partial.replace(self._state)


def spool_folders(root: Path) -> list[Path]:
    """The spools below `root`, oldest first."""
    return sorted(path for path in (root / SPOOLS).glob("*") if path.is_dir())


def _parse(line: bytes) -> Operation:
    try:
        operation: Operation = json.loads(line)
    except ValueError:
        return {"kind": "broken"}
    return operation


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copyfile(source, target)
