"""Processes that train one model together: sums over all of them. Of one process, nothing."""

import torch.distributed as dist
from torch import Tensor


class LostProcess(RuntimeError):
    """Another process of the same training cannot be reached any more."""


def rank() -> int:
    """This process among all, from 0."""
    return dist.get_rank() if _are_several() else 0


def world_size() -> int:
    """The number of processes."""
    return dist.get_world_size() if _are_several() else 1


def add_up(tensor: Tensor) -> Tensor:
    """The sum over processes, in place; every process calls it with the same shape.

    Raises:
        LostProcess: one of them has ended or does not answer.
    """
    if _are_several():
        try:
            dist.all_reduce(tensor)
        except RuntimeError as error:
            raise LostProcess(
                f"process {rank()} of {world_size()} has lost another one: "
                f"{str(error).splitlines()[0]}"
            ) from error
    return tensor


def average(tensor: Tensor) -> Tensor:
    """The mean over processes, in place; see `add_up`."""
    return add_up(tensor).div_(world_size()) if _are_several() else tensor


def _are_several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def disconnect() -> None:
    """Ends gloo's part in a process that is about to end; else its threads may crash at exit.

    NCCL's is left to the end of the process, since it would wait for others that are gone.
    """
    if dist.is_available() and dist.is_initialized() and dist.get_backend() == "gloo":
        dist.destroy_process_group()
