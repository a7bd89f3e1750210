"""What the machine decides, and params.yaml does not: processes, their devices, images at once.

The same params.yaml gives the same DVC state on any machine. `GLOW_NPROC` is the number of
processes, by default one per GPU, or one; under an outer torchrun (several nodes) its variables
alone count. `GLOW_MICRO_BATCH` is the number of images that a process puts through the model at
once in training, by default its whole part of a batch. `GLOW_PRECISION` is how the networks inside
couplings multiply in training, `GLOW_GRAPHS` whether a step of it is one CUDA graph.

Every process holds the whole model, 44 million parameters for the paper's largest, and one
all-reduce of its flat gradient joins them; sharding the model (FSDP) would save a GPU less than
1 GB, where activations take tens, and add a collective to every layer.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import get_args

import torch
import torch.distributed as dist

from glow.precision import Precision
from stages.environment import number
from stages.errors import InputError

# a process that does not answer for as long is lost; a checkpoint of the first takes seconds
AT_LEAST_1 = "a whole number, at least 1"
TIMEOUT = timedelta(minutes=10)
OF_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def wanted_processes() -> int:
    """How many processes train: of an outer torchrun, or GLOW_NPROC, or one per GPU, or one."""
    if is_launched():
        return number("WORLD_SIZE", AT_LEAST_1, 1) or 1
    return number("GLOW_NPROC", AT_LEAST_1, 1) or max(1, torch.cuda.device_count())


def is_launched() -> bool:
    """Whether this is one of the processes that torchrun started.

    Raises:
        InputError: only some of torchrun's variables are set.
    """
    missing = [name for name in OF_TORCHRUN if name not in os.environ]
    if "RANK" in os.environ and missing:
        raise InputError(
            f"RANK is set, but not {', '.join(missing)}, expected all of torchrun's variables; "
            "start the command with torchrun, or unset RANK"
        )
    return "RANK" in os.environ


def micro_batch() -> int | None:
    """GLOW_MICRO_BATCH: images per process at once; None for all."""
    return number("GLOW_MICRO_BATCH", AT_LEAST_1, 1)


def precision() -> Precision:
    """GLOW_PRECISION: of the networks inside couplings, in training; float32 if it is not set."""
    text = os.environ.get("GLOW_PRECISION") or "float32"
    for choice in get_args(Precision):
        if text == choice:
            return choice
    expected = ", ".join(get_args(Precision))
    raise InputError(f"GLOW_PRECISION is {text!r}, expected one of {expected}")


def graphs() -> bool:
    """GLOW_GRAPHS: whether a training step is to run as one CUDA graph; not if it is not set."""
    text = os.environ.get("GLOW_GRAPHS") or "0"
    if text not in ("0", "1"):
        raise InputError(f"GLOW_GRAPHS is {text!r}, expected 1 or 0")
    return text == "1"


@contextmanager
def process_group() -> Iterator[torch.device]:
    """The device of this process, inside a process group where torchrun started several."""
    device = _device()
    if not is_launched():
        yield device
        return
    if device.type == "cuda":
        dist.init_process_group("nccl", timeout=TIMEOUT, device_id=device)
    else:
        dist.init_process_group("gloo", timeout=TIMEOUT)
    yield device
    # after an error the connections stay until the process has said what it was: the others
    # notice when they break
    dist.destroy_process_group()


def _device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    index = int(os.environ.get("LOCAL_RANK", 0))
    if index >= torch.cuda.device_count():
        raise InputError(
            f"there are {torch.cuda.device_count()} GPUs for more processes on this machine; "
            "expected at most one process per GPU (GLOW_NPROC, or torchrun's --nproc-per-node)"
        )
    torch.cuda.set_device(index)
    return torch.device("cuda", index)
