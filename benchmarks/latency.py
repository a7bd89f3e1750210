"""Milliseconds to sample, encode and decode one image and a batch, by the size of the images.

Weights stand still (`Glow.frozen`), so what they fold to is computed once, before. Every call is
timed by itself; the median and the 95th percentile are over the calls. The flows are freshly
initialised: their time is that of trained ones.

    python benchmarks/latency.py --image-size 32 --image-size 64
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import report
import torch
import typer
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track

from glow import Glow, GlowConfig

SEED = 0
PAPER = (512, 32)  # width and steps per level of the paper's models
TASKS = ("sample", "encode", "decode")


def levels_of(image_size: int) -> int:
    """The paper's numbers of levels: 3 for 32, 4 for 64, and one more for every doubling."""
    return max(1, image_size.bit_length() - 3)


def new_glow(image_size: int, width: int, depth: int) -> Glow:
    """Initialised, for evaluation."""
    torch.manual_seed(SEED)
    config = GlowConfig(
        image_size=image_size,
        n_levels=levels_of(image_size),
        depth=depth,
        hidden_channels=width,
    )
    glow = Glow(config).to(report.device())
    glow.initialize(images(glow, 4))
    return glow.eval()


def images(glow: Glow, n: int) -> torch.Tensor:
    """Of noise, in [-0.5, 0.5)."""
    side = glow.config.image_size
    return torch.rand(n, glow.config.channels, side, side, device=report.device()) - 0.5


def milliseconds(work: Callable[[], object], budget: float, most: int) -> list[float]:
    """Of each call, after two that warm up; calls until the seconds are spent, 5 at least."""
    for _ in range(2):
        work()
    times: list[float] = []
    ends = time.perf_counter() + budget
    while len(times) < 5 or (len(times) < most and time.perf_counter() < ends):
        _wait()
        began = time.perf_counter()
        work()
        _wait()
        times.append(1000 * (time.perf_counter() - began))
    return times


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@torch.no_grad()
def measure(glow: Glow, batch_sizes: list[int], budget: float, calls: int) -> list[dict[str, Any]]:
    """A row for every task and batch."""
    rows = []
    with glow.frozen():
        for n in batch_sizes:
            x, generator = images(glow, n), torch.Generator(report.device()).manual_seed(SEED)
            latents = glow.encode(x)
            works: dict[str, Callable[[], object]] = {
                "sample": lambda n=n, generator=generator: glow.sample(n, generator=generator),
                "encode": lambda x=x: glow.encode(x),
                "decode": lambda latents=latents: glow.decode(latents),
            }
            for task in TASKS:
                times = milliseconds(works[task], budget, calls)
                rows.append(
                    {
                        "task": task,
                        "image_size": glow.config.image_size,
                        "n_levels": glow.config.n_levels,
                        "depth": glow.config.depth,
                        "width": glow.config.hidden_channels,
                        "images": n,
                        "calls": len(times),
                        "median_ms": round(statistics.median(times), 2),
                        "p95_ms": round(
                            statistics.quantiles(times, n=20, method="inclusive")[-1], 2
                        ),
                    }
                )
    return rows


def plot(rows: list[dict[str, Any]]) -> Figure:
    """Medians against the side, up to the 95th percentile; a panel for each model and batch."""
    keys = sorted({(row["width"], row["depth"], row["images"]) for row in rows})
    figure = Figure(figsize=(4 * len(keys), 3.6), layout="constrained")
    panels = figure.subplots(1, len(keys), squeeze=False, sharey=True)[0]
    for axes, (width, depth, n) in zip(panels, keys, strict=True):
        for task in TASKS:
            found = [
                row
                for row in rows
                if (row["width"], row["depth"], row["images"]) == (width, depth, n)
                and row["task"] == task
            ]
            sides = [row["image_size"] for row in found]
            medians = [row["median_ms"] for row in found]
            above = [row["p95_ms"] - row["median_ms"] for row in found]
            axes.errorbar(
                sides, medians, yerr=[[0] * len(above), above], fmt="o-", capsize=3, label=task
            )
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(sides, [str(side) for side in sides])
        axes.set(xlabel="side of the images", title=f"{n} at once, width {width}, depth {depth}")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("milliseconds, median to 95th percentile")
    panels[0].legend()
    return figure


def command(
    *,
    image_size: Annotated[
        list[int] | None, typer.Option(help="side; may be repeated; by default 32 to 256")
    ] = None,
    batch_size: Annotated[
        list[int] | None, typer.Option(help="images of a call; may be repeated; default 1 and 16")
    ] = None,
    width: Annotated[int, typer.Option(help="hidden channels")] = 128,
    depth: Annotated[int, typer.Option(help="steps per level")] = 8,
    paper: Annotated[
        bool | None,
        typer.Option(help="the paper's width and depth too; by default on a GPU alone"),
    ] = None,
    budget: Annotated[float, typer.Option(help="seconds for every row")] = 2.0,
    calls: Annotated[int, typer.Option(help="of every row, at most")] = 100,
    out: Annotated[Path, typer.Option(help="JSON to write, Markdown and PNG beside it")] = Path(
        "benchmarks/results/latency.json"
    ),
) -> None:
    """Time sampling, encoding and decoding with weights that stand still."""
    sizes, batches = image_size or [32, 64, 128, 256], batch_size or [1, 16]
    models = [(width, depth)]
    if paper or (paper is None and torch.cuda.is_available()):
        models.append(PAPER)
    wanted = [(size, *model) for model in models for size in sizes]
    rows = []
    for size, w, k in track(wanted, "latency", console=Console(stderr=True)):
        rows += measure(new_glow(size, w, k), batches, budget, calls)
    flags = [f"--image-size {size}" for size in sizes] + [f"--batch-size {n}" for n in batches]
    flags += [f"--width {width} --depth {depth}", *(["--paper"] if len(models) > 1 else [])]
    said = f"python benchmarks/latency.py {' '.join(flags)} --budget {budget} --calls {calls}"
    report.save(out, report.about(said, seed=SEED), rows, plot(rows))


if __name__ == "__main__":
    typer.run(command)
