"""Images per second by the number of processes, through torchrun as training uses it.

Strong: the same global batch, shared among the processes; weak: the same part for each process.
Rounds are interleaved, so that a busy minute falls on all; a rate is that of the median step. On
CPUs every process has one thread, so that processes and not threads are compared.

    python benchmarks/scaling.py --rounds 5
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import report
import torch
import typer
from matplotlib.figure import Figure
from paper import SLOWLY
from rich.console import Console
from rich.progress import track

from glow import Glow, GlowConfig, dequantize
from glow.parallel import rank, world_size
from glow.trainer import Batch, Trainer
from stages.distributed import process_group

SEED = 0


def measure_here(part: int, steps: int, model: GlowConfig, out: Path) -> None:
    """In each process: trains on random images and leaves the seconds of every step."""
    with process_group() as device:
        torch.manual_seed(SEED)
        glow = Glow(model).to(device)
        generator = torch.Generator().manual_seed(SEED + rank())
        shape = (part, model.channels, model.image_size, model.image_size)
        levels = torch.randint(0, 2**model.n_bits, shape, generator=generator, dtype=torch.uint8)
        batch = Batch(levels.to(device))
        glow.initialize(dequantize(batch.levels, model.n_bits))
        how = replace(SLOWLY, steps=steps + 2)  # two to warm up
        times = []
        began = time.perf_counter()
        for _ in Trainer(glow, how, seed=SEED).train(lambda _: batch):
            now = time.perf_counter()
            times.append(now - began)
            began = now
        if rank() == 0:
            images = part * world_size()
            out.write_text(json.dumps({"images": images, "seconds": times[2:]}))


def seconds_per_step(processes: int, part: int, arguments: list[str]) -> tuple[int, list[float]]:
    """Global batch and seconds of each step of one torchrun."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "seconds.json"
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command = [*launcher, f"--nproc-per-node={processes}", __file__, *arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(
            [*command, "--part", str(part), "--out", str(file)], env=environment, check=True
        )
        said = json.loads(file.read_text())
    return said["images"], said["seconds"]


def plot(rows: list[dict[str, Any]]) -> Figure:
    """Both curves, and what no loss at all would be."""
    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    for scaling in ("strong", "weak"):
        found = [row for row in rows if row["scaling"] == scaling]
        counts = [row["processes"] for row in found]
        axes.plot(counts, [row["images_per_second"] for row in found], "o-", label=scaling)
    ideal = [count * rows[0]["images_per_second"] for count in counts]
    axes.plot(counts, ideal, ":", color="black", label="ideal")
    axes.set(xlabel="processes", ylabel="images per second", xticks=counts, ylim=(0, None))
    axes.legend()
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def command(
    *,
    processes: Annotated[
        list[int] | None, typer.Option(help="how many; may be repeated; by default 1 and all")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="images of one process's batch")] = 16,
    width: Annotated[int, typer.Option(help="hidden channels")] = 64,
    depth: Annotated[int, typer.Option(help="steps per level")] = 8,
    image_size: Annotated[int, typer.Option(help="side of the images")] = 32,
    steps: Annotated[int, typer.Option(help="of every round")] = 8,
    rounds: Annotated[int, typer.Option(help="times everything is timed")] = 5,
    part: Annotated[int | None, typer.Option(hidden=True)] = None,
    out: Annotated[Path, typer.Option(help="JSON to write, Markdown and PNG beside it")] = Path(
        "benchmarks/results/scaling.json"
    ),
) -> None:
    """Time training in 1, 2, ... processes: the same batch for all, and the same part for each."""
    model = GlowConfig(image_size=image_size, n_levels=3, depth=depth, hidden_channels=width)
    if part is not None:
        measure_here(part, steps, model, out)
        return
    counts = sorted({1, *(processes or range(1, max(2, torch.cuda.device_count()) + 1))})
    if uneven := [count for count in counts if batch_size % count]:
        raise typer.BadParameter(
            f"--batch-size {batch_size} does not part into {uneven} processes"
        )
    sizes = f"--width {width} --depth {depth} --image-size {image_size} --steps {steps}"
    # one process has the same work in both
    parts = {("strong", count): (count, batch_size // count) for count in counts}
    parts |= {("weak", count): (count, batch_size) for count in counts}
    images: dict[tuple[int, int], int] = {}
    found: dict[tuple[int, int], list[float]] = {work: [] for work in parts.values()}
    for _ in track(range(rounds), "scaling", console=Console(stderr=True)):
        for work, times in found.items():
            images[work], more = seconds_per_step(*work, sizes.split())
            times += more
    rates = {key: images[work] / statistics.median(found[work]) for key, work in parts.items()}
    rows = [
        {
            "scaling": scaling,
            "processes": count,
            "global_batch": images[parts[scaling, count]],
            "images_per_second": round(rates[scaling, count], 1),
            "speedup": round(rates[scaling, count] / rates[scaling, 1], 3),
            "efficiency": round(rates[scaling, count] / rates[scaling, 1] / count, 3),
        }
        for scaling in ("strong", "weak")
        for count in counts
    ]
    chosen = " ".join(f"--processes {count}" for count in counts)
    options = f"{chosen} --batch-size {batch_size} {sizes} --rounds {rounds}"
    said = f"python benchmarks/scaling.py {options}"
    about = report.about(said, seed=SEED, threads_per_process=1)
    report.save(out, about, rows, plot(rows))


if __name__ == "__main__":
    typer.run(command)
