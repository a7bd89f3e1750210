"""Which settings learn most in the same CPU time: the table behind the defaults of params.yaml.

Settings differ from the base in what their name says; see equal_time.py for how they are compared.

    python benchmarks/settings.py data/shards --seconds 150 --processes 2
"""

from pathlib import Path
from typing import Annotated, Any

import typer
from equal_time import Setting, study

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
CIFAR10: dict[str, Any] = {
    **BASE,
    "n_levels": 3,
    "optimizer": "muon",
    "muon_learning_rate": 1.0e-2,
    "learning_rate": 3.0e-3,
    "batch_size": 16,
    "ema_decay": 0.995,
    "decay": 0.5,
}
SIZES: list[dict[str, Any]] = [
    {},
    {"hidden_channels": 128},
    {"depth": 16},
    {"hidden_channels": 96},
    {"depth": 16, "hidden_channels": 48},
    {"depth": 12, "hidden_channels": 96},
    {"n_levels": 4},
    {"n_levels": 2, "depth": 12},
    {"min_scale": 0.0},
    {"batch_size": 32, "muon_learning_rate": 1.5e-2},
    {"batch_size": 8},
    {"decay": 1.0},
]
SEARCHES = {
    "settings": (BASE, CHANGES),
    "settings-combined": (BASE, COMBINATIONS),
    "settings-cifar10": (CIFAR10, SIZES),
}
MODEL = ("n_levels", "depth", "hidden_channels", "coupling", "min_scale")
TRAIN = ("optimizer", "learning_rate", "muon_learning_rate", "ema_decay")


def setting_of(base: dict[str, Any], change: dict[str, Any], seed: int) -> Setting:
    """The base with a change."""
    values = base | change
    return Setting(
        ", ".join(f"{key} {value}" for key, value in change.items()) or "base",
        {name: values[name] for name in MODEL if name in values},
        {name: values[name] for name in TRAIN if name in values},
        values["batch_size"],
        seed,
        values.get("decay", 1 / 3),
    )


def command(
    shards: Annotated[Path, typer.Argument(help="folder of shards, of preprocess")],
    *,
    search: Annotated[str, typer.Option(help=f"one of {', '.join(SEARCHES)}")] = "settings",
    seconds: Annotated[float, typer.Option(help="of one core, for every setting")] = 150.0,
    processes: Annotated[int, typer.Option(help="settings at once")] = 2,
    seed: Annotated[int, typer.Option(help="of weights, order and noise")] = 0,
    results: Annotated[Path, typer.Option(help="folder to write to")] = Path("benchmarks/results"),
) -> None:
    """Train every setting for the same CPU time and print a table; what is there is kept."""
    base, changes = SEARCHES[search]
    settings = [setting_of(base, change, seed) for change in changes]
    study(
        shards,
        results / f"{search}.json",
        settings,
        seconds=seconds,
        processes=processes,
        about={
            "command": f"python benchmarks/settings.py {shards} --search {search} "
            f"--seconds {seconds:g}",
            "base": base,
        },
    )


if __name__ == "__main__":
    typer.run(command)
