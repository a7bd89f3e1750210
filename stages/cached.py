"""A training split that is held on the device."""

from dataclasses import dataclass

from torch import Tensor

from stages.order import Order


@dataclass
class CachedLevels:
    """Batches cut out of levels (N, C, H, W), uint8, on the device."""

    levels: Tensor
    order: Order

    def part(self, step: int) -> Tensor:
        """This rank's part of the batch of update number `step`, (B / ranks, C, H, W)."""
        return self.levels[self.order.part(step).to(self.levels.device, non_blocking=True)]

    def close(self) -> None:
        """Nothing was opened."""
