"""Trials of equal CPU time: what two benchmarks share.

Every setting gets as many steps as fit into the same seconds of one quiet core. Seconds per step
are measured first, in interleaved rounds; from then on only steps count, so that a busy machine
slows the search and does not bend it.
"""

import multiprocessing
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from glow import Glow, GlowConfig, dequantize
from glow.trainer import NonFiniteLoss, TrainConfig, Trainer
from stages.batches import Batches
from stages.likelihood import measure
from stages.shards import ShardSet

ROUNDS, ROUND_STEPS = 3, 3
SAMPLES = 256


@dataclass(frozen=True)
class Setting:
    """What is tried: a name, a GlowConfig's fields, a TrainConfig's, and the batch size."""

    name: str
    model: dict[str, Any]
    train: dict[str, Any]
    batch_size: int
    seed: int = 0


def build(shards: ShardSet, setting: Setting, steps: int) -> tuple[Trainer, Batches]:
    """A trainer and its batches, ready for the first step."""
    torch.manual_seed(setting.seed)
    config = GlowConfig(image_size=shards.image_size, n_bits=shards.n_bits, **setting.model)
    how = TrainConfig(
        steps=steps,
        warmup_steps=min(100, steps),
        decay_steps=steps // 3,
        max_grad_norm=50.0,
        **setting.train,
    )
    batches = Batches.load(
        shards,
        setting.batch_size,
        seed=setting.seed,
        rank=0,
        world_size=1,
        device=torch.device("cpu"),
    )
    glow = Glow(config)
    generator = torch.Generator().manual_seed(setting.seed)
    first, _ = shards.load("train", 256)
    glow.initialize(dequantize(first, config.n_bits, generator))
    return Trainer(glow, how, seed=setting.seed), batches


def seconds_per_step(shards: ShardSet, settings: list[Setting]) -> list[float]:
    """Of every setting: the median over interleaved rounds, one thread."""
    torch.set_num_threads(1)
    pairs = [build(shards, setting, 10**6) for setting in settings]
    times: list[list[float]] = [[] for _ in pairs]
    for _ in track(range(ROUNDS), "seconds per step", console=Console(stderr=True)):
        for (trainer, batches), seconds in zip(pairs, times, strict=True):
            began = time.process_time()
            trainer.config = replace(trainer.config, steps=trainer.step + ROUND_STEPS)
            for _ in trainer.train(batches):
                pass
            seconds.append((time.process_time() - began) / ROUND_STEPS)
    return [statistics.median(seconds) for seconds in times]


def trial(job: tuple[Path, Setting, int]) -> dict[str, Any]:
    """Trains one setting and measures its averaged weights on the validation split.

    A training whose loss is not finite has no bits per dimension: it diverged.
    """
    folder, setting, steps = job
    torch.set_num_threads(1)
    shards = ShardSet.open(folder)
    trainer, batches = build(shards, setting, steps)
    with suppress(NonFiniteLoss):
        for _ in trainer.train(batches):
            pass
    glow = trainer.ema_glow
    levels, _ = shards.load("valid")
    generator = torch.Generator().manual_seed(setting.seed)
    found = measure(glow, levels, None, n_draws=1, batch_size=100, generator=generator)
    bits, error = found.mean_and_error() if trainer.step == steps else (None, None)
    with torch.inference_mode():
        x = glow.sample(SAMPLES, generator=torch.Generator().manual_seed(setting.seed))
    return {
        "setting": setting.name,
        "seed": setting.seed,
        "steps": trainer.step,
        "parameters": sum(parameter.numel() for parameter in glow.parameters()),
        "valid_bits_per_dim": bits,
        "standard_error": error,
        "samples_non_finite": int((~x.isfinite()).flatten(1).any(dim=1).sum()),
    }


def run_trials(
    folder: Path, settings: list[Setting], costs: list[float], seconds: float, processes: int
) -> list[dict[str, Any]]:
    """A row per setting, as many steps each as `seconds` of one core pay for."""
    steps = [max(1, round(seconds / cost)) for cost in costs]
    jobs = [(folder, setting, n) for setting, n in zip(settings, steps, strict=True)]
    with multiprocessing.get_context("spawn").Pool(processes, maxtasksperchild=1) as pool:
        found = pool.imap(trial, jobs)
        rows = list(track(found, "settings", total=len(jobs), console=Console(stderr=True)))
    for row, cost in zip(rows, costs, strict=True):
        row["ms_per_step"] = round(1000 * cost, 1)
    return rows
