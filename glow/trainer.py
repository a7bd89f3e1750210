"""The training loop: optimiser, EMA, data-parallel, accumulation. Knows no shard, no tracker."""

import copy
import gc
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from glow.allocator import keep_freed_memory
from glow.batchnorm import BatchNorm
from glow.bits import bits_per_dim, dequantize
from glow.capture import Captured, Work, obstacle
from glow.flat import GradientVector, flatten_parameters
from glow.model import Glow
from glow.muon import matrices_of
from glow.parallel import average, rank, world_size
from glow.schedule import TrainConfig
from glow.state import load_state, save_state
from glow.update import Update

__all__ = ["Batch", "NonFiniteLoss", "StepReport", "TrainConfig", "Trainer"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """One rank's part of a batch: levels (B, C, H, W), uint8, and labels (B,) of their classes."""

    levels: Tensor
    labels: Tensor | None = None


@dataclass(frozen=True)
class StepReport:
    """One update: its number from 1, bits per dimension of its batch, and how it went.

    `stop` says that some process was asked to end; all processes are told in the same step.
    """

    step: int
    bits_per_dim: float
    grad_norm: float
    learning_rate: float
    stop: bool


class NonFiniteLoss(RuntimeError):
    """The loss or its gradient is NaN or infinite; the weights are those before that step."""


class Trainer:
    """Trains a Glow that was initialised, in one process or, data-parallel, in several.

    Noise depends on the seed, the step and an image's place in the global batch alone. So a
    resumed training draws what an uninterrupted one would, and two processes what one does.

    Args:
        glow: trained in place, in float32 or float64, its networks as `set_precision` says; the
            average of its weights is always run in float32.
        config: how.
        seed: of the dequantisation noise.
        micro_batch: images of this process at once, all if left out. Gradients of the parts of a
            batch add up to that of the whole: fewer need less memory and change rounding only.
        graphs: whether a GPU is to run forward and backward as one CUDA graph (capture.py), of
            the model as it is set up in its fourth step; a line of the log says where it cannot.

    Raises:
        ValueError: micro_batch is below 1, or is set for a model with batch normalisation, where
            the parts of a batch are not independent.
    """

    def __init__(
        self,
        glow: Glow,
        config: TrainConfig,
        *,
        seed: int,
        micro_batch: int | None = None,
        graphs: bool = False,
    ) -> None:
        self.glow, self.config, self.seed, self.micro_batch = glow, config, seed, micro_batch
        norms = [module for module in glow.modules() if isinstance(module, BatchNorm)]
        if micro_batch is not None and (micro_batch < 1 or norms):
            kind = "batch normalisation" if norms else "this model"
            raise ValueError(
                f"micro_batch is {micro_batch}, expected "
                f"{'none' if norms else 'at least 1'} with {kind}"
            )
        keep_freed_memory()
        self.step = 0
        self.notes: dict[str, Any] = {}  # of whoever trains, saved with the rest, as JSON
        self.ema_glow = copy.deepcopy(glow).eval()
        self.ema_glow.set_precision("float32")
        self.ema = flatten_parameters(self.ema_glow)
        self.weights = flatten_parameters(glow)
        self._work: Work = self._differentiate
        if graphs and (why := obstacle(glow.config, self.weights.device)):
            log.warning("CUDA graphs have no effect on this training: %s", why)
        elif graphs:
            self._work = Captured(self._differentiate, self.weights.device)
        # gradients, loss and the wish to stop in one vector: one all-reduce takes them all
        self._sums = self.weights.new_zeros(len(self.weights) + 2)
        self.gradients = self._sums[:-2]
        self._into = GradientVector(glow.parameters(), self.gradients)
        self.update = Update(
            self.weights,
            self.gradients,
            self.ema,
            optimizer=config.optimizer,
            matrices=matrices_of(glow),
        )
        self._buffers = [buffer for norm in norms for buffer in norm.buffers()]
        self._ema_buffers = [
            buffer
            for module in self.ema_glow.modules()
            if isinstance(module, BatchNorm)
            for buffer in module.buffers()
        ]

    def train(
        self, batch_at: Callable[[int], Batch], stop: Callable[[], bool] = lambda: False
    ) -> Iterator[StepReport]:
        """Trains up to `config.steps`, yielding after every update.

        Args:
            batch_at: this rank's part of the batch of update number `step` from 0; parts are of
                the same size.
            stop: whether this process was asked to end; asked once in every update.

        Raises:
            NonFiniteLoss: at the first step whose loss or gradient is not finite, in all ranks.
            LostProcess: another rank is gone; the weights are those before that step.
        """
        self.glow.train()
        gc.collect()
        gc.freeze()  # or each collection looks through all modules: a tenth of the time of a step
        try:
            while self.step < self.config.steps:
                yield self._update(batch_at(self.step), stop)
        finally:
            gc.unfreeze()

    def _update(self, batch: Batch, stop: Callable[[], bool]) -> StepReport:
        self._work(self._noisy(batch.levels), batch.labels)
        self._sums[-1] = float(stop())
        average(self._sums)
        norm = torch.linalg.vector_norm(self.gradients)
        # the one synchronisation of a step, and before the weights change: a bad step leaves none
        norm, loss, stops = torch.stack([norm, *self._sums[-2:]]).tolist()
        if not math.isfinite(norm) or not math.isfinite(loss):
            raise NonFiniteLoss(
                f"loss {loss:.4g} bits/dim, gradient norm {norm:.4g} at step "
                f"{self.step + 1}; try a lower learning_rate or more warmup_steps"
            )
        rate = self.config.learning_rate_at(self.step)
        self.update(
            learning_rate=rate,
            scale=min(1.0, self.config.max_grad_norm / max(norm, 1e-12)),
            ema_decay=self.config.ema_decay_at(self.step),
            muon_learning_rate=self.config.muon_learning_rate * self.config.factor_at(self.step),
        )
        with torch.no_grad():
            for mean, buffer in zip(self._ema_buffers, self._buffers, strict=True):
                mean.copy_(buffer)
        self.step += 1
        return StepReport(self.step, loss, norm, rate, stops > 0)

    def _noisy(self, levels: Tensor) -> Tensor:
        """This rank's images with noise that the seed, the step and their places decide."""
        generator = torch.Generator(levels.device).manual_seed(
            hash((self.seed, self.step)) & 0x7FFF_FFFF_FFFF_FFFF  # ints hash the same everywhere
        )
        n_bits = self.glow.config.n_bits
        return dequantize(levels, n_bits, generator, part=(rank(), world_size()))

    def _differentiate(self, noisy: Tensor, labels: Tensor | None) -> None:
        """Leaves in `_sums` the mean loss of this rank's images, bits/dim, and its gradient."""
        model = self.glow.config
        mean = self.weights.new_zeros(())
        with self.glow.full_products(), self.glow.gathering(self._into):
            for start in range(0, len(noisy), self.micro_batch or len(noisy)):
                rows = slice(start, start + (self.micro_batch or len(noisy)))
                x = noisy[rows].to(self.weights)
                share = len(x) / len(noisy)
                encoding = self.glow(x, None if labels is None else labels[rows])
                bits = bits_per_dim(encoding.log_prob, model.n_dims, model.n_bits).mean()
                total = bits
                if labels is not None:
                    logits = self.glow.top.logits(encoding.top)
                    surprise = F.cross_entropy(logits, labels[rows])
                    total = bits + self.config.class_weight * surprise / math.log(2.0)
                (total * share).backward()
                mean += bits.detach() * share
        self._sums[-2] = mean

    def save(self, file: Path) -> None:
        """Writes all that a resumed training needs, without pickle, at once or not at all."""
        tensors = {"weights": self.weights.detach(), "ema": self.ema}
        tensors |= {f"optimizer.{name}": value for name, value in self.update.state().items()}
        tensors |= {f"buffer.{name}": value for name, value in self.glow.named_buffers()}
        save_state(file, tensors, {"step": self.step, "notes": self.notes})

    def resume(self, file: Path) -> bool:
        """Goes on from what `save` wrote, in any number of processes; False if it is not there.

        Raises:
            DamagedState: the file is not whole or of another model; nothing has changed.
        """
        buffers = dict(self.glow.named_buffers())
        expected = {"weights": self.weights, "ema": self.ema}
        expected |= {f"optimizer.{name}": value for name, value in self.update.state().items()}
        expected |= {f"buffer.{name}": buffer for name, buffer in buffers.items()}
        found = load_state(file, expected)
        if found is None:
            return False
        tensors, progress = found
        self.step, self.notes = progress["step"], progress["notes"]
        with torch.no_grad():
            self.weights.copy_(tensors["weights"])
            self.ema.copy_(tensors["ema"])
            for model in (self.glow, self.ema_glow):
                for name, buffer in model.named_buffers():
                    buffer.copy_(tensors[f"buffer.{name}"])
        prefix = "optimizer."
        self.update.load(
            {key.removeprefix(prefix): tensors[key] for key in expected if key.startswith(prefix)}
        )
        return True
