"""Memory that a process keeps, so that the system need not give it again in every step."""

import ctypes
import sys

_LARGEST_FAST, _TRIM_THRESHOLD, _MMAP_THRESHOLD = 1, -1, -3  # of glibc's mallopt


def keep_freed_memory() -> None:
    """Tells glibc to keep what tensors free for the next ones; elsewhere nothing.

    By default it hands large blocks back, and every first touch of a new one is a page fault: in
    a training step of megabytes of activations 3 to 10 % of the time. The process stays as large
    as it once was. And small blocks join free neighbours at once; by default that waits, for all
    of them, until a large one is asked for: 1 % of a step of narrow networks. GPUs have an
    allocator that does this already.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(_LARGEST_FAST, 0)
        mallopt(_MMAP_THRESHOLD, 2**30)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
