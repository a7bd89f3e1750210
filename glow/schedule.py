"""How to train: the numbers of a training, and what they say of each step."""

import math
from dataclasses import dataclass
from typing import Literal

Optimizer = Literal["adamax", "adamw", "muon"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train.

    Attributes:
        steps: updates of the weights.
        optimizer: "adamax" (the paper's), "adamw", or "muon": Muon for the kernels of the
            couplings' networks and free 1x1 convolutions (muon.py), AdamW for the rest.
        learning_rate: after the warm-up; with "muon" of the rest.
        warmup_steps: first steps, in which the rate rises linearly from zero.
        decay_steps: last steps, in which it falls to zero along a cosine.
        max_grad_norm: longer gradients are scaled down to this length.
        ema_decay: of the average of the weights that is evaluated and saved.
        class_weight: of the classifier's loss, in bits per dimension, where there are classes
            (the original's weight_y, 0.01).
        muon_learning_rate: of these matrices, with "muon"; it rises and falls as the other does.
    """

    steps: int
    optimizer: Optimizer
    learning_rate: float
    warmup_steps: int
    decay_steps: int
    max_grad_norm: float
    ema_decay: float
    class_weight: float = 0.0
    muon_learning_rate: float = 0.01

    def learning_rate_at(self, step: int) -> float:
        """The rate of update number `step`, which counts from 0."""
        return self.learning_rate * self.factor_at(step)

    def factor_at(self, step: int) -> float:
        """By what the rates of update number `step` are multiplied, 0 to 1."""
        warmup = min(1.0, (step + 1) / max(1, self.warmup_steps))
        left = (self.steps - step) / max(1, self.decay_steps)
        decay = 0.5 * (1 - math.cos(math.pi * min(1.0, left)))
        return warmup * decay

    def ema_decay_at(self, step: int) -> float:
        """Smaller at first, so that the average forgets the start."""
        return min(self.ema_decay, (1 + step) / (10 + step))
