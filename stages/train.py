"""DVC stage `train`: shards -> a trained Glow, resumed where a former run was stopped."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import torch
import typer

from glow import Glow, GlowConfig, dequantize
from glow.parallel import rank, world_size
from glow.trainer import Batch, NonFiniteLoss, TrainConfig, Trainer
from glow.weights import weights_hash
from stages import tracking
from stages.batches import Batches
from stages.checkpoints import Checkpoints
from stages.code import digest_of
from stages.curves import Curves
from stages.distributed import (
    graphs,
    micro_batch,
    precision,
    process_group,
    wanted_processes,
)
from stages.errors import InputError, StageError, run
from stages.interrupt import deferred, exit_on_signals
from stages.labels import check_held_out, classes_of, labels_of
from stages.launch import launch
from stages.machine import Machine
from stages.params import ModelParams, TrainParams, load_params
from stages.progress import progress
from stages.shards import ShardSet
from stages.speed import Speed
from stages.training_outs import Outs, write
from stages.validation import Validation

MODULE = "stages.train"
LIBRARIES = ("torch",)  # that decide the weights, with our own code


def fingerprint(seed: int, model: ModelParams, train: TrainParams, checksum: str) -> str:
    """A hash of all that decides the trained weights, by which stages find the training's run."""
    idle = {"checkpoint_minutes"}
    if train.optimizer != "muon":
        idle.add("muon_learning_rate")
    parts = [seed, model.model_dump(), train.model_dump(exclude=idle), checksum]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def architecture(shards: ShardSet, model: ModelParams, train: TrainParams) -> GlowConfig:
    """Of params.yaml, for the images of a data set; InputError where the two do not fit."""
    try:
        return GlowConfig(
            image_size=shards.image_size,
            n_bits=shards.n_bits,
            classes=classes_of(model.conditional),
            backprop=train.backprop,
            **model.model_dump(exclude={"conditional"}),
        )
    except ValueError as error:
        raise InputError(str(error)) from None


def check_machine(model: ModelParams) -> None:
    """InputError where the model cannot be trained as the environment says."""
    processes, images = wanted_processes(), micro_batch()
    precision()
    graphs()
    if model.normalization == "batchnorm" and processes > 1:
        raise InputError(
            f"model.normalization is batchnorm, expected one process, not {processes} "
            "(GLOW_NPROC): its averages are each process's own"
        )
    if model.normalization == "batchnorm" and images is not None:
        raise InputError(
            f"model.normalization is batchnorm, expected no GLOW_MICRO_BATCH, not {images}: "
            "it normalises by the whole batch"
        )


def new_trainer(
    config: GlowConfig, shards: ShardSet, how: TrainParams, seed: int, device: torch.device
) -> Trainer:
    """Of a model initialised from the first images, each process with an equal part of them."""
    torch.manual_seed(seed)
    glow = Glow(config).to(device)
    first, _ = shards.load("train", max(world_size(), how.initialize_images))
    share = len(first) // world_size()
    mine = first[rank() * share : (rank() + 1) * share].to(device)
    generator = torch.Generator(device).manual_seed(seed)
    glow.initialize(dequantize(mine, config.n_bits, generator, part=(rank(), world_size())))
    fields = TrainConfig.__dataclass_fields__
    numbers = TrainConfig(**how.model_dump(include=set(fields)))
    glow.set_precision(precision())
    return Trainer(glow, numbers, seed=seed, micro_batch=micro_batch(), graphs=graphs())


