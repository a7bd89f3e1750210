"""The training of the speedrun: as many steps as fit, a curve, and a way back from divergence."""

import math
import statistics
import time
from contextlib import closing
from dataclasses import replace

import torch
from torch import Tensor

from glow.trainer import Batch, NonFiniteLoss, StepReport, Trainer
from gpu_parts import evaluation
from gpu_parts.images import Splits
from gpu_parts.pace import Pace
from gpu_parts.record import Record
from gpu_parts.settings import Speedrun
from gpu_parts.timing import wait
from gpu_parts.training import RECORDED_IN

POINTS = 24  # of the curve, evenly over the time
PLANNED_EVERY = 1.0  # seconds
DIVERGED = 0.5  # bits/dim above the best point
RESTARTS = 4
LAST_SECONDS = 8.0  # for files and samples, and for what nobody thought of
TIMED = 20  # steps, for a first plan
MARGIN = 1.3  # of what the test images will take by the points of the curve


class Batches:
    """Batches of images on the GPU, shuffled and mirrored anew in every pass over them.

    Args:
        levels: (N, C, H, W), uint8.
        size: of a batch.
        seed: of order and mirroring.
    """

    def __init__(self, levels: Tensor, size: int, seed: int) -> None:
        self._levels, self._size, self._seed = levels, size, seed
        self._epoch = -1
        self._order = self._mirrored = levels

    def __call__(self, step: int) -> Batch:
        """That of an update, from 0."""
        epoch, place = divmod(step, len(self._levels) // self._size)
        if epoch != self._epoch:
            device, n = self._levels.device, len(self._levels)
            generator = torch.Generator(device).manual_seed(1000003 * self._seed + epoch)
            self._order = torch.randperm(n, generator=generator, device=device)
            self._mirrored = torch.rand(n, generator=generator, device=device) < 0.5
            self._epoch = epoch
        rows = slice(place * self._size, (place + 1) * self._size)
        images = self._levels[self._order[rows]]
        mirrored = self._mirrored[rows].view(-1, 1, 1, 1)
        return Batch(torch.where(mirrored, images.flip(3), images))


class Race:
    """Trains until its time is up.

    Args:
        trainer: ready for its first step.
        how: the schedule.
        splits: images.
        record: where the curve goes.
        seconds: from the first steps on, in which the test images are to be measured too; all
            that are left of the record's if left out.
    """

    def __init__(
        self,
        trainer: Trainer,
        how: Speedrun,
        splits: Splits,
        record: Record,
        seconds: float | None = None,
    ) -> None:
        self.trainer, self.how, self.splits, self.record = trainer, how, splits, record
        self.seconds = seconds
        self._batches = Batches(splits.train, how.batch, how.seed)
        self._began, self._restarts = time.monotonic(), 0
        self._evaluating: list[float] = []  # seconds of each point
        self._best = math.inf
        self._saved: dict[str, Tensor] = {}
        self._points = self._saved_step = 0

    def run(self, at_end: float) -> None:
        """All of it.

        Args:
            at_end: images to measure after it, as a multiple of those of a point of the curve.
        """
        seconds_per_step = self._warm_up()
        self._point(None)
        self._point(None)  # the first one was slowed by what libraries set up
        self._began, self._points = time.monotonic(), 0
        del self._evaluating[0]
        seconds = self.record.left - LAST_SECONDS if self.seconds is None else self.seconds
        ends = self._began + seconds
        self._pace = Pace(self.trainer, self.how, ends=ends, seconds_per_step=seconds_per_step)
        self._plan(at_end)
        every = seconds / (POINTS + 1)
        while self._restarts <= RESTARTS:
            try:
                self._run(every, at_end)
                break
            except NonFiniteLoss as error:
                self._go_back(str(error))
        self.record.facts(
            seconds=round(time.monotonic() - self._began, 1),
            steps=self.trainer.step,
            images_per_second=round(self.how.batch / max(self._pace.seconds_per_step, 1e-9)),
            restarts=self._restarts,
        )

    def _run(self, every: float, at_end: float) -> None:
        planned = time.monotonic()
        self._pace.go_on()  # also from an earlier step
        with closing(self.trainer.train(self._batches)) as steps:
            for step in steps:
                now = time.monotonic()
                if now - planned > PLANNED_EVERY:
                    self._plan(at_end)
                    planned = now
                if now - self._began > (self._points + 1) * every:
                    self._pace.plan()
                    self._point(step)
                    self._pace.go_on()

    def _plan(self, at_end: float) -> None:
        points = max(0, POINTS - self._points)
        self._pace.aside = statistics.median(self._evaluating) * (points + MARGIN * at_end)
        self._pace.plan()

    def _warm_up(self) -> float:
        """Records the graph; seconds of a step after that."""
        took = []
        with closing(self.trainer.train(self._batches)) as steps:
            for _ in range(RECORDED_IN + TIMED):
                began = time.monotonic()
                next(steps)
                wait()
                took.append(time.monotonic() - began)
        self.record.facts(first_steps_s=[round(each, 3) for each in took[:RECORDED_IN]])
        return statistics.median(took[RECORDED_IN:])

    def _point(self, step: StepReport | None) -> None:
        """Measures the averaged weights; NonFiniteLoss where they are far from the best ones."""
        began = time.monotonic()
        of = self.splits.valid
        bits = float(evaluation.bits(self.trainer.ema_glow, of, draws=1, seed=0).mean())
        self._evaluating.append(time.monotonic() - began)
        self._points += 1
        if step is not None:
            self.record.row(
                "curve",
                seconds=round(began - self._began, 1),
                step=self.trainer.step,
                of=self.trainer.config.steps,
                train_bits_per_dim=round(step.bits_per_dim, 4),
                valid_bits_per_dim=round(bits, 4),
                grad_norm=round(step.grad_norm, 4),
                learning_rate=step.learning_rate,
            )
            self.record.headline(f"{bits:.3f} bits/dim, images held out, step {self.trainer.step}")
        if not bits < self._best + DIVERGED:
            raise NonFiniteLoss(f"{bits:.3f} bits/dim after {self._best:.3f}")
        self._best = min(self._best, bits)
        self._saved = {name: tensor.clone() for name, tensor in self._state().items()}
        self._saved_step = self.trainer.step

    def _state(self) -> dict[str, Tensor]:
        trainer = self.trainer
        return {"weights": trainer.weights, "ema": trainer.ema, **trainer.update.state()}

    def _go_back(self, why: str) -> None:
        """To the last point of the curve, at half the rates."""
        with torch.no_grad():
            for name, tensor in self._state().items():
                tensor.copy_(self._saved[name])
        self.trainer.step = self._saved_step
        config = self.trainer.config
        self.trainer.config = replace(
            config,
            learning_rate=config.learning_rate / 2,
            muon_learning_rate=config.muon_learning_rate / 2,
        )
        self._restarts += 1
        self.record.row("restarts", to_step=self.trainer.step, reason=why)
