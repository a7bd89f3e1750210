"""A training that ends with its time: how many steps there will be is planned as it goes."""

import time
from dataclasses import replace

from glow.trainer import Trainer
from gpu_parts.settings import Speedrun

WINDOW = 0.5  # weight of the newest measurement


class Pace:
    """Sets the steps of a trainer's config to what fits into its time.

    Args:
        trainer: whose config is changed; its rates fall to 0 with the last step.
        how: the shares of warm-up and decay.
        ends: on `time.monotonic`'s clock, when everything must be over.
        seconds_per_step: to begin with.

    Attributes:
        aside: seconds until the end that are not for training.
        seconds_per_step: as measured lately.
    """

    def __init__(
        self, trainer: Trainer, how: Speedrun, *, ends: float, seconds_per_step: float
    ) -> None:
        self._trainer, self._how, self._ends = trainer, how, ends
        self.aside, self.seconds_per_step = 0.0, seconds_per_step
        self.go_on()

    @property
    def left(self) -> float:
        """Seconds of training."""
        return self._ends - time.monotonic() - self.aside

    def go_on(self) -> None:
        """After what was no training, as an evaluation is."""
        self._since, self._before = time.monotonic(), self._trainer.step

    def plan(self) -> None:
        """Measures the steps since the last time, and sets how many there will be in all."""
        step = self._trainer.step
        if step > self._before:
            found = (time.monotonic() - self._since) / (step - self._before)
            self.seconds_per_step += WINDOW * (found - self.seconds_per_step)
        self.go_on()
        steps = step + max(0, round(self.left / self.seconds_per_step))
        self._trainer.config = replace(
            self._trainer.config,
            steps=steps,
            warmup_steps=max(10, round(self._how.warmup * steps)),
            decay_steps=max(1, round(self._how.decay * steps)),
        )
