"""Images per second, trained and sampled, beside normflows built to the same architecture.

A training step is all that a trainer does: noise, loss, gradients, Adamax; ours also keeps the
average of the weights, the norm of the gradient and its clipping. We sample with frozen weights
(`Glow.frozen`). Interleaved rounds; a ratio is that of the medians, beside it that of the best
rounds. `of_peak` is the arithmetic of the convolutions (size.py) over the fastest large matrix
product of the same run, in float32. Ours is timed in every precision of the device, its training
on a GPU also as a CUDA graph.

    python benchmarks/throughput.py --width 512 --depth 4 --depth 8
"""

import statistics
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import report
import torch
import torch.nn.functional as F
import typer
from matplotlib.figure import Figure
from paper import SLOWLY, config, levels, new_glow
from peer import loss_of_peer, peer, sample_of_peer
from rounds import Contestant, ratio, seconds
from torch import Tensor

from glow import GlowConfig, dequantize
from glow.precision import Precision
from glow.size import multiplications
from glow.trainer import Batch, Trainer

MODES_OF_GPU = ("float32", "tf32", "bfloat16", "bfloat16+graphs")
MODES_OF_CPU = ("float32", "bfloat16")
PEER, PEAK = "normflows", "peak"
PEAK_SIDE = 4096
PEAK_FLOPS = 2 * PEAK_SIDE * 1024 * 1024


def train_glow(model: GlowConfig, n: int, mode: str = "float32") -> Callable[[], object]:
    """One step of our trainer, in one of the modes."""
    images = levels(model, n, report.device())
    glow = new_glow(model, images)
    precision, *graphs = mode.split("+")
    glow.set_precision(precision)
    steps = Trainer(glow, SLOWLY, seed=0, graphs=bool(graphs)).train(lambda _: Batch(images))
    for _ in range(5 if graphs else 0):
        next(steps)  # recorded in the fourth
    return lambda: next(steps)


def train_peer(model: GlowConfig, n: int) -> Callable[[], object]:
    """One step as normflows' examples train."""
    images = levels(model, n, report.device())
    flow = peer(model).to(images.device)
    optimizer = torch.optim.Adamax(flow.parameters(), lr=1e-5)

    def step() -> float:
        optimizer.zero_grad()
        loss = loss_of_peer(flow, dequantize(images, model.n_bits))
        loss.backward()
        optimizer.step()
        return float(loss)

    return step


def sample_glow(model: GlowConfig, n: int, mode: Precision = "float32") -> Callable[[], object]:
    """N images of our model, in one of the precisions."""
    glow = new_glow(model, levels(model, n, report.device())).eval()
    glow.set_precision(mode)
    frozen = ExitStack()
    frozen.enter_context(glow.frozen())

    def sample(_kept: ExitStack = frozen) -> Tensor:
        return glow.sample(n)

    return sample


def sample_peer(model: GlowConfig, n: int) -> Callable[[], object]:
    """N images of normflows'."""
    flow = peer(model).to(report.device())
    images = levels(model, n, report.device())
    loss_of_peer(flow, dequantize(images, model.n_bits))  # initialises its ActNorms
    flow.eval()
    return lambda: sample_of_peer(flow, n)


def peak_product() -> Callable[[], object]:
    """A large matrix product, as the 1x1 convolution of oneDNN or cuDNN."""
    device = report.device()
    a, b = (torch.randn(PEAK_SIDE, 1024, device=device) for _ in range(2))
    image = a.view(4, 32, 32, 1024).permute(0, 3, 1, 2)  # channels last
    kernel = b[:1024, :, None, None].contiguous(memory_format=torch.channels_last)
    return lambda: F.conv2d(image, kernel)


def measure(
    model: GlowConfig, batch_size: int, times_each: int, title: str
) -> list[dict[str, Any]]:
    """A row for training in every mode and one for sampling in every precision."""
    arguments = {"model": model, "n": batch_size}
    modes = MODES_OF_GPU if torch.cuda.is_available() else MODES_OF_CPU
    precisions = [mode for mode in modes if "+" not in mode]
    rows = []
    for task, work, new, of_task, theirs in (
        ("train", 3, train_glow, modes, train_peer),
        ("sample", 1, sample_glow, precisions, sample_peer),
    ):
        ours = [Contestant(mode, new, {**arguments, "mode": mode}) for mode in of_task]
        others = [Contestant(PEER, theirs, arguments), Contestant(PEAK, peak_product)]
        times = seconds([*ours, *others], times_each, f"{title}, {task}")
        peak = PEAK_FLOPS / statistics.median(times[PEAK])
        flops = 2 * work * multiplications(model)
        for mode in (contestant.name for contestant in ours):
            rates = {name: batch_size / statistics.median(times[name]) for name in (mode, PEER)}
            rows.append(
                {
                    "task": task,
                    "mode": mode,
                    "width": model.hidden_channels,
                    "depth": model.depth,
                    "batch": batch_size,
                    "glow_images_per_second": round(rates[mode], 1),
                    "normflows_images_per_second": round(rates[PEER], 1),
                    "ratio": round(ratio(times, mode, PEER), 3),
                    "ratio_of_best": round(min(times[PEER]) / min(times[mode]), 3),
                    "peak_gflops": round(peak / 1e9, 1),
                    "glow_of_peak": round(flops * rates[mode] / peak, 3),
                    "normflows_of_peak": round(flops * rates[PEER] / peak, 3),
                }
            )
    return rows


def plot(rows: list[dict[str, Any]]) -> Figure:
    """Bars of the ratios; 1 is normflows."""
    figure = Figure(figsize=(7, 0.45 * len(rows) + 1.2))
    axes = figure.subplots()
    names = [
        f"{row['task']}, {row['mode']}, width {row['width']}, depth {row['depth']}" for row in rows
    ]
    bars = axes.barh(names, [row["ratio"] for row in rows])
    axes.bar_label(bars, fmt="%.2f", padding=2)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.invert_yaxis()
    axes.set_xlabel("images per second, as a multiple of normflows'")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def command(
    *,
    width: Annotated[
        list[int] | None, typer.Option(help="hidden channels; may be repeated; by default 512")
    ] = None,
    depth: Annotated[
        list[int] | None, typer.Option(help="steps per level; may be repeated; by default 4 and 8")
    ] = None,
    image_size: Annotated[int, typer.Option(help="side of the images")] = 32,
    batch_size: Annotated[int, typer.Option(help="images per step")] = 16,
    rounds: Annotated[int, typer.Option(help="times everything is timed")] = 9,
    out: Annotated[Path, typer.Option(help="JSON to write, Markdown and PNG beside it")] = Path(
        "benchmarks/results/throughput.json"
    ),
) -> None:
    """Time training and sampling, ours and normflows', in interleaved rounds."""
    width, depth = width or [512], depth or [4, 8]
    rows = []
    for w in width:
        for k in depth:
            model = config(w, k, image_size)
            rows += measure(model, batch_size, rounds, f"width {w}, depth {k}")
    flags = " ".join([*(f"--width {w}" for w in width), *(f"--depth {k}" for k in depth)])
    said = f"python benchmarks/throughput.py {flags} --batch-size {batch_size} --rounds {rounds}"
    report.save(out, report.about(said, image_size=image_size, seed=0), rows, plot(rows))


if __name__ == "__main__":
    typer.run(command)
