"""Processes of a training: how many, which one this is, and how torchrun starts them.

Their number is no parameter: the same params.yaml gives the same DVC state on any machine.
`GLOW_NPROC` decides, by default one process per GPU, or one.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from stages.errors import InputError


def relaunch_under_torchrun(module: str) -> None:
    """Replaces this process by torchrun when there are to be several; else returns."""
    if "RANK" in os.environ:
        return
    wanted = os.environ.get("GLOW_NPROC") or str(max(1, torch.cuda.device_count()))
    if not wanted.isdigit() or int(wanted) < 1:
        raise InputError(f"GLOW_NPROC is {wanted!r}, expected a number of processes, at least 1")
    if int(wanted) == 1:
        return
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={wanted}"]
    os.execv(sys.executable, [sys.executable, *launcher, "-m", module, *sys.argv[1:]])


@contextmanager
def process_group() -> Iterator[torch.device]:
    """The device of this rank, inside a process group where torchrun started several ranks."""
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", local_rank) if cuda else torch.device("cpu")
    if "RANK" not in os.environ:
        yield device
        return
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """This process among all, from 0."""
    return int(os.environ.get("RANK", 0))


def world_size() -> int:
    """The number of processes."""
    return int(os.environ.get("WORLD_SIZE", 1))
