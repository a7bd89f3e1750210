"""The work of a training step as one CUDA graph: recorded once, then started as a whole.

A Glow is hundreds of small operations. On a fast GPU with few images their launches, one by one
from Python, take longer than they do; a graph launches all of them at once.
"""

import logging
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from glow.config import GlowConfig

WARM_UP = 3  # runs before recording: libraries set themselves up, caches are filled

log = logging.getLogger(__name__)

Work = Callable[..., None]  # of tensors; leaves its results in tensors that live on


class Captured:
    """A function of tensors, run as it is a few times, then recorded, then replayed.

    The function must not look at numbers on the GPU, draw random ones, or depend on anything but
    its tensors, and must do the same each time. Inputs of other shapes than those recorded are
    run as they are, and so are all where recording fails; a line of the log says so.

    Args:
        work: the function.
        device: the GPU it works on.
    """

    def __init__(self, work: Work, device: torch.device) -> None:
        self.work, self.device = work, device
        self._runs = 0
        self._inputs: tuple[Tensor | None, ...] = ()
        self._replay: Callable[[], None] | None = None

    def __call__(self, *inputs: Tensor | None) -> None:
        """Does the work."""
        if self._runs < WARM_UP:
            aside(lambda: self.work(*inputs), self.device)
            self._runs += 1
            return
        if self._runs == WARM_UP:
            self._record(inputs)
            self._runs += 1
        if self._replay is None or not _alike(inputs, self._inputs):
            self.work(*inputs)
            return
        for mine, given in zip(self._inputs, inputs, strict=True):
            if mine is not None and given is not None:
                mine.copy_(given)
        self._replay()

    def _record(self, inputs: tuple[Tensor | None, ...]) -> None:
        self._inputs = tuple(None if tensor is None else tensor.clone() for tensor in inputs)
        try:
            self._replay = recorded(lambda: self.work(*self._inputs), self.device)
        except RuntimeError as error:  # CUDA's, and no memory left, are such
            self._inputs = ()
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            log.warning("no CUDA graph of the training step, it runs without: %s", reason)


def obstacle(config: GlowConfig, device: torch.device) -> str | None:
    """Why a training step of such a model cannot be recorded; None where it can be."""
    if device.type != "cuda":
        return f"it runs on a {device.type}, expected a GPU"
    if config.backprop == "reversible":
        return (
            "backprop is reversible, expected autograd or balanced: what inverts steps looks at "
            "the inputs that it finds"
        )
    if config.permutation == "conv1x1":
        return "permutation is conv1x1, expected another: its inverse is checked as it goes"
    return None


def aside(work: Callable[[], None], device: torch.device) -> None:
    """Runs it on a stream of its own, as recording wants of what comes before it."""
    stream, now = _side_stream(device), torch.cuda.current_stream(device)
    stream.wait_stream(now)
    with torch.cuda.stream(stream):
        work()
    now.wait_stream(stream)


def recorded(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """What does the work each time it is called; recording itself does not.

    Raises:
        RuntimeError: the work does what cannot be recorded.
    """
    graph = torch.cuda.CUDAGraph()
    # the outer context restores the stream where recording fails on its way out; other threads
    # may go on: one of them copies the next batch
    with (
        torch.cuda.device(device),
        torch.cuda.stream(torch.cuda.current_stream()),
        torch.cuda.graph(graph, capture_error_mode="thread_local"),
    ):
        work()
    return graph.replay


@lru_cache(maxsize=8)
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all runs: the allocator keeps what a stream has freed for that stream alone."""
    return torch.cuda.Stream(device)


def _alike(some: tuple[Tensor | None, ...], others: tuple[Tensor | None, ...]) -> bool:
    def sort(tensor: Tensor | None) -> object:
        return None if tensor is None else (tensor.shape, tensor.dtype)

    return [sort(tensor) for tensor in some] == [sort(tensor) for tensor in others]