def train(shards: ShardSet, model: ModelParams, how: TrainParams, seed: int, out: Outs) -> None:
    """Trains to the end, or leaves a checkpoint to go on from."""
    name, code = fingerprint(seed, model, how, shards.checksum), digest_of([MODULE], LIBRARIES)
    config = architecture(shards, model, how)
    about = {"seed": seed, "model": model.model_dump(), "train": how.model_dump()}
    with (
        process_group() as device,
        Checkpoints.open(name, code, how.checkpoint_minutes, device) as checkpoints,
    ):
        batches = Batches.load(
            shards,
            how.batch_size,
            classes=config.classes,
            seed=seed,
            rank=rank(),
            world_size=world_size(),
            device=device,
            flip=how.flip,
            shift=how.shift,
            steps=how.steps,
        )
        valid, present = shards.load("valid", how.valid_images)
        labels = labels_of(config.classes, shards.attribute_names, present)
        trainer = new_trainer(config, shards, how, seed, device)
        checkpoints.resume(trainer)
        curves = Curves(trainer.notes)
        done = trainer.step * how.batch_size
        with (
            deferred() as interrupt,
            tracking.training_run(name, about) as report,
            Machine(report) as machine,
            progress("train", how.steps * how.batch_size, "images", start=done) as advance,
        ):
            report.dataset(shards.folder, shards.manifest)
            for paper in shards.papers():
                report.artifact(paper, "dataset")
            for row in curves.rows:  # a run of its own, but the curve is that of all of them
                report.metrics(row, int(row["step"]))
            speed = Speed(config, batch_size=how.batch_size, step=trainer.step, device=device)
            validation = Validation(
                trainer,
                curves,
                valid,
                labels,
                seed=seed,
                every=how.valid_every,
                interrupt=interrupt,
            )

            def batch_at(step: int) -> Batch:
                with interrupt.waiting():
                    return batches(step)

            def validate(of_machine: Mapping[str, float]) -> None:
                row = validation.row()
                with interrupt.waiting():
                    report.metrics({**row, **of_machine}, trainer.step)
                    machine.report()

            try:
                with checkpoints.left_by(trainer):
                    if validation.due():
                        validate({})
                    for step in trainer.train(batch_at, interrupt):
                        curves.add(step)
                        advance(how.batch_size, f"{step.bits_per_dim:.3f} bits/dim")
                        if checkpoints.due() or step.stop or step.step == how.steps:
                            checkpoints.save(trainer)
                        if step.stop:
                            interrupt.leave()
                        if validation.due():
                            validate(speed.metrics(step.step))
                            speed.go_on(step.step)
            except NonFiniteLoss as error:
                checkpoints.keep(trainer, "before_non_finite.safetensors")
                kept = f"; the weights before it are kept in {checkpoints.folder}"
                raise StageError(f"training stopped: {error}{kept}") from None
            if rank() > 0:
                return
            try:
                write(trainer, curves, name, shards.checksum, out)
            except OSError as error:
                kept = f"make room, and `dvc repro` writes it from {checkpoints.file}"
                raise StageError(f"the trained model cannot be written: {error}; {kept}") from None
            report.metrics({"parameters": len(trainer.weights)})
            report.artifact(out.curves)
            bits = curves.rows[-1]["valid_bits_per_dim"]
            weights = weights_hash(out.model)
            report.model(out.model, weights=weights, data=shards.checksum, valid_bits_per_dim=bits)
            if interrupt():
                interrupt.leave()
            checkpoints.remove()


def command(
    shards: Annotated[Path, typer.Argument(help="folder of shards, of preprocess")],
    model: Annotated[Path, typer.Argument(help="folder to write the model to")],
    metrics: Annotated[Path, typer.Argument(help="JSON file to write")],
    curves: Annotated[Path, typer.Argument(help="CSV file to write: learning curves")],
) -> None:
    """Train a Glow on shards; GLOW_NPROC processes, by default one per GPU.

    One that was stopped goes on from .cache/checkpoints, with the code that began it.

    Example: python -m stages.train data/shards models/glow results/train.json results/curves.csv
    """
    params = load_params()
    data = ShardSet.open(shards)
    check_held_out(architecture(data, params.model, params.train).classes, data)
    check_machine(params.model)
    exit_on_signals()
    launch(MODULE)
    train(data, params.model, params.train, params.seed, Outs(model, metrics, curves))


if __name__ == "__main__":
    run(lambda: typer.run(command))
