"""Validation in the course of a training: a row of the learning curves every so many updates."""

import torch
from torch import Tensor

from glow import Glow
from glow.trainer import Trainer
from stages.curves import Curves
from stages.interrupt import Interrupt
from stages.likelihood import measure

VALID_BATCH = 100


class Validation:
    """Of the averaged weights, with the same noise each time.

    Args:
        trainer: whose weights.
        curves: of it.
        levels: (N, C, H, W), uint8, of validation images.
        labels: (N,), their classes, or none.
        seed: of the noise.
        every: so many updates, and at the end.
        interrupt: who is to stop does not wait for the images.
    """

    def __init__(
        self,
        trainer: Trainer,
        curves: Curves,
        levels: Tensor,
        labels: Tensor | None,
        *,
        seed: int,
        every: int,
        interrupt: Interrupt,
    ) -> None:
        self._trainer, self._curves, self._interrupt = trainer, curves, interrupt
        self._levels, self._labels, self._seed, self._every = levels, labels, seed, every

    def due(self) -> bool:
        """Whether the updates so far ask for a row that is not there yet.

        So it is where a training goes on from a checkpoint, which is saved before.
        """
        step, rows = self._trainer.step, self._curves.rows
        at_this_step = step % self._every == 0 or step == self._trainer.config.steps
        return step > 0 and at_this_step and (not rows or rows[-1]["step"] != step)

    def row(self) -> dict[str, float]:
        """Measures, and adds the row to the curves.

        Raises:
            SystemExit: a signal came; nothing is added.
        """
        step = self._trainer.step
        with self._interrupt.waiting():
            bits = mean_bits_per_dim(
                self._trainer.ema_glow, self._levels, self._labels, self._seed
            )
        return self._curves.row(step, bits, self._trainer.config.learning_rate_at(step - 1))


def mean_bits_per_dim(glow: Glow, levels: Tensor, labels: Tensor | None, seed: int) -> float:
    """Mean over images, with the same noise each time it is called."""
    generator = torch.Generator(next(glow.parameters()).device).manual_seed(seed)
    found = measure(glow, levels, labels, n_draws=1, batch_size=VALID_BATCH, generator=generator)
    return float(found.bits.mean())
