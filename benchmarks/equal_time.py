"""Trials of equal CPU time: what three benchmarks share.

Every setting gets as many steps as fit into the same seconds of one quiet core. Seconds per step
are measured first, in rounds; from then on only steps count, so that a busy machine
slows the search and does not bend it.
"""

import json
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import report
import torch
from rich.console import Console
from rich.progress import track

from glow import Glow, GlowConfig, dequantize
from glow.trainer import NonFiniteLoss, TrainConfig, Trainer
from stages.batches import Batches
from stages.likelihood import measure
from stages.shards import ShardSet

ROUNDS, WARM_UP, ROUND_STEPS = 2, 3, 20
SAMPLES = 256


@dataclass(frozen=True)
class Setting:
    """What is tried: a name, a GlowConfig's fields, a TrainConfig's, and the batch size.

    The rate falls in the last part `decay` of all steps. `adapt` changes the trainer.
    """

    name: str
    model: dict[str, Any]
    train: dict[str, Any]
    batch_size: int
    seed: int = 0
    decay: float = 1 / 3
    adapt: Callable[[Trainer], None] | None = field(default=None, compare=False)


def build(shards: ShardSet, setting: Setting, steps: int) -> tuple[Trainer, Batches]:
    """A trainer and its batches, ready for the first step."""
    torch.manual_seed(setting.seed)
    config = GlowConfig(image_size=shards.image_size, n_bits=shards.n_bits, **setting.model)
    how = TrainConfig(
        steps=steps,
        decay_steps=round(steps * setting.decay),
        max_grad_norm=50.0,
        **{"warmup_steps": min(100, steps)} | setting.train,
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
    trainer = Trainer(glow, how, seed=setting.seed)
    if setting.adapt is not None:
        setting.adapt(trainer)
    return trainer, batches


def seconds_per_step(folder: Path, settings: list[Setting]) -> list[float]:
    """Of every setting, one thread: the smaller of two rounds, each in a process of its own."""
    jobs = [(folder, setting) for setting in settings] * ROUNDS
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        found = pool.imap(timed, jobs)
        console = Console(stderr=True)
        times = list(track(found, "seconds per step", total=len(jobs), console=console))
    return [min(times[number :: len(settings)]) for number in range(len(settings))]


def timed(job: tuple[Path, Setting]) -> float:
    """CPU seconds of a step, after a few that warm up."""
    folder, setting = job
    torch.set_num_threads(1)
    trainer, batches = build(ShardSet.open(folder), setting, 10**6)
    steps = trainer.train(batches)
    for _ in range(WARM_UP):
        next(steps)
    began = time.process_time()
    for _ in range(ROUND_STEPS):
        next(steps)
    return (time.process_time() - began) / ROUND_STEPS


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
) -> Iterator[dict[str, Any]]:
    """A row per setting, in order; as many steps each as `seconds` of one core pay for."""
    steps = [max(1, round(seconds / cost)) for cost in costs]
    jobs = [(folder, setting, n) for setting, n in zip(settings, steps, strict=True)]
    with multiprocessing.get_context("spawn").Pool(processes, maxtasksperchild=1) as pool:
        found = track(
            pool.imap(trial, jobs), "settings", total=len(jobs), console=Console(stderr=True)
        )
        for row, cost in zip(found, costs, strict=True):
            yield row | {"ms_per_step": round(1000 * cost, 1)}


def study(
    shards: Path,
    out: Path,
    settings: list[Setting],
    *,
    seconds: float,
    processes: int,
    about: dict[str, Any],
    kind: Callable[[Setting], object] = lambda setting: setting.name,
) -> None:
    """Every setting, seed by seed, into a table, the best first.

    What `out` already has is kept, so that a study can be stopped, gone on with, and made larger.

    Args:
        shards: folder.
        out: JSON file; Markdown is written beside it.
        settings: of any seeds.
        seconds: of one core, each.
        processes: trials at once.
        about: the command and the base.
        kind: settings of one kind compute the same in a step, so one of them is timed.
    """
    known = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
    trials: report.Rows = known.get("trials", [])
    costs: dict[str, float] = known.get("seconds_per_step", {})
    done = {(row["setting"], row["seed"]) for row in trials}
    settings = [setting for setting in settings if (setting.name, setting.seed) not in done]
    first = {str(kind(setting)): setting for setting in reversed(settings)}
    first = {name: setting for name, setting in first.items() if name not in costs}
    costs |= dict(zip(first, seconds_per_step(shards, list(first.values())), strict=True))
    facts = report.about(
        about["command"],
        **{key: value for key, value in about.items() if key != "command"},
        seconds_of_one_core=seconds,
        data=ShardSet.open(shards).checksum,
    )
    paid = [costs[str(kind(setting))] for setting in settings]
    for row in run_trials(shards, settings, paid, seconds, processes):
        trials.append(row)
        rows = sorted(summary(trials), key=lambda row: str(row["valid_bits_per_dim"]))
        report.save(out, facts, rows, trials=trials, seconds_per_step=costs)


def summary(trials: report.Rows) -> Iterator[dict[str, Any]]:
    """A row per setting: the mean over its seeds, and the largest difference between two."""
    for name in dict.fromkeys(trial["setting"] for trial in trials):
        of_name = [trial for trial in trials if trial["setting"] == name]
        bits = [trial["valid_bits_per_dim"] for trial in of_name]
        whole = None not in bits
        yield {
            "setting": name,
            "seeds": len(bits),
            "valid_bits_per_dim": round(sum(bits) / len(bits), 4) if whole else "diverged",
            "spread": round(max(bits) - min(bits), 4) if whole and len(bits) > 1 else "",
            "steps": of_name[0]["steps"],
            "ms_per_step": of_name[0]["ms_per_step"],
            "parameters": of_name[0]["parameters"],
            "samples_non_finite": sum(trial["samples_non_finite"] for trial in of_name),
        }
