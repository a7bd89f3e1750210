"""Bits per dimension against time: our model and normflows', of the same architecture and data.

Each trains for the same seconds of one core, both at the same time, so that they see the same
machine; on a GPU one after the other. The learning rate at a share of the time is that of
params.yaml at this share of its steps. What it takes to evaluate is not on the clock. Both are
evaluated by one function: the same images, the same dequantisation noise, averaged weights. A
training that meets a loss or gradient that is not finite ends there and has no final number.
Standard errors are over test images, not over trainings: for those, change `--seed`.

The peer lacks two things of the paper's code: the channel that marks edges, and priors of the
finer levels that depend on the coarser ones (peer.py).

    python benchmarks/minutes.py avatars=data/shards --seconds 240

The photographs of the recorded run are those of the Berkeley Segmentation Data Set 500 (train and
val; Arbelaez et al. 2011) at half of their size, in tiles: `python -m stages.preprocess` with the
defaults of params.yaml but `data.source: folder` and `data.folder.crop: tiles`.
"""

import math
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import report
import torch
import typer
from learners import LEARNERS, Task, bits
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from torch import Tensor

from glow import GlowConfig
from glow.trainer import NonFiniteLoss, TrainConfig
from stages.params import Params, load_params
from stages.shards import ShardSet

STYLES = ("-", "--", ":", "-.")  # of learning rates


@dataclass(frozen=True)
class Trial:
    """Who learns what, for how long, and how often it is asked."""

    data: str
    who: str
    task: Task
    seconds: float
    every: float
    valid_images: int


def run(trial: Trial) -> tuple[dict[str, Any], list[dict[str, float | None]]]:
    """Trains; a row for the table, and valid bits per dimension against seconds."""
    torch.set_num_threads(1)
    task, shards = trial.task, ShardSet.open(trial.task.folder)
    valid, _ = shards.load("valid", trial.valid_images)
    test, _ = shards.load("test")
    # of the core where there is one, so that a busy machine slows and does not bend
    clock = time.perf_counter if report.device().type == "cuda" else time.process_time
    learner = LEARNERS[trial.who](task)
    spent, waited, steps = 0.0, 0.0, 0
    curve: list[dict[str, float | None]] = []
    with suppress(NonFiniteLoss):
        while spent < trial.seconds:
            share = spent / trial.seconds
            factor = task.train.factor_at(int(share * task.train.steps))
            began, wall = clock(), time.perf_counter()
            learner.update(factor)
            spent, waited = spent + clock() - began, waited + time.perf_counter() - wall
            steps += 1
            if spent >= min((len(curve) + 1) * trial.every, trial.seconds):
                mean = bits(learner, valid, shards.n_bits, task.seed).mean()
                curve.append({"seconds": round(spent, 2), "valid_bits_per_dim": number(mean)})
    whole = spent >= trial.seconds
    found = bits(learner, test, shards.n_bits, task.seed)
    row = {
        "data": trial.data,
        "model": trial.who,
        "learning_rate": task.train.learning_rate,
        "test_bits_per_dim": number(found.mean()) if whole else None,
        "standard_error": number(found.std() / math.sqrt(len(found))) if whole else None,
        "valid_bits_per_dim": curve[-1]["valid_bits_per_dim"] if whole else None,
        "steps": steps,
        "images": steps * task.batch_size,
        "seconds": round(spent, 1),
        "wall_seconds": round(waited, 1),
        "parameters": learner.n_parameters(),
        "diverged_at_step": None if whole else steps + 1,
    }
    return row, curve


def number(value: Tensor) -> float | None:
    """Rounded; None, JSON's word, where it is not finite."""
    return round(float(value), 4) if math.isfinite(value) else None


