"""A command in a session of its own, of which nothing is left running when it is interrupted."""

import os
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # has no types

GRACE_SECONDS = 20.0  # to write a checkpoint; Prefect kills the flow itself after 30
POLL_SECONDS = 0.1
LINGER_SECONDS = 2.0  # to read what an ended process has printed; a pipe holds no more than 64 KB


def run(
    command: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    log: Callable[[str], Any],
    grace: float = GRACE_SECONDS,
) -> int:
    """Runs a command, passes on each line it prints, and returns its exit code.

    Whatever interrupts this call (Ctrl-C, a cancelled flow), and also when the command itself is
    killed, every process it started gets SIGTERM, `grace` seconds, then SIGKILL.
    """
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    output = _Output(process)
    code = None
    try:
        for line in output.lines():
            log(line)
        code = process.wait()
    finally:
        if code != 0:
            stop(process, grace=grace, meanwhile=lambda: deque(map(log, output.some())))
    return code


def stop(
    process: subprocess.Popen[str], *, grace: float, meanwhile: Callable[[], object] | None = None
) -> None:
    """Ends all that a process with a session of its own has started.

    Args:
        process: the first of the session.
        grace: seconds until those still there are killed; a second interrupt cuts them short.
        meanwhile: what to do over and over until then; it should take a moment.
    """
    family = _family(process.pid)
    try:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)  # torchrun passes it on to its workers
        end = time.monotonic() + grace
        while any(map(_is_running, family)) and time.monotonic() < end:
            meanwhile() if meanwhile else time.sleep(POLL_SECONDS)
    finally:
        for member in family | _family(process.pid):
            with suppress(psutil.Error):
                member.kill()
        process.wait()


class _Output:
    """What a process prints, read by a thread so that waiting for it can have an end."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def lines(self) -> Iterator[str]:
        """The lines, until the process has ended and all is read.

        A background process that it leaves behind may hold the pipe open: that one is not waited
        for.
        """
        while self._reader.is_alive() and self._process.poll() is None:
            yield from self.some()
        self._reader.join(LINGER_SECONDS)
        for _ in range(self._lines.qsize()):
            yield self._lines.get()

    def some(self) -> Iterator[str]:
        """The lines of the next moment."""
        end = time.monotonic() + POLL_SECONDS
        with suppress(queue.Empty):
            while (left := end - time.monotonic()) > 0:
                yield self._lines.get(timeout=left)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                self._lines.put(line.rstrip("\n"))


def _family(session: int) -> set[psutil.Process]:
    """The processes of a session, and their descendants in others: torchrun's workers."""
    family = set()
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, PermissionError, psutil.Error):
            if os.getsid(process.pid) == session:
                family |= {process, *process.children(recursive=True)}
    return family


def _is_running(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False
