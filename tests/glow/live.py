"""How many bytes of tensors are alive, to the byte: what a passage of code makes and keeps."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Live(TorchDispatchMode):
    """Counts the memory of every tensor that operations inside return.

    What a library needs inside of one operation is not seen.

    Attributes:
        now: bytes alive.
        peak: the most that ever were.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: Any = (),  # noqa: ANN401
        kwargs: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Runs it, and counts what is new."""
        del types
        before = {id(t.untyped_storage()) for t in tree_leaves((args, kwargs)) if _dense(t)}
        out = func(*args, **(kwargs or {}))
        for tensor in filter(_dense, tree_leaves(out)):
            storage = tensor.untyped_storage()
            if id(storage) not in before and storage not in self._known:
                self._known.add(storage)
                self.now += storage.nbytes()
                weakref.finalize(storage, self._gone, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return out

    def _gone(self, size: int) -> None:
        self.now -= size


def _dense(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and leaf.layout == torch.strided
