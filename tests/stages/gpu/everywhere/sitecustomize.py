"""Python reads this at its start: a process with a stand-in for a GPU (stand_in.cpp).

And without MLflow, whose import takes seconds.
"""

import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

sys.modules["mlflow"] = None

# before torch looks for a GPU, which it does once
library = ctypes.CDLL(os.environ["GLOW_STAND_IN"], mode=ctypes.RTLD_GLOBAL)

import torch  # noqa: E402 - after what is above
from torch import Tensor, cuda  # noqa: E402 - after what is above
from torch import distributed as dist  # noqa: E402 - after what is above
from torch.storage import _StorageBase  # noqa: E402 - after what is above

from stages import speed  # noqa: E402 - after what is above


class Stream:
    """The one that there is."""

    def __init__(self, *_: object) -> None: ...

    def wait_stream(self, _other: "Stream") -> None:
        """All is done at once."""


class Event:
    """A moment."""

    def __init__(self, **_: object) -> None:
        self.time = 0.0

    def record(self) -> None:
        """It is now."""
        self.time = time.perf_counter()

    def elapsed_time(self, later: "Event") -> float:
        """Milliseconds."""
        return 1e3 * (later.time - self.time)


class CUDAGraph:
    """The number of a graph."""

    number = -1

    def replay(self) -> None:
        """Does what was recorded."""
        library.replay_graph(self.number)


@contextlib.contextmanager
def graph(recorded: CUDAGraph, **_: object) -> Iterator[None]:
    """Records what is asked inside; nothing of it is done."""
    recorded.number = library.begin_graph()
    try:
        yield
    finally:
        library.end_graph()


# each a function of its own: torch's compiler keeps a list of them
cuda.is_available = lambda: True
cuda.device_count = lambda: int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
cuda._lazy_init = lambda: None
cuda.set_device = lambda _: None
cuda.synchronize = lambda *_: None
cuda.current_device = lambda: int(os.environ.get("LOCAL_RANK", "0"))
cuda.mem_get_info = lambda *_: (2**32, 2**33)
cuda.max_memory_allocated = lambda *_: 0
cuda.memory_allocated = lambda *_: 0
cuda.max_memory_reserved = lambda *_: 0
cuda.reset_peak_memory_stats = lambda *_: None
cuda.empty_cache = lambda: None
cuda.get_device_name = lambda *_: "stand-in"
cuda.get_device_capability = lambda *_: (0, 0)
cuda.get_device_properties = lambda *_: SimpleNamespace(total_memory=0, multi_processor_count=1)
cuda.Stream, cuda.Event = Stream, Event
cuda.current_stream = lambda *_: Stream()
cuda.stream = lambda _: contextlib.nullcontext()
cuda.device = lambda _: contextlib.nullcontext()
cuda.CUDAGraph, cuda.graph = CUDAGraph, graph
Tensor.record_stream = lambda *_: None

speed.SIDES["cuda"] = speed.SIDES["cpu"]  # of what its peak is measured with

clone = _StorageBase.clone


def clone_here(storage: Any) -> Any:  # noqa: ANN401
    """A storage's copy; torch itself makes none where it was built without CUDA."""
    if storage.device.type != "cuda":
        return clone(storage)
    numbers = torch.empty(0, dtype=torch.uint8, device="cuda")
    return numbers.set_(storage, 0, (storage.nbytes(),), (1,)).clone().untyped_storage()


_StorageBase.clone = clone_here

init_process_group, all_reduce = dist.init_process_group, dist.all_reduce


def init_here(backend: str, *, device_id: torch.device, **options: Any) -> None:  # noqa: ANN401
    """Gloo for NCCL."""
    assert backend == "nccl"
    assert device_id == torch.device("cuda", cuda.current_device())
    init_process_group("gloo", **options)


def all_reduce_here(tensor: Tensor) -> None:
    """Of a tensor on the GPU, as NCCL has it."""
    assert tensor.is_cuda
    there = tensor.cpu()
    all_reduce(there)
    tensor.copy_(there)


dist.init_process_group, dist.all_reduce = init_here, all_reduce_here
