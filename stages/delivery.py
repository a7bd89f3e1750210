"""How what a stage reports gets from the spool to a server, whatever happens to the server."""

import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Protocol

from stages.spool import SPOOLS, BrokenSpool, Operation, Spool, spool_folders

SEND_SECONDS = 5.0  # metrics wait as long as this for others to be sent with
MAX_SHARE = 0.05  # of the stage's time that sending metrics may take when the server is slow
PAUSE_SECONDS, MAX_PAUSE_SECONDS = 10.0, 600.0  # before a server that failed is tried again
REPLAY = "python -m stages.tracking replay"


class Server(Protocol):
    """What records runs; its methods may raise anything, and can all be repeated."""

    uri: str

    def perform(self, spool: Spool, operations: list[Operation]) -> None:
        """Does one operation, or several of metrics; one that opens a run sets `spool.run_id`."""

    def has(self, run_id: str) -> bool:
        """Whether the run is known there."""

    def answers(self) -> bool:
        """Whether it does, now that something has failed; raises nothing."""

    def refuses(self, error: Exception) -> bool:
        """Whether the error is about what was sent, and would come again each time."""


@dataclass
class Delivery:
    """Sends spools to a server; once that has failed it pauses, each time twice as long.

    A pause is so much longer than the failure before it that a stage does not notice a server
    which is silent.

    Attributes:
        root: the project that holds the spools.
        server: where they go.
    """

    root: Path
    server: Server
    _pause: float = field(default=0.0, init=False)
    _pause_ends: float = field(default=0.0, init=False)

    def try_to_send(self, spool: Spool) -> bool:
        """Whether the server has all of the spool now; if not, a line has said so."""
        started = time.monotonic()
        if self._pause and started < self._pause_ends:
            return False
        failed_before = sys.exception()  # what ends the run that is being closed
        where = without_password(self.server.uri)
        try:
            if not spool.sent:
                self._send_earlier(spool)
            self._send(spool)
        except Exception as error:
            if not self._pause:
                say(
                    f"warning: MLflow at {where} fails ({reason(error, failed_before)}); the "
                    "stage goes on and tries again from time to time; its report is kept in "
                    f"{SPOOLS}: `{REPLAY}` sends it later"
                )
            now = time.monotonic()
            self._pause = min(max(PAUSE_SECONDS, 2 * self._pause), MAX_PAUSE_SECONDS)
            self._pause_ends = now + max(self._pause, (now - started) / MAX_SHARE)
            return False
        if self._pause:
            self._pause = 0.0
            say(f"MLflow at {where} answers again, and has what was reported meanwhile")
        return True

    def finish(self, spool: Spool) -> None:
        """Sends a spool that its stage left behind, and removes it.

        A run that was not ended belongs to a process that was killed: it has failed. A run that
        the server has lost is sent from its beginning.

        Raises:
            Exception: any that the server raises; the spool stays and knows how far it got.
        """
        last = spool.last()
        if last["kind"] != "close":
            spool.append({"kind": "close", "status": "FAILED", "time": last["time"]})
        if spool.run_id and not self.server.has(spool.run_id):
            spool.forget_sent()
        self._send(spool)
        spool.remove()

    def _send_earlier(self, spool: Spool) -> None:
        """What still waits for the same model: `same_run` has to find the training's run."""
        for folder in spool_folders(self.root):
            if folder >= spool.folder:
                continue
            try:
                earlier = Spool.claim(folder)
            except BrokenSpool as error:
                warn(str(error))
                continue
            if earlier is None:
                continue
            try:
                if all(earlier.opening[k] == spool.opening[k] for k in ("fingerprint", "uri")):
                    self.finish(earlier)
            except Exception as error:
                if not self.server.answers():
                    raise
                warn(f"{folder}, of an earlier stage, cannot be sent ({reason(error)}); it stays")
            finally:
                earlier.release()

    def _send(self, spool: Spool) -> None:
        for operations in spool.unsent():
            kind = operations[0]["kind"]
            if spool.has_files_of(operations[0]):
                try:
                    self.server.perform(spool, operations)
                except Exception as error:
                    if spool.run_id is None or not self.server.refuses(error):
                        raise
                    warn(f"MLflow refuses some {kind} of this run: {reason(error)}")
            else:
                warn(f"some {kind} of this run is lost: its files are gone from {spool.folder}")
            spool.mark_sent(len(operations))


@dataclass
class Recorder:
    """A `Record` that writes to a spool and has it delivered, metrics every few seconds."""

    spool: Spool
    delivery: Delivery
    _due: float = field(default=0.0, init=False)

    def __call__(self, operation: Operation, files: Mapping[str, Path] | None = None) -> None:
        """Records an operation; a disk that cannot take it is warned of."""
        try:
            self.spool.append(operation, files)
        except OSError as error:
            _warn_of_loss(error)
            return
        if operation["kind"] != "metrics" or time.monotonic() >= self._due:
            self.flush()

    def flush(self) -> bool:
        """Sends what waits; whether the server has all of it."""
        started = time.monotonic()
        try:
            self.spool.sync()
        except OSError as error:
            _warn_of_loss(error)
        all_sent = self.delivery.try_to_send(self.spool)
        ended = time.monotonic()
        self._due = ended + max(SEND_SECONDS, (ended - started) / MAX_SHARE)
        return all_sent

    def close(self, status: str) -> None:
        """Ends the run; the spool goes away if the server has all of it."""
        self({"kind": "close", "status": status})
        if self.flush():
            self.spool.remove()
        else:
            self.spool.release()


def say(message: str) -> None:
    """A line on stderr about what was done, beside the progress."""
    print(message, file=sys.stderr, flush=True)


@cache
def warn(message: str) -> None:
    """A line on stderr, the same one only once per process."""
    print(f"warning: {message}", file=sys.stderr, flush=True)


def reason(error: BaseException, unrelated: BaseException | None = None) -> str:
    """The cause at the bottom, in a line: `Connection refused`, not the five errors about it.

    Python links errors raised while another, `unrelated` one is handled to that one; the search
    stops there.
    """
    while (cause := error.__cause__ or error.__context__) and cause is not unrelated:
        error = cause
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return without_password(lines[0][:200])


def without_password(uri: str) -> str:
    """The address as it may be shown and kept: without `user:password@`."""
    return re.sub(r"//[^/@\s]+@", "//", uri)


def _warn_of_loss(error: OSError) -> None:
    warn(f"some of what this stage reports is lost to tracking: {error}")