def plot(rows: report.Rows, curves: list[list[dict[str, Any]]]) -> Figure:
    """A panel for each data set, a colour for each model, a style for each learning rate."""
    names = list(dict.fromkeys(row["data"] for row in rows))
    rates = list(dict.fromkeys(row["learning_rate"] for row in rows))
    figure = Figure(figsize=(5.5 * len(names), 3.8), layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        known = []
        for row, curve in zip(rows, curves, strict=True):
            points = [point for point in curve if point["valid_bits_per_dim"] is not None]
            if row["data"] != name:
                continue
            values = [point["valid_bits_per_dim"] for point in points]
            known += [values] if values else []
            end = ", diverged" if row["diverged_at_step"] else ""
            axes.plot(
                [point["seconds"] / 60 for point in points],
                values,
                STYLES[rates.index(row["learning_rate"]) % len(STYLES)],
                color=f"C{list(LEARNERS).index(row['model'])}",
                label=f"{row['model']}, learning rate {row['learning_rate']:g}{end}",
            )
        axes.legend()
        if known:  # the first points may be far above all others
            low = min(map(min, known))
            axes.set_ylim(low - 0.1, max(values[len(values) // 10] for values in known) + 0.1)
        axes.set(title=name, xlabel="minutes of training", ylabel="valid bits per dimension")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def task_of(params: Params, folder: Path, seed: int, rate: float, model: dict[str, int]) -> Task:
    """The paper's mathematics at the size of `model`, trained as params.yaml says."""
    shards = ShardSet.open(folder)
    how = params.train.model_dump(include=set(TrainConfig.__dataclass_fields__))
    config = GlowConfig(
        image_size=shards.image_size,
        n_bits=shards.n_bits,
        n_levels=model.get("n_levels", params.model.n_levels),
        depth=model.get("depth", params.model.depth),
        hidden_channels=model.get("width", params.model.hidden_channels),
        min_scale=0.0,
    )
    return Task(
        folder=folder,
        model=config,
        train=TrainConfig(**how | {"learning_rate": rate}),
        batch_size=params.train.batch_size,
        initialize_images=params.train.initialize_images,
        seed=seed,
    )


def command(
    data: Annotated[list[str], typer.Argument(help="name=folder of shards; several")],
    *,
    seconds: Annotated[float, typer.Option(help="of training, each model")] = 240.0,
    every: Annotated[float, typer.Option(help="seconds between evaluations")] = 10.0,
    learning_rate: Annotated[
        list[float] | None, typer.Option(help="may be repeated; by default params.yaml's")
    ] = None,
    n_levels: Annotated[int | None, typer.Option(help="L; by default params.yaml's")] = None,
    depth: Annotated[int | None, typer.Option(help="K; by default params.yaml's")] = None,
    width: Annotated[int | None, typer.Option(help="by default params.yaml's")] = None,
    valid_images: Annotated[int, typer.Option(help="in each evaluation")] = 500,
    seed: Annotated[int, typer.Option(help="of weights, order and noise")] = 0,
    out: Annotated[Path, typer.Option(help="JSON to write, Markdown and PNG beside it")] = Path(
        "benchmarks/results/minutes.json"
    ),
) -> None:
    """Train both models on each data set for the same time and compare bits per dimension."""
    params = load_params()
    if bad := [name for name in data if not all(name.partition("="))]:
        raise typer.BadParameter(f"{bad[0]!r}, expected name=folder, as avatars=data/shards")
    folders = {name: Path(folder) for name, _, folder in (text.partition("=") for text in data)}
    rates = learning_rate or [params.train.learning_rate]
    options = {"n_levels": n_levels, "depth": depth, "width": width}
    model = {name: value for name, value in options.items() if value is not None}
    pairs = []
    for name, folder in folders.items():
        for rate in rates:
            task = task_of(params, folder, seed, rate, model)
            pair = [Trial(name, who, task, seconds, every, valid_images) for who in LEARNERS]
            pairs.append(pair)
    at_once = 1 if report.device().type == "cuda" else len(LEARNERS)
    rows, curves = [], []
    with get_context("spawn").Pool(at_once, maxtasksperchild=1) as pool:
        for pair in track(pairs, "minutes", console=Console(stderr=True)):
            for row, curve in pool.map(run, pair, chunksize=1):
                rows.append(row)
                curves.append(curve)
    flags = [
        f"--seconds {seconds:g} --every {every:g}",
        *(f"--learning-rate {rate:g}" for rate in rates),
    ]
    flags += [f"--{name.replace('_', '-')} {value}" for name, value in model.items()]
    size = task.model
    about = report.about(
        " ".join(["python benchmarks/minutes.py", *data, *flags]),
        threads=1,  # of each model
        models_at_once=at_once,
        seed=seed,
        batch_size=task.batch_size,
        optimizer=task.train.optimizer,
        model=f"L {size.n_levels}, K {size.depth}, width {size.hidden_channels}, min_scale 0",
        checksums={name: ShardSet.open(folder).checksum for name, folder in folders.items()},
    )
    report.save(out, about, rows, plot(rows, curves), curves=curves)


if __name__ == "__main__":
    typer.run(command)
