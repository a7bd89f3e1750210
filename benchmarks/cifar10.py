"""CIFAR-10, 8 bits, at equal minutes of two cores: our Glow and flows of other packages.

Seconds per step of every contender are measured first, in interleaved rounds on a quiet machine
(`costs`). Then each trains as many steps as fit into the minutes (`run`), in whatever real time:
a process and a thread each, so that a busy machine slows a training and does not bend it. All get
the same batches, noise, clipping, averaging, warm-up and cosine decay to zero, and one function
evaluates them: the same test images with the same noise, averaged weights. A run that was killed
goes on from its last save when it is called again; `report` compares those that are whole.

    python -m stages.preprocess data/raw data/shards results/data.json   # params: cifar10, 8 bits
    pip install --no-deps normflows==1.7.3 antsnormflows==1.0.0 jet-pytorch==0.0.2 einops
    python benchmarks/cifar10.py costs --shards data/shards --out out
    python benchmarks/cifar10.py run glow-muon --shards data/shards --minutes 60 --out out
    python benchmarks/cifar10.py report out

`search` tries settings of a contender for a short time, all combinations of what is varied:

    python benchmarks/cifar10.py search jet-adamw --shards data/shards --minutes 3 --out out \
        --vary learning_rate=3e-4,1e-3,3e-3 --vary batch_size=16,32

Who trains, and how, is in contenders.py.
"""

import json
import multiprocessing
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import cifar10_report
import costs as measured
import report as written
import torch
import trainings
import typer
from contenders import CONTENDERS, Contender, missing
from rich.console import Console
from rich.progress import track

from glow.atomic import make_folder, write_atomically
from stages.shards import ShardSet

app = typer.Typer(
    help="Our Glow and flows of other packages on CIFAR-10, at equal minutes of two cores.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Shards = Annotated[Path, typer.Option(help="folder of shards, of stages.preprocess")]
Out = Annotated[Path, typer.Option(help="folder of costs, states, curves and rows")]


def known(name: str) -> Contender:
    """The contender of a name."""
    if name not in CONTENDERS:
        raise typer.BadParameter(f"{name!r}, expected one of {', '.join(CONTENDERS)}")
    if package := missing(CONTENDERS[name]):
        raise typer.BadParameter(f"{name} needs the package {package}, which is not installed")
    return CONTENDERS[name]


@app.command("costs")
def costs_command(
    names: Annotated[
        list[str] | None, typer.Argument(help="by default all whose packages are here")
    ] = None,
    *,
    shards: Shards,
    out: Out,
    threads: Annotated[int, typer.Option(help="that the minutes are of")] = 2,
    compiling: Annotated[bool, typer.Option(help="measure torch.compile, too")] = True,
) -> None:
    """Measure seconds per step into OUT/costs.json."""
    here = names or [name for name, who in CONTENDERS.items() if missing(who) is None]
    found = measured.measure(
        ShardSet.open(shards),
        {name: known(name) for name in here},
        threads=threads,
        compiling=compiling,
    )
    measured.write(out, found)
    columns = ("plain_seconds", "compiled_seconds", "compile_seconds", "form")
    print(
        written.table(
            [
                {"contender": name} | {column: cost.get(column, "") for column in columns}
                for name, cost in found.items()
            ]
        )
    )


@app.command()
def run(
    name: Annotated[str, typer.Argument(help="of the contender")],
    *,
    shards: Shards,
    out: Out,
    minutes: Annotated[float, typer.Option(help="of the threads of costs.json")] = 60.0,
    seed: Annotated[int, typer.Option(help="of weights, order and noise")] = 0,
    every: Annotated[float, typer.Option(help="minutes between points of the curve")] = 2.0,
    valid_images: Annotated[int, typer.Option(help="in each of these")] = 1000,
    save_seconds: Annotated[float, typer.Option(help="of real time between saves")] = 120.0,
) -> None:
    """Train one contender, or go on where it was stopped."""
    torch.set_num_threads(1)
    contender = known(name)
    try:
        cost = measured.read(out, name, contender)
        training = trainings.Training(
            name=name,
            contender=contender,
            shards=shards,
            seconds_per_step=cost["seconds"],
            compiled=cost["form"] == "compiled",
            minutes=minutes,
            seed=seed,
            every=every,
            valid_images=valid_images,
            save_seconds=save_seconds,
        )
        print(written.table([trainings.run(training, out)["row"]]))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


@app.command()
def search(
    name: Annotated[str, typer.Argument(help="of the contender")],
    *,
    vary: Annotated[list[str], typer.Option(help="field=value,value: may be repeated")],
    shards: Shards,
    out: Out,
    minutes: Annotated[float, typer.Option(help="of one core, each")] = 3.0,
    processes: Annotated[int, typer.Option(help="trials at once")] = 1,
    seed: Annotated[int, typer.Option(help="of weights, order and noise")] = 0,
) -> None:
    """Try settings for the same time of one core: valid bits per dimension, the best first."""
    contender = known(name)
    trials = {"": contender}
    for key, _, values in (text.partition("=") for text in vary):
        trials = {
            f"{label} {key}={value}".strip(): trial.changed(key, parsed(value))
            for (label, trial), value in product(trials.items(), values.split(","))
        }
    found = measured.measure(ShardSet.open(shards), trials, threads=1, compiling=False)
    jobs = [
        (
            trainings.Training(
                name=f"{name} {label}",
                contender=trial,
                shards=shards,
                seconds_per_step=found[label]["seconds"],
                compiled=False,
                minutes=minutes,
                seed=seed,
                every=minutes / 4,
                valid_images=1000,
            ),
            out / "search",
        )
        for label, trial in trials.items()
    ]
    with multiprocessing.get_context("spawn").Pool(processes, maxtasksperchild=1) as pool:
        done = pool.imap(trial_of, jobs)
        rows = list(track(done, name, total=len(jobs), console=Console(stderr=True)))
    rows.sort(key=lambda row: row["valid_bits_per_dim"] or float("inf"))
    columns = ("contender", "valid_bits_per_dim", "ms_per_step", "steps", "parameters")
    rows = [{column: row[column] for column in columns} for row in rows]
    about = written.about(
        f"python benchmarks/cifar10.py search {name} --minutes {minutes:g} "
        + " ".join(f"--vary {text}" for text in vary),
        seed=seed,
        recipe=asdict(contender),
    )
    make_folder(out)
    content = json.dumps({**about, "rows": rows}, indent=2) + "\n"
    write_atomically(out / f"search-{name}.json", content.encode())
    print(written.table(rows))


def trial_of(job: tuple[trainings.Training, Path]) -> dict[str, Any]:
    """The row of one trial, in a process of its own."""
    torch.set_num_threads(1)
    training, out = job
    row: dict[str, Any] = trainings.run(training, out, test=False)["row"]
    return row


def parsed(text: str) -> Any:  # noqa: ANN401 - a number, true, false, or a word
    """A value of a command line."""
    try:
        return json.loads(text)
    except ValueError:
        return text


@app.command("report")
def report_command(
    folder: Annotated[Path, typer.Argument(help="of costs, curves and rows")],
    *,
    out: Annotated[Path, typer.Option(help="JSON to write, Markdown and PNG beside it")] = Path(
        "benchmarks/results/cifar10.json"
    ),
) -> None:
    """Compare the trainings that are whole: table, curves, and the paper's number."""
    cifar10_report.write(folder, out)


if __name__ == "__main__":
    app()
