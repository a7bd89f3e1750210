"""The paper's Figure 3 at a small size, and Glow beside its ancestors NICE and RealNVP.

Same data, same CPU time, same number of parameters (the width makes up for what the permutation
or the conditioner has more), several seeds; see equal_time.py for how time is made equal.

    python benchmarks/variants.py data/shards --seconds 75
"""

import statistics
from pathlib import Path
from typing import Annotated, Any

import report
import torch
import typer
from equal_time import Setting, run_trials, seconds_per_step

from glow import Glow, GlowConfig
from stages.shards import ShardSet

MODEL: dict[str, Any] = {"n_levels": 3, "depth": 8, "hidden_channels": 64}
TRAIN: dict[str, Any] = {"optimizer": "adamw", "learning_rate": 1.0e-3, "ema_decay": 0.99}
BATCH_SIZE = 32
FIGURE_3: dict[str, dict[str, Any]] = {
    f"{coupling}, {permutation}": {"coupling": coupling, "permutation": permutation}
    for coupling in ("additive", "affine")
    for permutation in ("reverse", "shuffle", "conv1x1", "conv1x1_lu")
}
REALNVP = {
    "checkerboard_depth": 3,
    "depth": 3,
    "permutation": "reverse",
    "conditioner": "residual",
}
ANCESTORS: dict[str, dict[str, Any]] = {
    "NICE": {"coupling": "additive", "permutation": "reverse", "normalization": "none"},
    "RealNVP, batch normalisation": {**REALNVP, "normalization": "batchnorm"},
    "RealNVP, ActNorm": REALNVP,
}


def parameters(shards: ShardSet, model: dict[str, Any]) -> int:
    """Of the model, without making its numbers."""
    with torch.device("meta"):
        glow = Glow(GlowConfig(image_size=shards.image_size, n_bits=shards.n_bits, **model))
    return sum(parameter.numel() for parameter in glow.parameters())


def same_size(shards: ShardSet, model: dict[str, Any], target: int) -> dict[str, Any]:
    """The model at the width whose number of parameters is nearest to `target`."""
    widths = [{**model, "hidden_channels": width} for width in range(8, 129)]
    return min(widths, key=lambda width: abs(parameters(shards, width) - target))


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row per variant: mean over seeds and its standard error, the best first."""
    found = []
    for name in dict.fromkeys(row["setting"] for row in rows):
        of_name = [row for row in rows if row["setting"] == name]
        bits = [row["valid_bits_per_dim"] for row in of_name]
        known = [value for value in bits if value is not None]
        several = len(known) > 1
        found.append(
            {
                "variant": name,
                "valid_bits_per_dim": round(statistics.mean(known), 4) if known else None,
                "standard_error": (
                    round(statistics.stdev(known) / len(known) ** 0.5, 4) if several else None
                ),
                "seeds": len(of_name),
                "diverged": len(bits) - len(known),
                "parameters": of_name[0]["parameters"],
                "steps": max(row["steps"] for row in of_name),
                "ms_per_step": of_name[0]["ms_per_step"],
                "samples_non_finite": sum(row["samples_non_finite"] for row in of_name),
            }
        )
    return sorted(found, key=lambda row: row["valid_bits_per_dim"] or float("inf"))


def command(
    shards: Annotated[Path, typer.Argument(help="folder of shards, of preprocess")],
    *,
    seconds: Annotated[float, typer.Option(help="of one core, for every trial")] = 75.0,
    processes: Annotated[int, typer.Option(help="trials at once")] = 2,
    seeds: Annotated[int, typer.Option(help="trials of every variant")] = 3,
    out: Annotated[Path, typer.Option(help="JSON to write, and Markdown beside it")] = Path(
        "benchmarks/results/variants.json"
    ),
) -> None:
    """Train every variant for the same CPU time and print a table, the best first."""
    opened = ShardSet.open(shards)
    target = parameters(opened, {**MODEL, "permutation": "conv1x1_lu"})
    models = {
        name: same_size(opened, {**MODEL, **change}, target)
        for name, change in {**FIGURE_3, **ANCESTORS}.items()
    }
    first = [Setting(name, model, TRAIN, BATCH_SIZE) for name, model in models.items()]
    costs = seconds_per_step(shards, first)
    settings = [
        Setting(name, model, TRAIN, BATCH_SIZE, seed)
        for seed in range(seeds)
        for name, model in models.items()
    ]
    rows = list(run_trials(shards, settings, costs * seeds, seconds, processes))
    about = report.about(
        f"python benchmarks/variants.py {shards} --seconds {seconds:g} --seeds {seeds}",
        seconds_of_one_core=seconds,
        base={**MODEL, **TRAIN, "batch_size": BATCH_SIZE},
        data=opened.checksum,
    )
    report.save(out, about, summary(rows), trials=rows)


if __name__ == "__main__":
    typer.run(command)
