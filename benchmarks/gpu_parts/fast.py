"""Images per second and memory of the CIFAR-10 preset: every precision, batch and way to run.

`of_peak` is the arithmetic of a step (size.py) over the measured peak of products in the same
precision; `of_bandwidth` the bytes of a step, if every operation reads and writes memory once,
over the measured bandwidth of a copy. Both are of the whole step, update of the weights included.
"""

import copy
import itertools
import statistics
import time
from functools import partial
from typing import Any

import paper
import report

from glow import Glow
from glow.precision import Precision
from glow.size import count_parameters, multiplications
from gpu_parts import sampling
from gpu_parts.peaks import PRECISIONS, peaks
from gpu_parts.record import Record, rounded
from gpu_parts.settings import Settings
from gpu_parts.timing import free, peak_gb, reserved_gb, start_peak, tried, wait, wall_seconds
from gpu_parts.traffic import traffic_of
from gpu_parts.training import RECORDED_IN, training

BATCHES, DRY_BATCHES = (256, 128, 512, 64), (4,)  # what matters most first
ROW_SECONDS = 0.7  # of timed steps
FOR_SAMPLING = 0.25  # share of the part's time


def run(settings: Settings, record: Record) -> None:
    """Peaks, training, then sampling and single images."""
    device = report.device()
    model = paper.config(8, 1, 32) if settings.dry else paper.config(512, 32, 32)
    batches = DRY_BATCHES if settings.dry else BATCHES
    record.facts(
        device=report.device_name(),
        model=f"L {model.n_levels}, K {model.depth}, width {model.hidden_channels}, 8 bits",
        parameters=count_parameters(model),
        gflop_per_image_and_step=round(6 * multiplications(model) / 1e9, 2),
    )
    best = peaks(device, dry=settings.dry)
    record.facts(peaks_tflops=best)
    glow = paper.new_glow(model, paper.levels(model, min(64, max(batches)), device))
    for batch, precision in itertools.product(batches, PRECISIONS):
        if record.left < FOR_SAMPLING * settings.seconds:
            record.facts(cut=f"no time for batch {batch}, {precision} and what comes after")
            break
        train(record, glow, batch, precision, best)
    for precision in PRECISIONS:
        sampling.measure(record, glow, precision, batches[0])
        free()


def train(
    record: Record, glow: Glow, batch: int, precision: Precision, best: dict[str, float]
) -> None:
    """Rows of a batch and precision: without a graph, with one, and with cuDNN's own choice."""
    gb: float | None = None
    ways = [(False, False), (True, False)]
    if batch == BATCHES[0]:
        ways.append((True, True))  # the search takes seconds: once for each precision
    for graphs, autotune in ways:
        about = {
            "batch": batch,
            "precision": precision,
            "graph": graphs,
            "autotune": autotune,
        }
        found, error = tried(partial(timed, glow, about, count=gb is None))
        free()
        found = found or {}
        gb = gb or found.pop("gb", None)
        rate, seconds = found.get("images_per_second"), found.get("ms")
        flops = 6 * multiplications(glow.config) * batch
        found |= {
            "tflops": flops / seconds / 1e9 if seconds else None,
            "gb_per_step": gb,
            "of_peak": flops / seconds / 1e9 / best[precision] if seconds else None,
            "of_bandwidth": gb / seconds * 1e3 / best["copy_gb_per_s"] if gb and seconds else None,
            "error": error,
        }
        record.row("training", **about, **{name: rounded(found[name]) for name in found})
        if rate:
            headline(record)


def timed(glow: Glow, about: dict[str, Any], *, count: bool) -> dict[str, Any]:
    """What a training takes: its first step, the one that records, and the others."""
    images = paper.levels(glow.config, about["batch"], report.device())
    ways = {name: about[name] for name in ("precision", "autotune")}
    start_peak()
    with training(copy.deepcopy(glow), images, graphs=about["graph"], **ways) as step:
        first = []
        for _ in range(RECORDED_IN + 1):
            began = time.perf_counter()
            step()
            wait()
            first.append(time.perf_counter() - began)
        times = wall_seconds(step, budget=ROW_SECONDS)
        found = {
            "ms": 1e3 * statistics.median(times),
            "images_per_second": about["batch"] / statistics.median(times),
            "peak_gb": peak_gb(),
            "reserved_gb": reserved_gb(),
            "first_step_s": first[0],
            "recording_s": first[RECORDED_IN - 1] if about["graph"] else None,
        }
        if count:
            found["gb"] = traffic_of(step).gb
    return found


def headline(record: Record) -> None:
    """The fastest so far."""
    rows = [row for row in record.rows("training") if row.get("images_per_second")]
    row = max(rows, key=lambda row: row["images_per_second"])
    ways = [row["precision"], *(way for way in ("graph", "autotune") if row[way])]
    record.headline(
        f"{row['images_per_second']:,.0f} images/s trained (batch {row['batch']}, "
        f"{', '.join(ways)}; {row['peak_gb']:.1f} GB)"
    )
