"""Our model and normflows', trained a step at a time by the same rule.

Both get the same batches, optimiser, clipping and averaging of weights, and start from the same
first images. The loss of both is in bits per dimension, so that clipping means the same.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import report
import torch
from peer import log_prob_of_peer, loss_of_peer, peer
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from glow import Glow, GlowConfig, dequantize
from glow.trainer import NonFiniteLoss, TrainConfig, Trainer
from stages.batches import Batches
from stages.shards import ShardSet


@dataclass(frozen=True)
class Task:
    """What both have to learn, and how: the same for both."""

    folder: Path
    model: GlowConfig
    train: TrainConfig
    batch_size: int
    initialize_images: int
    seed: int

    def batches(self) -> Batches:
        """The training split."""
        return Batches.load(
            ShardSet.open(self.folder),
            self.batch_size,
            seed=self.seed,
            rank=0,
            world_size=1,
            device=report.device(),
        )

    def first_images(self) -> Tensor:
        """What ActNorm is initialised from, (N, C, H, W) in [-0.5, 0.5)."""
        levels, _ = ShardSet.open(self.folder).load("train", self.initialize_images)
        generator = torch.Generator().manual_seed(self.seed)
        return dequantize(levels, self.model.n_bits, generator).to(report.device())


class Learner(Protocol):
    """A model in training."""

    def update(self, learning_rate: float) -> None:
        """One step; NonFiniteLoss where its loss or gradient is not finite."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Of the averaged weights, (B,), nats."""

    def n_parameters(self) -> int:
        """All learned numbers."""


class Ours:
    """Our model in our trainer."""

    def __init__(self, task: Task) -> None:
        torch.manual_seed(task.seed)
        glow = Glow(task.model).to(report.device())
        glow.initialize(task.first_images())
        constant = replace(task.train, steps=10**9, warmup_steps=0, decay_steps=0)
        self.trainer = Trainer(glow, constant, seed=task.seed)
        self.steps = self.trainer.train(task.batches())

    def update(self, learning_rate: float) -> None:
        """One step of the trainer."""
        self.trainer.config = replace(self.trainer.config, learning_rate=learning_rate)
        next(self.steps)

    def log_prob(self, x: Tensor) -> Tensor:
        """Of the averaged weights."""
        return self.trainer.ema_glow.log_prob(x)

    def n_parameters(self) -> int:
        """All learned numbers."""
        return len(self.trainer.weights)


class Peer:
    """normflows' model, trained as its examples do, with our clipping and averaging."""

    def __init__(self, task: Task) -> None:
        torch.manual_seed(task.seed)
        self.flow = peer(task.model).to(report.device())
        with torch.no_grad():
            loss_of_peer(self.flow, task.first_images())  # initialises its ActNorms
        self.task, self.batches, self.step = task, task.batches(), 0
        self.noise = torch.Generator(report.device()).manual_seed(task.seed)
        self.parameters = list(self.flow.parameters())
        self.optimizer: torch.optim.Optimizer
        if task.train.optimizer == "adamw":
            self.optimizer = torch.optim.AdamW(self.parameters, weight_decay=0.0, fused=True)
        else:
            self.optimizer = torch.optim.Adamax(self.parameters)
        self.average = AveragedModel(self.flow, multi_avg_fn=self._blend).eval()

    def update(self, learning_rate: float) -> None:
        """One step of torch's optimiser."""
        model = self.task.model
        x = dequantize(self.batches(self.step).levels, model.n_bits, self.noise)
        self.optimizer.zero_grad()
        loss = loss_of_peer(self.flow, x) / (model.n_dims * math.log(2))
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.task.train.max_grad_norm)
        if not math.isfinite(loss.detach() + norm):
            raise NonFiniteLoss(f"loss {loss.detach():.4g}, gradient norm {norm:.4g}")
        self.optimizer.param_groups[0]["lr"] = learning_rate
        self.optimizer.step()
        self.average.update_parameters(self.flow)
        self.step += 1

    def log_prob(self, x: Tensor) -> Tensor:
        """Of the averaged weights."""
        return log_prob_of_peer(self.average.module, x)

    def n_parameters(self) -> int:
        """All learned numbers."""
        return sum(parameter.numel() for parameter in self.parameters)

    def _blend(self, mean: list[Tensor], now: list[Tensor], steps: Tensor | int) -> None:
        get_ema_multi_avg_fn(self.task.train.ema_decay_at(int(steps)))(mean, now, steps)


LEARNERS: dict[str, type[Ours] | type[Peer]] = {"glow": Ours, "normflows": Peer}
