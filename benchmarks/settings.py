"""Which settings learn most in the same CPU time: the table behind the defaults of params.yaml.

Settings differ from the base in what their name says; see equal_time.py for how they are compared.

    python benchmarks/settings.py data/shards --seconds 150 --processes 2
"""

import json
from pathlib import Path
from typing import Annotated, Any

import report
import typer
from equal_time import Setting, run_trials, seconds_per_step

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
TRAIN = ("optimizer", "learning_rate", "ema_decay")


def setting_of(change: dict[str, Any], seed: int) -> Setting:
    """The base with a change."""
    values = BASE | change
    return Setting(
        ", ".join(f"{key} {value}" for key, value in change.items()) or "base",
        {name: values[name] for name in MODEL},
        {name: values[name] for name in TRAIN},
        values["batch_size"],
        seed,
    )


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
    settings = [setting_of(change, seed) for change in changes]
    costs = seconds_per_step(opened, settings)
    rows = run_trials(shards, settings, costs, seconds, processes)
    rows.sort(key=lambda row: row["valid_bits_per_dim"] or float("inf"))
    about = report.about(
        f"python benchmarks/settings.py {shards} --seconds {seconds:g}"
        + (" --combinations" if combinations else ""),
        seconds_of_one_core=seconds,
        seed=seed,
        base=BASE,
        data=opened.checksum,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({**about, "rows": rows}, indent=2) + "\n", encoding="utf-8")
    print(report.table(rows))


if __name__ == "__main__":
    typer.run(command)
