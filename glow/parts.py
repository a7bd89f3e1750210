"""The parameters of many steps of flow, by what they do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from glow.actnorm import ActNorm
from glow.conditioner import Conditioner
from glow.step import FlowStep

Each = Sequence[Tensor] | Tensor  # one tensor for every step


@dataclass(frozen=True, eq=False)
class Parts:
    """Of steps with the plain network: a tensor of every kind for every step.

    Attributes:
        bias: of ActNorm, and its `logs`.
        factors: of the permutation, those that are learned first.
        kernel1: of the first convolution; `bias1`, `logs1` of the ActNorm after it.
        weight2: of the 1x1 convolution; `bias2`, `logs2` of the ActNorm after it.
        kernel3: of the last convolution, and its `bias3`, `logs3`.
    """

    bias: Each
    logs: Each
    factors: Sequence[Each]
    kernel1: Each
    bias1: Each
    logs1: Each
    weight2: Each
    bias2: Each
    logs2: Each
    kernel3: Each
    bias3: Each
    logs3: Each

    @classmethod
    def of(cls, steps: Sequence[FlowStep]) -> "Parts":
        """Parameters, and the fixed factors of permutations."""
        networks: list[Conditioner] = [step.coupling.conditioner for step in steps]  # type: ignore[misc]  # see kind
        actnorms = [step.actnorm for step in steps]
        norms1: list[Any] = [network.norm1 for network in networks]
        norms2: list[Any] = [network.norm2 for network in networks]
        last = [network.conv3 for network in networks]
        inside = isinstance(norms1[0], ActNorm)
        return cls(
            bias=[norm.bias for norm in actnorms],
            logs=[norm.logs for norm in actnorms],
            factors=list(zip(*(step.permutation.factors() for step in steps), strict=True)),
            kernel1=[network.conv1.weight for network in networks],
            bias1=[norm.bias for norm in norms1],
            logs1=[norm.logs for norm in norms1] if inside else [],
            weight2=[network.weight2 for network in networks],
            bias2=[norm.bias for norm in norms2],
            logs2=[norm.logs for norm in norms2] if inside else [],
            kernel3=[conv.conv.weight for conv in last],
            bias3=[conv.bias for conv in last],
            logs3=[conv.logs for conv in last],
        )

    def learned(self, of: "Parts") -> list[Each]:
        """Every kind whose counterpart in `of` is of parameters, in one order for all Parts."""
        found: list[Each] = []
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(of, field.name)
            pairs = (
                zip(mine, theirs, strict=False) if field.name == "factors" else [(mine, theirs)]
            )
            found += [
                tensors
                for tensors, parameters in pairs
                if len(parameters) and isinstance(parameters[0], torch.nn.Parameter)
            ]
        return found

    def changed(self, change: Callable[[Each], Each]) -> "Parts":
        """Each kind as `change` makes it; what is empty stays so."""
        kinds = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "factors"}
        return Parts(
            factors=[change(factor) for factor in self.factors],
            **{name: change(each) if len(each) else each for name, each in kinds.items()},
        )


def one_by_one(each: Each) -> Sequence[Tensor]:
    """A tensor for every step."""
    return each.unbind() if isinstance(each, Tensor) else each


def stacked(tensors: Each) -> Tensor:
    """All of them in one tensor, (K, ...), not to be written to."""
    found = side_by_side(tensors)
    return found if isinstance(found, Tensor) else torch.stack([t.detach() for t in found])


def side_by_side(tensors: Each) -> Each:
    """All of them in one tensor, (K, ...), of the same memory; unchanged where they lie otherwise.

    A trainer keeps all parameters in one vector; there those of steps of one shape lie at equal
    distances.
    """
    if isinstance(tensors, Tensor):
        return tensors
    first = tensors[0].detach()
    if len(tensors) == 1:
        return first[None]
    size, start = first.element_size(), first.data_ptr()
    apart, rest = divmod(tensors[1].data_ptr() - start, size)
    storage = first.untyped_storage()
    end = start + apart * (len(tensors) - 1) * size + first.numel() * size
    if (
        apart >= first.numel()
        and not rest
        and end <= storage.data_ptr() + storage.nbytes()
        and all(t.data_ptr() == start + i * apart * size for i, t in enumerate(tensors))
        and all(t.is_contiguous() for t in tensors)
    ):
        return first.as_strided((len(tensors), *first.shape), (apart, *first.stride()))
    return tensors
