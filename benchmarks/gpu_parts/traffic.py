"""What a piece of work reads and writes if every operation reads and writes memory once.

Counted from the tensors of each operation that torch is asked for: the same on every device. What
a library moves inside of one operation is not seen, nor what a cache spares.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
UNTOUCHED = {  # besides views
    aten.empty,
    aten.empty_like,
    aten.empty_strided,
    aten.new_empty,
    aten.new_empty_strided,
    aten._unsafe_view,
}


class Traffic(TorchDispatchMode):
    """Counts inside of itself.

    Attributes:
        bytes_of: read and written, by the operation's name.
        calls_of: how often it was asked for; on a GPU each is a kernel or more.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes_of: dict[str, int] = defaultdict(int)
        self.calls_of: dict[str, int] = defaultdict(int)

    @property
    def gb(self) -> float:
        """All of it, 10^9 bytes."""
        return sum(self.bytes_of.values()) / 1e9

    @property
    def calls(self) -> int:
        """Of operations that touch memory."""
        return sum(self.calls_of.values())

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - as torch hands it on
        types: Any,  # noqa: ANN401 - as torch hands it on
        args: Any = (),  # noqa: ANN401 - as torch hands it on
        kwargs: Any = None,  # noqa: ANN401 - as torch hands it on
    ) -> Any:  # noqa: ANN401 - as torch hands it on
        """Runs it and counts."""
        del types
        out = func(*args, **(kwargs or {}))
        if not func.is_view and func.overloadpacket not in UNTOUCHED:
            name = str(func.overloadpacket).removeprefix("aten.")
            only_written = {arg.name for arg in func._schema.arguments if arg.is_out}
            read = {key: value for key, value in (kwargs or {}).items() if key not in only_written}
            self.bytes_of[name] += _bytes((args, read)) + _bytes(out)
            self.calls_of[name] += 1
        return out


def traffic_of(work: Callable[[], object]) -> Traffic:
    """Of one call."""
    with Traffic() as traffic:
        work()
    return traffic


def _bytes(tensors: Any) -> int:  # noqa: ANN401 - as torch hands it on
    """Of all of them; of an expanded one what it is a view of."""
    found = [leaf for leaf in tree_leaves(tensors) if isinstance(leaf, Tensor)]
    return sum(
        min(t.numel() * t.element_size(), t.untyped_storage().nbytes())
        for t in found
        if t.layout == torch.strided
    )
