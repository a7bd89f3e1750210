"""Waiting for what other processes do, with a deadline."""

import time
from collections.abc import Callable

import psutil


def wait_for(happens: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Returns as soon as something has happened; fails if it does not."""
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, f"{what}: not in {seconds:g} s"
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    """Whether a process lives; one that has ended but was not waited for does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
