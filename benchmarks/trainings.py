"""One training of a contender for as many steps as fit into given minutes; it can be resumed."""

import json
import math
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from contenders import Contender
from learners import Learner, bits

from glow.atomic import make_folder, write_atomically
from glow.trainer import NonFiniteLoss
from stages.shards import ShardSet


@dataclass(frozen=True, kw_only=True)
class Training:
    """Who trains, on what, for how long, and how it is watched.

    Attributes:
        name: of the contender.
        contender: the contender.
        shards: what it learns.
        seconds_per_step: that its minutes are counted by.
        compiled: whether its steps are those of `torch.compile`.
        minutes: the budget.
        seed: of weights, order and noise.
        every: minutes between points of the curve.
        valid_images: in each of these.
        save_seconds: of real time between saves.
    """

    name: str
    contender: Contender
    shards: Path
    seconds_per_step: float
    compiled: bool
    minutes: float
    seed: int
    every: float
    valid_images: int
    save_seconds: float = 120.0

    @property
    def steps(self) -> int:
        """As many as fit."""
        return max(1, round(self.minutes * 60 / self.seconds_per_step))

    @property
    def stem(self) -> str:
        """Of its files."""
        return f"{self.name}-{self.minutes:g}min-seed{self.seed}"

    def about(self, checksum: str) -> dict[str, Any]:
        """All that decides its numbers."""
        return {
            "name": self.name,
            "recipe": asdict(self.contender),
            "data": checksum,
            "seconds_per_step": self.seconds_per_step,
            "form": "compiled" if self.compiled else "plain",
            "minutes": self.minutes,
            "steps": self.steps,
            "seed": self.seed,
            "every": self.every,
            "valid_images": self.valid_images,
            "torch": torch.__version__,
        }


def run(training: Training, out: Path, *, test: bool = True) -> dict[str, Any]:
    """Trains to the end, from where a former run was stopped, and returns what it wrote.

    The folder has a JSON file of the curve so far, with the `row` of the table once it is whole,
    and the state of a training that is not.

    Raises:
        ValueError: the folder has a training of that name, minutes and seed and other settings.
    """
    shards = ShardSet.open(training.shards)
    about = training.about(shards.checksum)
    paper, state = out / f"{training.stem}.json", out / f"{training.stem}.safetensors"
    if paper.is_file():
        found = json.loads(paper.read_text(encoding="utf-8"))
        if {key: found.get(key) for key in about} != about:
            raise ValueError(f"{paper} is of other settings, expected another --out or none")
        if found["row"] is not None:
            return found
    make_folder(out)
    steps, valid = training.steps, shards.load("valid", training.valid_images)[0]
    train = training.contender.train(steps)
    learner = training.contender.learner(
        shards, steps, seed=training.seed, compiled=training.compiled
    )
    learner.resume(state)
    curve = learner.notes.setdefault("curve", [])
    marks = {
        min(steps, math.ceil(k * training.every * 60 / training.seconds_per_step))
        for k in range(1, math.ceil(training.minutes / training.every) + 1)
    } | {steps}
    began = saved = time.monotonic()
    before = learner.notes.get("wall_seconds", 0.0)

    def write(row: dict[str, Any] | None) -> dict[str, Any]:
        content = {**about, "curve": curve, "row": row}
        write_atomically(paper, (json.dumps(content, indent=2) + "\n").encode())
        return content

    with suppress(NonFiniteLoss):
        while learner.step < steps:
            learner.update(train.factor_at(learner.step))
            if learner.step in marks:
                mean = bits(learner, valid, shards.n_bits, training.seed).mean()
                spent = learner.step * training.seconds_per_step / 60
                curve.append({"minutes": round(spent, 3), "valid_bits_per_dim": number(mean)})
                write(None)
            now = time.monotonic()
            learner.notes["wall_seconds"] = before + now - began
            if now - saved > training.save_seconds or learner.step == steps:
                learner.save(state)
                saved = now
    content = write(row_of(training, learner, shards, test=test))
    state.unlink(missing_ok=True)
    return content


def row_of(
    training: Training, learner: Learner, shards: ShardSet, *, test: bool
) -> dict[str, Any]:
    """What the table says of a training that has ended."""
    whole = learner.step >= training.steps
    row: dict[str, Any] = {
        "contender": training.name,
        "seed": training.seed,
        "minutes": training.minutes,
        "test_bits_per_dim": None,
        "standard_error": None,
        "valid_bits_per_dim": learner.notes["curve"][-1]["valid_bits_per_dim"] if whole else None,
        "steps": learner.step,
        "batch_size": training.contender.batch_size,
        "ms_per_step": round(1000 * training.seconds_per_step, 1),
        "form": "compiled" if training.compiled else "plain",
        "parameters": learner.n_parameters(),
        "wall_minutes": round(learner.notes.get("wall_seconds", 0.0) / 60, 1),
        "diverged_at_step": None if whole else learner.step + 1,
    }
    if whole and test:
        found = bits(learner, shards.load("test")[0], shards.n_bits, training.seed)
        row["test_bits_per_dim"] = number(found.mean())
        row["standard_error"] = number(found.std() / math.sqrt(len(found)))
    return row


def number(value: torch.Tensor) -> float | None:
    """Rounded; None, JSON's word, where it is not finite."""
    return round(float(value), 4) if math.isfinite(value) else None
