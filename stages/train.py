"""DVC stage `train`: shards -> a trained Glow, resumed where a former run was stopped."""

import hashlib
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from torch import Tensor

from glow import Glow, GlowConfig, dequantize, save_glow
from glow.trainer import NonFiniteLoss, StepReport, TrainConfig, Trainer
from stages import tracking
from stages.batches import Batches
from stages.distributed import process_group, rank, relaunch_under_torchrun, world_size
from stages.errors import InputError, StageError, run
from stages.interrupt import deferred, exit_on_sigterm
from stages.labels import classes_of, labels_of
from stages.likelihood import measure
from stages.outputs import fresh_folder, write_json, write_text
from stages.params import ModelParams, TrainParams, load_params
from stages.progress import progress
from stages.shards import ShardSet
from stages.trained import RAW

VALID_BATCH = 100


def fingerprint(seed: int, model: ModelParams, train: TrainParams, checksum: str) -> str:
    """A hash of all that decides the trained weights, by which stages find the training's run."""
    parts = [seed, model.model_dump(), train.model_dump(exclude={"checkpoint_minutes"}), checksum]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def mean_bits_per_dim(glow: Glow, levels: Tensor, labels: Tensor | None, seed: int) -> float:
    """Mean over images, with the same noise each time it is called."""
    generator = torch.Generator(levels.device).manual_seed(seed)
    found = measure(glow, levels, labels, n_draws=1, batch_size=VALID_BATCH, generator=generator)
    return float(found.bits.mean())


class Curves:
    """The learning curves, kept in the trainer's notes, so that a checkpoint has both or none."""

    def __init__(self, notes: dict[str, Any]) -> None:
        self.rows: list[dict[str, float]] = notes.setdefault("rows", [])
        self._since: list[list[float]] = notes.setdefault("since", [])

    def add(self, report: StepReport) -> None:
        """An update since the last row."""
        self._since.append([report.bits_per_dim, report.grad_norm])

    def row(self, step: int, valid: float, learning_rate: float) -> dict[str, float]:
        """One more row: means over the updates since the last one, and the validation."""
        bits, norms = zip(*self._since, strict=True)
        row = {
            "step": step,
            "bits_per_dim": sum(bits) / len(bits),
            "valid_bits_per_dim": valid,
            "grad_norm": sum(norms) / len(norms),
            "learning_rate": learning_rate,
        }
        self.rows.append(row)
        self._since.clear()
        return row


def _start(
    shards: ShardSet, model: ModelParams, train: TrainParams, seed: int, device: torch.device
) -> Trainer:
    torch.manual_seed(seed)
    try:
        config = GlowConfig(
            image_size=shards.image_size,
            n_bits=shards.n_bits,
            classes=classes_of(model.conditional),
            backprop=train.backprop,
            **model.model_dump(exclude={"conditional"}),
        )
    except ValueError as error:
        raise InputError(str(error)) from None
    glow = Glow(config)
    for parameter in glow.parameters():
        parameter.data = parameter.data.to(device)
    glow.to(device)
    generator = torch.Generator(device).manual_seed(seed)
    first, _ = shards.load("train", max(world_size(), train.initialize_images))
    share = len(first) // world_size()
    mine = first[rank() * share : (rank() + 1) * share].to(device)
    glow.initialize(dequantize(mine, config.n_bits, generator))
    fields = TrainConfig.__dataclass_fields__
    return Trainer(glow, TrainConfig(**train.model_dump(include=set(fields))), seed=seed)


