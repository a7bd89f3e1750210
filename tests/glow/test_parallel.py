"""However a batch is cut, over processes or over time, training is that of the whole batch."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from small import config_of, new_glow

from glow import Glow, GlowConfig, dequantize
from glow.parallel import rank, world_size
from glow.schedule import Optimizer, TrainConfig
from glow.trainer import Batch, Trainer

BATCH, STEPS = 8, 12


def whole_batch(config: GlowConfig, step: int) -> Batch:
    generator = torch.Generator().manual_seed(step)
    shape = (BATCH, config.channels, config.image_size, config.image_size)
    levels = torch.randint(0, 24, shape, generator=generator, dtype=torch.uint8)
    labels = levels.flatten(1).sum(dim=1) % 3 if config.classes else None
    return Batch(levels, labels)


def part(batch: Batch) -> Batch:
    size = BATCH // world_size()
    rows = slice(rank() * size, (rank() + 1) * size)
    return Batch(batch.levels[rows], None if batch.labels is None else batch.labels[rows])


def curve(
    micro_batch: int | None = None,
    optimizer: Optimizer = "adamax",
    **changes: Any,  # noqa: ANN401 - of the config
) -> list[float]:
    """Losses and norms of a training in float64, in as many processes as there are."""
    config = config_of(n_levels=2, side=8, channels=3, n_bits=5, **changes)
    glow = new_glow(config, noise=0.02)
    first = part(whole_batch(config, 0)).levels
    generator = torch.Generator().manual_seed(0)
    x = dequantize(first, config.n_bits, generator, part=(rank(), world_size()))
    glow.initialize(x.double())
    how = TrainConfig(
        steps=STEPS,
        optimizer=optimizer,
        learning_rate=1e-2,
        warmup_steps=2,
        decay_steps=4,
        max_grad_norm=1.0,
        ema_decay=0.9,
        class_weight=0.5,
    )
    trainer = Trainer(glow, how, seed=3, micro_batch=micro_batch)
    reports = list(trainer.train(lambda step: part(whole_batch(config, step))))
    assert trainer.weights.dtype == torch.float64
    numbers = [number for report in reports for number in (report.bits_per_dim, report.grad_norm)]
    return [*numbers, float(trainer.weights.sum()), float(trainer.ema.square().sum())]


MODELS: dict[str, dict[str, Any]] = {
    "plain": {},
    "classes": {"classes": ("a", "b", "c")},
    "reversible": {"backprop": "reversible"},
    "balanced": {"backprop": "balanced"},
    "muon": {"optimizer": "muon"},
}


@cache
def whole(name: str) -> list[float]:
    """The curve of one process that sees the whole batch at once."""
    return curve(**MODELS[name])


def train_in(process: int, folder: str, count: int) -> None:
    """One of several processes; the first leaves the curves of all models."""
    store = dist.FileStore(str(Path(folder) / "store"), count)
    dist.init_process_group("gloo", store=store, rank=process, world_size=count)
    curves = {name: curve(micro_batch=3, **changes) for name, changes in MODELS.items()}
    if process == 0:
        (Path(folder) / "curves.json").write_text(json.dumps(curves))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    folder = tmp_path_factory.mktemp("processes")
    mp.start_processes(train_in, (str(folder), 2), nprocs=2, start_method="spawn")
    return json.loads((folder / "curves.json").read_text())


@pytest.mark.parametrize("name", MODELS)
def test_two_processes_have_the_curve_of_one(
    name: str, of_two_processes: dict[str, list[float]]
) -> None:
    alone = whole(name)
    assert len(set(alone)) == len(alone), "nothing was trained"
    assert of_two_processes[name] == pytest.approx(alone, abs=1e-9, rel=1e-9)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("images", [1, 3, 8, 100])
def test_micro_batches_have_the_curve_of_the_batch(images: int, name: str) -> None:
    assert curve(images, **MODELS[name]) == pytest.approx(whole(name), abs=1e-9, rel=1e-9)


@pytest.mark.parametrize(("images", "model"), [(0, "actnorm"), (4, "batchnorm")])
def test_micro_batches_that_make_no_sense_are_refused(images: int, model: str) -> None:
    glow = Glow(config_of(normalization=model))
    how = TrainConfig(
        steps=1,
        optimizer="adamw",
        learning_rate=1e-3,
        warmup_steps=0,
        decay_steps=0,
        max_grad_norm=1.0,
        ema_decay=0.9,
    )
    with pytest.raises(ValueError, match=f"micro_batch is {images}, expected"):
        Trainer(glow, how, seed=0, micro_batch=images)
