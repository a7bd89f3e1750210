"""How many threads a move is computed with: what is fastest on this machine, for this model.

The many small products of one small image are often fastest in one thread, those of a large one in
all; a second thread that waits for the first also takes time from everything else.
"""

import time
from collections.abc import Callable

import torch

CALLS = 4  # of each, after one that warms up
WORTH_IT = 0.8  # more threads must take less than this part of the time


def use_fastest(work: Callable[[], object]) -> int:
    """Sets torch's threads to what a work is fastest with; to be called where it will be done."""
    most = torch.get_num_threads()
    best, seconds = most, float("inf")
    for threads in sorted({1, most}):
        torch.set_num_threads(threads)
        taken = _seconds(work)
        if taken < WORTH_IT * seconds:
            best, seconds = threads, taken
    torch.set_num_threads(best)
    return best


def _seconds(work: Callable[[], object]) -> float:
    """The least of some calls, as anything else on the machine only adds."""
    work()
    times = []
    for _ in range(CALLS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)
