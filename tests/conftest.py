"""Settings of all tests."""

import os
import signal
from pathlib import Path

import hypothesis
import pytest
import torch

# a shell's background job ignores what tests send to their processes, and these inherit it
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# the tensors are tiny, and threads that wait for each other only cost time; so in their processes
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"

# how long an example takes says what else the machine does
hypothesis.settings.register_profile("glow", deadline=None)
hypothesis.settings.load_profile("glow")

MOST_PROCESSES = 8  # each holds torch, and starts processes and servers of its own


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A process per core; none but this one for files that are named, and where one core is."""
    cores = len(os.sched_getaffinity(0))
    folders = any(Path(arg).is_dir() for arg in config.args)
    return min(cores, MOST_PROCESSES) if folders and cores > 1 else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests go first, so that no process has one left when the others are done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
