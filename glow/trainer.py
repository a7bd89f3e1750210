"""The training loop: optimiser, schedule, EMA, data-parallel, resume. Knows no shard, no tracker.

All parameters live in one flat vector, of which the modules' parameters are views, and likewise
their gradients. So the optimiser, the average, the norm and the all-reduce of data-parallel
training are each one operation on one tensor, where a Glow has hundreds of small ones.
"""

import copy
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from glow.atomic import write_atomically
from glow.batchnorm import BatchNorm
from glow.bits import bits_per_dim, dequantize
from glow.model import Glow


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


@dataclass(frozen=True)
class Batch:
    """One rank's part of a batch: levels (B, C, H, W), uint8, and labels (B,) of their classes."""

    levels: Tensor
    labels: Tensor | None = None


@dataclass(frozen=True)
class StepReport:
    """One update: its number from 1, bits per dimension of its batch, and how it went."""

    step: int
    bits_per_dim: float
    grad_norm: float
    learning_rate: float


class NonFiniteLoss(RuntimeError):
    """The loss or its gradient is NaN or infinite; the weights are those before that step."""


class Trainer:
    """Trains a Glow that was initialised.

    Args:
        glow: trained in place.
        config: how.
        seed: of the dequantisation noise. Noise depends on (seed, step, rank) alone, so a
            resumed training draws what an uninterrupted one would.
    """

    def __init__(self, glow: Glow, config: TrainConfig, *, seed: int) -> None:
        self.glow, self.config, self.seed = glow, config, seed
        self.step = 0
        self.notes: dict[str, Any] = {}  # of whoever trains, saved with the rest, as JSON
        self.ema_glow = copy.deepcopy(glow).eval()
        self.ema, _ = _flatten_into_views(self.ema_glow)
        self.weights, self.gradients = _flatten_into_views(glow)
        self.weights.grad = self.gradients
        self._buffers = _running_averages(glow)
        self._ema_buffers = _running_averages(self.ema_glow)
        self.optimizer: torch.optim.Optimizer
        if config.optimizer == "adamax":
            self.optimizer = torch.optim.Adamax([self.weights], lr=config.learning_rate)
        else:
            self.optimizer = torch.optim.AdamW(
                [self.weights], lr=config.learning_rate, weight_decay=0.0
            )

    def train(self, batch_at: Callable[[int], Batch]) -> Iterator[StepReport]:
        """Trains up to `config.steps`, yielding after every update.

        Args:
            batch_at: this rank's part of the batch of update number `step` from 0.

        Raises:
            NonFiniteLoss: at the first step whose loss or gradient is not finite.
        """
        self.glow.train()
        while self.step < self.config.steps:
            yield self._update(batch_at(self.step))

    def _update(self, batch: Batch) -> StepReport:
        model = self.glow.config
        generator = torch.Generator(batch.levels.device).manual_seed(self._noise_seed())
        x = dequantize(batch.levels, model.n_bits, generator)
        encoding = self.glow(x, batch.labels)
        bits = bits_per_dim(encoding.log_prob, model.n_dims, model.n_bits).mean()
        total = bits
        if batch.labels is not None:
            surprise = F.cross_entropy(self.glow.top.logits(encoding.top), batch.labels)
            total = bits + self.config.class_weight * surprise / math.log(2.0)
        self.gradients.zero_()
        total.backward()
        loss = bits.detach()
        if _world_size() > 1:
            for tensor in (self.gradients, loss):
                dist.all_reduce(tensor)
                tensor /= _world_size()
        norm = float(torch.linalg.vector_norm(self.gradients))
        if not math.isfinite(norm) or not math.isfinite(float(loss)):
            raise NonFiniteLoss(
                f"loss {float(loss):.4g} bits/dim, gradient norm {norm:.4g} at step "
                f"{self.step + 1}; try a lower learning_rate or more warmup_steps"
            )
        if norm > self.config.max_grad_norm:
            self.gradients *= self.config.max_grad_norm / norm
        rate = self.config.learning_rate_at(self.step)
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        with torch.no_grad():
            self.ema.lerp_(self.weights, 1 - self.config.ema_decay_at(self.step))
            for average, buffer in zip(self._ema_buffers, self._buffers, strict=True):
                average.copy_(buffer)
        self.step += 1
        return StepReport(self.step, float(loss), norm, rate)

    def save(self, file: Path) -> None:
        """Writes all that a resumed training needs, without pickle, at once or not at all."""
        state = self.optimizer.state[self.weights]
        tensors = {"weights": self.weights.detach(), "ema": self.ema}
        tensors |= {f"optimizer.{name}": value for name, value in state.items()}
        buffers = {f"buffer.{name}": value for name, value in self.glow.named_buffers()}
        content = {name: tensor.cpu().contiguous() for name, tensor in (tensors | buffers).items()}
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(
            file, save(content, {"trainer": json.dumps({"step": self.step, "notes": self.notes})})
        )

    def resume(self, file: Path) -> bool:
        """Goes on from what `save` wrote; False where there is nothing, or nothing whole."""
        try:
            with safe_open(file, framework="pt") as stored:
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
                progress = json.loads(stored.metadata()["trainer"])
        except (FileNotFoundError, SafetensorError):
            return False
        self.step, self.notes = progress["step"], progress["notes"]
        with torch.no_grad():
            self.weights.copy_(tensors["weights"])
            self.ema.copy_(tensors["ema"])
            for model in (self.glow, self.ema_glow):
                for name, buffer in model.named_buffers():
                    buffer.copy_(tensors[f"buffer.{name}"])
        prefix = "optimizer."
        self.optimizer.state[self.weights] = {
            name.removeprefix(prefix): value
            if name == "optimizer.step"
            else value.to(self.weights.device)
            for name, value in tensors.items()
            if name.startswith(prefix)
        }
        return True

    def _noise_seed(self) -> int:
        rank = dist.get_rank() if _world_size() > 1 else 0
        return hash((self.seed, self.step, rank)) & 0x7FFF_FFFF_FFFF_FFFF  # ints hash the same


def _running_averages(glow: Glow) -> list[Tensor]:
    """The only buffers that training changes."""
    norms = [module for module in glow.modules() if isinstance(module, BatchNorm)]
    return [buffer for norm in norms for buffer in norm.buffers()]


def _world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _flatten_into_views(module: nn.Module) -> tuple[Tensor, Tensor]:
    """Vectors with all parameters of a module and all gradients, of which its own become views."""
    parameters = list(module.parameters())
    flat = torch.cat([parameter.detach().flatten() for parameter in parameters])
    gradients = torch.zeros_like(flat)
    start = 0
    for parameter in parameters:
        part = slice(start, start + parameter.numel())
        parameter.data = flat[part].view_as(parameter)
        parameter.grad = gradients[part].view_as(parameter)
        start = part.stop
    return flat, gradients
