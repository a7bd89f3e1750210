"""Seconds and bytes of work on a GPU, or on a CPU where there is none."""

import gc
import itertools
import resource
import statistics
import time
import traceback
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")


def wait() -> None:
    """Until the GPU has done all that it was asked for."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def wall_seconds(work: Callable[[], object], *, budget: float, most: int = 20) -> list[float]:
    """Of each call, from asking to having; at least three, while the budget of seconds lasts."""
    times: list[float] = []
    wait()
    while len(times) < 3 or (len(times) < most and sum(times) < budget):
        began = time.perf_counter()
        work()
        wait()
        times.append(time.perf_counter() - began)
    return times


def device_seconds(work: Callable[[], object], *, times: int) -> float:
    """The GPU's median over calls, which it does one after the other; the first three warm up."""
    for _ in range(3):
        work()
    if not torch.cuda.is_available():
        return statistics.median(wall_seconds(work, budget=0.1, most=times))
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(times + 1)]
    marks[0].record()
    for mark in marks[1:]:
        work()
        mark.record()
    torch.cuda.synchronize()
    return statistics.median(a.elapsed_time(b) / 1e3 for a, b in itertools.pairwise(marks))


def start_peak() -> None:
    """Peaks of memory count from here."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()


def peak_gb() -> float:
    """Most that tensors took since `start_peak`, 10^9 bytes; of a CPU's process since its start.

    A graph's own tensors are counted while it is recorded.
    """
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def reserved_gb() -> float | None:
    """Most that torch held of the GPU since `start_peak`, 10^9 bytes."""
    return torch.cuda.max_memory_reserved() / 1e9 if torch.cuda.is_available() else None


def free() -> None:
    """Gives back what no tensor takes, cycles of dead objects included."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def tried(work: Callable[[], T]) -> tuple[T | None, str]:
    """What it returns and "", or None and the first line of the error, "out of memory" if it is.

    For one row of many: what cannot run on this card is a finding. Its tensors are freed. The
    log has the traceback.
    """
    try:
        return work(), ""
    except torch.OutOfMemoryError:
        reason = "out of memory"
    except Exception as error:
        traceback.print_exc()
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    free()  # not inside `except`, where the error still holds the frames and their tensors
    return None, reason