def train(shards: ShardSet, model: ModelParams, how: TrainParams, seed: int, out: "Outs") -> None:
    """Trains to the end, or leaves a checkpoint to go on from."""
    name = fingerprint(seed, model, how, shards.checksum)
    cache = Path(os.environ.get("DVC_ROOT", ".")) / ".cache" / "checkpoints" / name
    checkpoint = cache / "trainer.safetensors"
    main = rank() == 0
    if model.normalization == "batchnorm" and world_size() > 1:
        raise InputError(
            f"model.normalization is batchnorm, expected one process, not {world_size()} "
            "(GLOW_NPROC): its averages are each process's own"
        )
    with process_group() as device:
        batches = Batches.load(
            shards,
            how.batch_size,
            classes=classes_of(model.conditional),
            seed=seed,
            rank=rank(),
            world_size=world_size(),
            device=device,
            flip=how.flip,
            shift=how.shift,
        )
        valid, present = shards.load("valid", how.valid_images)
        labels = labels_of(classes_of(model.conditional), shards.attribute_names, present)
        trainer = _start(shards, model, how, seed, device)
        resumed = trainer.resume(checkpoint)
        curves = Curves(trainer.notes)
        if resumed and main:
            print(f"goes on from step {trainer.step}, kept in {checkpoint}", flush=True)
        about = {"seed": seed, "model": model.model_dump(), "train": how.model_dump()}
        with (
            deferred() as interrupt,
            tracking.training_run(name, about) as report,
            progress(
                "train", how.steps * how.batch_size, "images", start=trainer.step * how.batch_size
            ) as advance,
        ):
            saved, began, before = time.monotonic(), time.monotonic(), trainer.step
            try:
                for step in trainer.train(batches):
                    curves.add(step)
                    advance(how.batch_size, f"{step.bits_per_dim:.3f} bits/dim")
                    if step.step % how.valid_every == 0 or step.step == how.steps:
                        rate = (step.step - before) * how.batch_size / (time.monotonic() - began)
                        bits = mean_bits_per_dim(trainer.ema_glow, valid, labels, seed)
                        row = curves.row(step.step, bits, step.learning_rate)
                        report.metrics({**row, "images_per_second": rate}, step.step)
                        began, before = time.monotonic(), step.step
                    due = time.monotonic() - saved > 60 * how.checkpoint_minutes
                    if main and (due or interrupt.number or step.step == how.steps):
                        trainer.save(checkpoint)
                        saved = time.monotonic()
                    interrupt.raise_if_any()
            except NonFiniteLoss as error:
                if main:
                    trainer.save(checkpoint.with_name("before_non_finite.safetensors"))
                kept = f"; the weights before it are kept in {cache}"
                raise StageError(f"training stopped: {error}{kept}") from None
            if main:
                write(trainer, curves, name, shards.checksum, out)
                parameters = sum(parameter.numel() for parameter in trainer.glow.parameters())
                report.metrics({"parameters": parameters})
                report.artifact(out.curves)
                report.model(out.model)
                interrupt.raise_if_any()
                shutil.rmtree(cache, ignore_errors=True)


def write(trainer: Trainer, curves: Curves, name: str, checksum: str, out: "Outs") -> None:
    """The model with averaged weights, that with the last ones, its curves and last numbers."""
    about = {"fingerprint": name, "data": checksum, "step": trainer.step}
    with fresh_folder(out.model) as folder:
        save_glow(trainer.ema_glow, folder, about=about)
        save_glow(trainer.glow, folder / RAW, about=about)
    frame = pd.DataFrame(curves.rows).astype({"step": int})
    write_text(out.curves, frame.to_csv(index=False, float_format="%.6g"))
    last = curves.rows[-1]
    write_json(
        out.metrics,
        {
            "bits_per_dim": round(last["bits_per_dim"], 6),
            "valid_bits_per_dim": round(last["valid_bits_per_dim"], 6),
            "steps": trainer.step,
            "parameters": sum(parameter.numel() for parameter in trainer.glow.parameters()),
        },
    )


@dataclass(frozen=True)
class Outs:
    """What the stage writes."""

    model: Path
    metrics: Path
    curves: Path


def command(
    shards: Annotated[Path, typer.Argument(help="folder of shards, of preprocess")],
    model: Annotated[Path, typer.Argument(help="folder to write the model to")],
    metrics: Annotated[Path, typer.Argument(help="JSON file to write")],
    curves: Annotated[Path, typer.Argument(help="CSV file to write: learning curves")],
) -> None:
    """Train a Glow on shards; GLOW_NPROC processes, by default one per GPU.

    Example: python -m stages.train data/shards models/glow results/train.json results/curves.csv
    """
    params = load_params()
    data = ShardSet.open(shards)
    relaunch_under_torchrun("stages.train")
    exit_on_sigterm()
    outs = Outs(model, metrics, curves)
    train(data, params.model, params.train, params.seed, outs)


if __name__ == "__main__":
    run(lambda: typer.run(command))
