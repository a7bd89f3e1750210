"""Peak memory and time of a forward and backward pass, by what is kept for the latter.

Memory is what log_prob and its gradient need above parameters and gradients, which exist before;
no optimiser. Every number is from a process of its own, after a pass that warms up. On Linux glibc
is told to map every tensor of 16 KiB or more by itself and to return it at once, so that what is
resident is exact; on a GPU it is what torch has allocated. Times are from interleaved rounds,
relative to autograd's. The flows are freshly initialised, so they can be inverted well.

    python benchmarks/memory.py --image-size 32 --image-size 64
"""

import gc
import multiprocessing
import os
import statistics
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, get_args

import report
import torch
import typer
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from rich.console import Console
from rich.progress import track
from rounds import Contestant, ratio, seconds

from glow import Glow, GlowConfig
from glow.allocator import keep_freed_memory
from glow.chain import Backprop

MODES: tuple[Backprop, ...] = get_args(Backprop)
EXACT = {"MALLOC_MMAP_THRESHOLD_": "16384", "MALLOC_TRIM_THRESHOLD_": "16384"}
PROCESS = Path("/proc/self")
SEED = 0


def timed_work(model: GlowConfig, n: int, threads: int) -> Callable[[], object]:
    """`forward_backward` in a process that keeps its memory, as in training."""
    keep_freed_memory()
    return forward_backward(model, n, threads)


def forward_backward(model: GlowConfig, n: int, threads: int) -> Callable[[], object]:
    """The density of n images and its gradient, which is added to what there is."""
    torch.set_num_threads(threads)
    torch.manual_seed(SEED)
    glow = Glow(model).to(report.device())
    shape = (n, model.channels, model.image_size, model.image_size)
    x = torch.rand(shape, device=report.device()) - 0.5
    glow.initialize(x)
    return lambda: glow.log_prob(x).sum().backward()


def peak_bytes(model: GlowConfig, n: int, threads: int) -> int:
    """Of this process, above what it held before the pass."""
    work = forward_backward(model, n, threads)
    work()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return torch.cuda.max_memory_allocated() - before
    (PROCESS / "clear_refs").write_text("5")  # the peak starts again from here
    before = _status("VmRSS")
    work()
    return _status("VmHWM") - before


def in_a_new_process(model: GlowConfig, n: int, threads: int) -> int:
    """`peak_bytes`."""
    context = multiprocessing.get_context("spawn")
    with exact_memory(), ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(peak_bytes, model, n, threads).result()


@contextmanager
def exact_memory() -> Iterator[None]:
    """For processes that start inside: what glibc reads once, at their start."""
    os.environ.update(EXACT)
    try:
        yield
    finally:
        for name in EXACT:
            del os.environ[name]


def _status(name: str) -> int:
    for line in (PROCESS / "status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {name}; memory is measured on Linux or a GPU")


def rows_of(
    model: Callable[[int, Backprop], GlowConfig],
    depths: list[int],
    timed: list[int],
    n: int,
    threads: int,
    rounds: int,
) -> list[dict[str, Any]]:
    """A row for every mode and depth."""
    title = f"side {model(1, MODES[0]).image_size}"
    wanted = [(mode, depth) for mode in MODES for depth in depths]
    peak = {}
    for mode, depth in track(wanted, f"{title}, memory", console=Console(stderr=True)):
        peak[mode, depth] = in_a_new_process(model(depth, mode), n, threads)
    slower: dict[tuple[str, int], float] = {}
    took: dict[tuple[str, int], float] = {}
    for depth in timed:
        contestants = [
            Contestant(mode, timed_work, {"model": model(depth, mode), "n": n, "threads": threads})
            for mode in MODES
        ]
        times = seconds(contestants, rounds, f"{title}, depth {depth}, time")
        for mode in MODES:
            took[mode, depth] = statistics.median(times[mode])
            slower[mode, depth] = ratio(times, MODES[0], mode)
    return [
        {
            "image_size": model(depth, mode).image_size,
            "backprop": mode,
            "depth": depth,
            "peak_mb": round(peak[mode, depth] / 1e6, 1),
            "of_autograd": round(peak[mode, depth] / peak[MODES[0], depth], 3),
            "growth_percent": round(100 * (peak[mode, depth] / peak[mode, depths[0]] - 1), 1),
            "seconds": round(took[mode, depth], 3) if depth in timed else None,
            "time_of_autograd": round(slower[mode, depth], 3) if depth in timed else None,
        }
        for mode, depth in wanted
    ]


def plot(rows: list[dict[str, Any]], sizes: list[int]) -> Figure:
    """Peak memory against depth, a panel for each size of image."""
    figure = Figure(figsize=(4.5 * len(sizes), 3.8), layout="constrained")
    panels = figure.subplots(1, len(sizes), squeeze=False)[0]
    for axes, size in zip(panels, sizes, strict=True):
        for mode in MODES:
            found = [r for r in rows if r["image_size"] == size and r["backprop"] == mode]
            depths = [row["depth"] for row in found]
            axes.plot(depths, [row["peak_mb"] for row in found], "o-", label=mode)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.set_xticks(depths, [str(depth) for depth in depths])
        axes.set(title=f"3x{size}x{size}", xlabel="steps per level")
        axes.set_ylabel("peak above parameters and gradients, MB")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend()
    return figure


def command(
    *,
    depth: Annotated[
        list[int] | None, typer.Option(help="steps per level; may be repeated; by default 4 to 64")
    ] = None,
    timed: Annotated[
        list[int] | None, typer.Option(help="depths that are timed as well; by default 8 and 32")
    ] = None,
    width: Annotated[int, typer.Option(help="hidden channels")] = 128,
    image_size: Annotated[
        list[int] | None, typer.Option(help="side; may be repeated; by default 32 and 64")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="images of a pass")] = 16,
    rounds: Annotated[int, typer.Option(help="times everything is timed")] = 7,
    threads: Annotated[int, typer.Option(help="of the processor")] = 1,
    out: Annotated[Path, typer.Option(help="JSON to write, Markdown and PNG beside it")] = Path(
        "benchmarks/results/memory.json"
    ),
) -> None:
    """Measure the memory and time of each `backprop` against depth, 3 levels."""
    depths, sizes = sorted(depth or (4, 8, 16, 32, 64)), image_size or [32, 64]
    rows = []
    for size in sizes:

        def model(depth: int, mode: Backprop, size: int = size) -> GlowConfig:
            return GlowConfig(
                image_size=size,
                n_levels=3,
                depth=depth,
                hidden_channels=width,
                backprop=mode,
            )

        rows += rows_of(model, depths, timed or [8, 32], batch_size, threads, rounds)
    flags = [f"--depth {k}" for k in depths] + [f"--image-size {size}" for size in sizes]
    flags += [f"--timed {k}" for k in timed or [8, 32]]
    options = f"{' '.join(flags)} --width {width} --batch-size {batch_size} --rounds {rounds}"
    said = f"python benchmarks/memory.py {options} --threads {threads}"
    about = report.about(said, seed=SEED) | {"threads": threads}
    report.save(out, about, rows, plot(rows, sizes))


if __name__ == "__main__":
    typer.run(command)
