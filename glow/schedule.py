"""How to train: the numbers of a training, and what they say of each step."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train.

    Attributes:
        steps: updates of the weights.
        optimizer: "adamax" (the paper's) or "adamw".
        learning_rate: after the warm-up.
        warmup_steps: first steps, in which the rate rises linearly from zero.
        decay_steps: last steps, in which it falls to zero along a cosine.
        max_grad_norm: longer gradients are scaled down to this length.
        ema_decay: of the average of the weights that is evaluated and saved.
        class_weight: of the classifier's loss, in bits per dimension, where there are classes
            (the original's weight_y, 0.01).
    """

    steps: int
    optimizer: Literal["adamax", "adamw"]
    learning_rate: float
    warmup_steps: int
    decay_steps: int
    max_grad_norm: float
    ema_decay: float
    class_weight: float = 0.0

    def learning_rate_at(self, step: int) -> float:
        """The rate of update number `step`, which counts from 0."""
        warmup = min(1.0, (step + 1) / max(1, self.warmup_steps))
        left = (self.steps - step) / max(1, self.decay_steps)
        decay = 0.5 * (1 - math.cos(math.pi * min(1.0, left)))
        return self.learning_rate * warmup * decay

    def ema_decay_at(self, step: int) -> float:
        """Smaller at first, so that the average forgets the start."""
        return min(self.ema_decay, (1 + step) / (10 + step))
