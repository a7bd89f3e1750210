"""The parameters of many steps of flow, all steps' of a kind at once."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from glow.flat import GradientVector
from glow.parts import Parts, one_by_one, side_by_side
from glow.step import FlowStep


class StepParameters:
    """Of steps of one shape, each with the plain network.

    What they are is looked up once, and again where tensors are others than before or elsewhere.
    """

    def __init__(self, steps: Sequence[FlowStep]) -> None:
        self._steps = steps
        self._look_up()

    def stacks(self) -> Parts:
        """A tensor for every kind that lies side by side in memory, as a trainer keeps them."""
        first = self._steps[0]
        bias, factor = first.actnorm.bias, first.permutation.factors()[-1]
        same = self._watched[0] is bias and self._watched[1] is factor
        if not same or self._places != [p.data_ptr() for p in self._all]:
            self._look_up()
        return self._stacks

    def inputs(self, into: GradientVector | None) -> list[Any]:
        """What autograd is to give gradients to: all; or any one, where `into` takes them."""
        self.stacks()
        return self._all[:1] if self._targets(into) else self._all

    def give(self, gradients: Parts, into: GradientVector | None) -> list[Tensor | None]:
        """Adds them to the vector at once; or else those of `inputs`, one by one."""
        kinds = gradients.learned(self._parts)
        targets = self._targets(into)
        if not targets:
            return [gradient for each in kinds for gradient in one_by_one(each)]
        mine: list[Tensor] = []
        found: list[Tensor] = []
        for target, each in zip(targets, kinds, strict=True):
            mine += [target] if isinstance(each, Tensor) else target.unbind()
            found += [each] if isinstance(each, Tensor) else each
        torch._foreach_add_(mine, found)
        return [None]

    def _targets(self, into: GradientVector | None) -> list[Tensor]:
        """Where gradients are added up, a tensor for every kind.

        Empty where there is no vector, where they do not lie side by side in it, or where one of
        the parameters is not learned.
        """
        if into is None or not all(p.requires_grad for p in self._all):
            return []
        if self._parts not in into.stacks:
            kinds = self._parts.learned(self._parts)
            stacks = [side_by_side([into[p] for p in each]) for each in kinds]
            found = [stack for stack in stacks if isinstance(stack, Tensor)]
            into.stacks[self._parts] = found if len(found) == len(stacks) else []
        return into.stacks[self._parts]

    def _look_up(self) -> None:
        first = self._steps[0]
        self._parts = Parts.of(self._steps)
        self._stacks = self._parts.changed(side_by_side)
        self._all = [p for each in self._parts.learned(self._parts) for p in each]
        self._watched = first.actnorm.bias, first.permutation.factors()[-1]
        self._places = [p.data_ptr() for p in self._all]
