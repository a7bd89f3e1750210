"""Which settings learn most in the same CPU time: the table behind the defaults of params.yaml.

Every setting gets as many steps as fit into the same seconds of one quiet core. Seconds per step
are measured first, in interleaved rounds; from then on only steps count, so that a busy machine
slows the search and does not bend it. Settings differ from the base in what their name says.

    python benchmarks/settings.py data/shards --seconds 150 --processes 2
"""

import json
import multiprocessing
import os
import platform
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import track

from glow import Glow, GlowConfig, bits_per_dim, dequantize
from glow.trainer import TrainConfig, Trainer
from stages.batches import Batches
from stages.shards import ShardSet

BASE: dict[str, Any] = {
    "depth": 8,
    "hidden_channels": 64,
    "coupling": "affine",
    "min_scale": 0.3,
    "optimizer": "adamax",
    "learning_rate": 2.0e-3,
    "batch_size": 32,
    "ema_decay": 0.99,
}
CHANGES: list[dict[str, Any]] = [
    {},
    {"min_scale": 0.0},
    {"min_scale": 0.5},
    {"coupling": "additive"},
    {"depth": 4},
    {"depth": 16},
    {"hidden_channels": 32},
    {"hidden_channels": 128},
    {"depth": 4, "hidden_channels": 128},
    {"learning_rate": 1.0e-3},
    {"learning_rate": 4.0e-3},
    {"batch_size": 16},
    {"batch_size": 64},
    {"optimizer": "adamw", "learning_rate": 1.0e-3},
]
COMBINATIONS: list[dict[str, Any]] = [
    {"learning_rate": 4.0e-3},
    {"learning_rate": 8.0e-3},
    {"learning_rate": 4.0e-3, "batch_size": 16},
    {"learning_rate": 4.0e-3, "depth": 16},
    {"learning_rate": 4.0e-3, "depth": 16, "batch_size": 16},
    {"optimizer": "adamw", "learning_rate": 2.0e-3},
    {"optimizer": "adamw", "learning_rate": 4.0e-3},
    {"optimizer": "adamw", "learning_rate": 2.0e-3, "batch_size": 16},
]
MODEL = ("depth", "hidden_channels", "coupling", "min_scale")
ROUNDS, ROUND_STEPS = 3, 3
SAMPLES = 256


def build(shards: ShardSet, change: dict[str, Any], steps: int, seed: int) -> tuple[Trainer, Any]:
    """A trainer and its batches, ready for the first step."""
    setting = BASE | change
    torch.manual_seed(seed)
    config = GlowConfig(
        image_size=shards.image_size,
        n_bits=shards.n_bits,
        n_levels=3,
        permutation="conv1x1_lu",
        **{name: setting[name] for name in MODEL},
    )
    how = TrainConfig(
        steps=steps,
        warmup_steps=min(100, steps),
        decay_steps=steps // 3,
        max_grad_norm=50.0,
        **{name: setting[name] for name in ("optimizer", "learning_rate", "ema_decay")},
    )
    device = torch.device("cpu")
    batches = Batches.load(
        shards, setting["batch_size"], seed=seed, rank=0, world_size=1, device=device
    )
    glow = Glow(config)
    generator = torch.Generator().manual_seed(seed)
    glow.initialize(dequantize(batches.levels[:256], config.n_bits, generator))
    return Trainer(glow, how, seed=seed), batches


def seconds_per_step(shards: ShardSet, changes: list[dict[str, Any]], seed: int) -> list[float]:
    """Of every setting: the median over interleaved rounds, one thread."""
    torch.set_num_threads(1)
    pairs = [build(shards, change, 10**6, seed) for change in changes]
    times: list[list[float]] = [[] for _ in pairs]
    for _ in track(range(ROUNDS), "seconds per step", console=Console(stderr=True)):
        for (trainer, batches), seconds in zip(pairs, times, strict=True):
            began = time.process_time()
            trainer.config = replace(trainer.config, steps=trainer.step + ROUND_STEPS)
            for _ in trainer.train(batches):
                pass
            seconds.append((time.process_time() - began) / ROUND_STEPS)
    return [statistics.median(seconds) for seconds in times]


def trial(job: tuple[Path, dict[str, Any], int, int]) -> dict[str, Any]:
    """Trains one setting and measures its averaged weights."""
    folder, change, steps, seed = job
    torch.set_num_threads(1)
    shards = ShardSet.open(folder)
    trainer, batches = build(shards, change, steps, seed)
    for _ in trainer.train(batches):
        pass
    glow = trainer.ema_glow
    levels, _ = shards.load("valid")
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        bits = torch.cat(
            [
                bits_per_dim(
                    glow.log_prob(dequantize(part, shards.n_bits, generator)),
                    glow.config.n_dims,
                    shards.n_bits,
                )
                for part in levels.split(100)
            ]
        )
        x = glow.sample(SAMPLES, generator=torch.Generator().manual_seed(seed))
    return {
        "setting": ", ".join(f"{key} {value}" for key, value in change.items()) or "base",
        "steps": steps,
        "parameters": sum(parameter.numel() for parameter in glow.parameters()),
        "valid_bits_per_dim": round(float(bits.mean()), 4),
        "standard_error": round(float(bits.std()) / len(bits) ** 0.5, 4),
        "samples_non_finite": int((~x.isfinite()).flatten(1).any(dim=1).sum()),
        "samples_beyond_1": int((x.abs() > 1).flatten(1).any(dim=1).sum()),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    lines += ["| " + " | ".join(str(row[name]) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def command(
    shards: Annotated[Path, typer.Argument(help="folder of shards, of preprocess")],
    *,
    seconds: Annotated[float, typer.Option(help="of one core, for every setting")] = 150.0,
    processes: Annotated[int, typer.Option(help="settings at once")] = 2,
    seed: Annotated[int, typer.Option(help="of weights, order and noise")] = 0,
    combinations: Annotated[bool, typer.Option(help="of the changes that helped")] = False,
    out: Annotated[Path, typer.Option(help="JSON to write")] = Path(
        "benchmarks/results/settings.json"
    ),
) -> None:
    """Train every setting for the same CPU time and print a table, the best first."""
    opened = ShardSet.open(shards)
    changes = COMBINATIONS if combinations else CHANGES
    costs = seconds_per_step(opened, changes, seed)
    steps = [max(1, round(seconds / cost)) for cost in costs]
    jobs = [(shards, change, n, seed) for change, n in zip(changes, steps, strict=True)]
    with multiprocessing.get_context("spawn").Pool(processes, maxtasksperchild=1) as pool:
        found = pool.imap(trial, jobs)
        rows = list(track(found, "settings", total=len(jobs), console=Console(stderr=True)))
    for row, cost in zip(rows, costs, strict=True):
        row["ms_per_step"] = round(1000 * cost, 1)
    rows.sort(key=lambda row: row["valid_bits_per_dim"])
    about = {
        "command": f"python benchmarks/settings.py {shards} --seconds {seconds:g}"
        + (" --combinations" if combinations else ""),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, one thread per setting",
        "seconds_of_one_core": seconds,
        "torch": torch.__version__,
        "seed": seed,
        "base": BASE,
        "data": opened.checksum,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({**about, "rows": rows}, indent=2) + "\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    typer.run(command)
