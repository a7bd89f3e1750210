"""Our model and those of other packages, trained a step at a time by the same rule.

All get the same batches, noise, optimisers, clipping and averaging of weights, and start from the
same first images. The loss of all is in bits per dimension, so that clipping means the same.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

import report
import torch
from foreign import BUILD, muon_matrices, settle
from torch import Tensor, nn

from glow import Glow, GlowConfig, bits_per_dim, dequantize
from glow.flat import GradientVector, flatten_parameters
from glow.state import load_state, save_state
from glow.trainer import NonFiniteLoss, TrainConfig, Trainer
from glow.update import Update
from stages.batches import Batches
from stages.shards import ShardSet


@dataclass(frozen=True)
class Task:
    """What all have to learn, and how; `model` is ours, and says what the images are."""

    folder: Path
    model: GlowConfig
    train: TrainConfig
    batch_size: int
    initialize_images: int
    seed: int

    def batches(self) -> Batches:
        """The training split."""
        return _batches(self.folder, self.batch_size, self.seed)

    def first_images(self) -> Tensor:
        """What ActNorm is initialised from, (N, C, H, W) in [-0.5, 0.5)."""
        levels, _ = ShardSet.open(self.folder).load("train", self.initialize_images)
        generator = torch.Generator().manual_seed(self.seed)
        return dequantize(levels, self.model.n_bits, generator).to(report.device())


@lru_cache
def _batches(folder: Path, batch_size: int, seed: int) -> Batches:
    """Held once, however many learn from it."""
    return Batches.load(
        ShardSet.open(folder),
        batch_size,
        seed=seed,
        rank=0,
        world_size=1,
        device=report.device(),
    )


class Learner(Protocol):
    """A model in training."""

    step: int
    notes: dict[str, Any]  # of whoever trains, saved with the rest, as JSON

    def update(self, factor: float) -> None:
        """One step at the task's rates times `factor`.

        Raises:
            NonFiniteLoss: its loss or gradient is not finite; the weights are those before.
        """

    def log_prob(self, x: Tensor) -> Tensor:
        """Of the averaged weights, (B,), nats."""

    def n_parameters(self) -> int:
        """All learned numbers."""

    def save(self, file: Path) -> None:
        """Writes all that a resumed training needs."""

    def resume(self, file: Path) -> bool:
        """Goes on from what `save` wrote; False if it is not there."""


class Ours:
    """Our model in our trainer."""

    def __init__(self, task: Task) -> None:
        torch.manual_seed(task.seed)
        glow = Glow(task.model).to(report.device())
        glow.initialize(task.first_images())
        self.config = replace(task.train, steps=10**9, warmup_steps=0, decay_steps=0)
        self.trainer = Trainer(glow, self.config, seed=task.seed)
        self.steps = self.trainer.train(task.batches())

    @property
    def step(self) -> int:
        """Updates so far."""
        return self.trainer.step

    @property
    def notes(self) -> dict[str, Any]:
        """Of whoever trains."""
        return self.trainer.notes

    def update(self, factor: float) -> None:
        """One step of the trainer."""
        rates = {
            name: factor * getattr(self.config, name)
            for name in ("learning_rate", "muon_learning_rate")
        }
        self.trainer.config = replace(self.config, **rates)
        next(self.steps)

    def log_prob(self, x: Tensor) -> Tensor:
        """Of the averaged weights."""
        return self.trainer.ema_glow.log_prob(x)

    def n_parameters(self) -> int:
        """All learned numbers."""
        return len(self.trainer.weights)

    def save(self, file: Path) -> None:
        """As the trainer does."""
        self.trainer.save(file)

    def resume(self, file: Path) -> bool:
        """As the trainer does."""
        return self.trainer.resume(file)


class Foreign:
    """A flow of another package under our update of all weights at once.

    Args:
        task: of which the model says what the images are.
        build: makes the flow, a module whose value is the log-density of each image, in nats.
        compiled: whether its steps are those of `torch.compile`.
    """

    def __init__(
        self, task: Task, build: Callable[[], nn.Module], *, compiled: bool = False
    ) -> None:
        torch.manual_seed(task.seed)
        self.task, self.step, self.notes = task, 0, {}
        self.flow = build().to(report.device())
        with torch.no_grad():
            self.flow(task.first_images())  # initialises its ActNorms
        settle(self.flow)
        self.average = copy.deepcopy(self.flow).eval()
        self.weights, self.ema = flatten_parameters(self.flow), flatten_parameters(self.average)
        self.gradients = torch.zeros_like(self.weights)
        self._into = GradientVector(self.flow.parameters(), self.gradients)
        self._update = Update(
            self.weights,
            self.gradients,
            self.ema,
            optimizer=task.train.optimizer,
            matrices=muon_matrices(self.flow),
        )
        self._density = torch.compile(self.flow) if compiled else self.flow
        self._batches = task.batches()

    def update(self, factor: float) -> None:
        """One step, of the noise and with the clipping of our trainer."""
        model, train = self.task.model, self.task.train
        seed = hash((self.task.seed, self.step)) & 0x7FFF_FFFF_FFFF_FFFF
        generator = torch.Generator(report.device()).manual_seed(seed)
        x = dequantize(self._batches(self.step).levels, model.n_bits, generator)
        with self._into.open():
            loss = bits_per_dim(self._density(x), model.n_dims, model.n_bits).mean()
            loss.backward()
        norm = float(torch.linalg.vector_norm(self.gradients))
        if not math.isfinite(loss.detach() + norm):
            raise NonFiniteLoss(f"loss {loss.detach():.4g}, gradient norm {norm:.4g}")
        self._update(
            learning_rate=factor * train.learning_rate,
            scale=min(1.0, train.max_grad_norm / max(norm, 1e-12)),
            ema_decay=train.ema_decay_at(self.step),
            muon_learning_rate=factor * train.muon_learning_rate,
        )
        self.step += 1

    def log_prob(self, x: Tensor) -> Tensor:
        """Of the averaged weights."""
        return self.average(x)

    def n_parameters(self) -> int:
        """All learned numbers."""
        return len(self.weights)

    def save(self, file: Path) -> None:
        """Weights, average, moments, buffers, and how far it is."""
        save_state(file, self._tensors(), {"step": self.step, "notes": self.notes})

    def resume(self, file: Path) -> bool:
        """Goes on from what `save` wrote; False if it is not there."""
        tensors = self._tensors()
        found = load_state(file, tensors)
        if found is None:
            return False
        saved, progress = found
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.copy_(saved[name])
        self.step, self.notes = progress["step"], progress["notes"]
        return True

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {"weights": self.weights, "ema": self.ema}
        tensors |= {f"optimizer.{name}": value for name, value in self._update.state().items()}
        for who, flow in (("flow", self.flow), ("average", self.average)):
            tensors |= {f"{who}.{name}": buffer for name, buffer in flow.named_buffers()}
        return tensors


def normflows(task: Task) -> Foreign:
    """Of the same architecture as ours."""
    return Foreign(task, partial(BUILD["normflows"], task.model, {}))


LEARNERS: dict[str, Callable[[Task], Learner]] = {"glow": Ours, "normflows": normflows}


@torch.no_grad()
def bits(learner: Learner, levels: Tensor, n_bits: int, seed: int) -> Tensor:
    """Of each image (C, H, W) of `levels`, bits per dimension, (N,), float64."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for batch in levels.split(100):
        x = dequantize(batch, n_bits, generator).to(report.device())
        log_prob = learner.log_prob(x).double().cpu()
        parts.append(bits_per_dim(log_prob, x[0].numel(), n_bits))
    return torch.cat(parts)
