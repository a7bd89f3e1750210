"""Where the time of a training step of the CIFAR-10 preset goes: kernels, launches, bytes.

Without a graph, where the time of launches is seen, and with one. On a CPU the operations are
listed instead of kernels. `busy` is the share of the step in which a kernel runs; `launching` that
in which the CPU is inside a call that launches.
"""

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import paper
import report
import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity

from gpu_parts import operations
from gpu_parts.record import Record, rounded
from gpu_parts.settings import Settings
from gpu_parts.timing import free, tried, wait, wall_seconds
from gpu_parts.traffic import Traffic, traffic_of
from gpu_parts.training import RECORDED_IN, training

BATCH, DRY_BATCH = 128, 4
STEPS = 3  # that are profiled
TOP = 20
NAME_LENGTH = 120
KNOWN = (ProfilerActivity.CPU, ProfilerActivity.CUDA)
ACTIVITIES = [each for each in KNOWN if each in torch.profiler.supported_activities()]
LAUNCHES = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cudaGraphLaunch")


def run(settings: Settings, record: Record) -> None:
    """bfloat16, without a graph and with one, its operations one by one, then float32."""
    batch = DRY_BATCH if settings.dry else BATCH
    ways = (("bfloat16", False), ("bfloat16", True), ("float32", True))
    for precision, graphs in ways:
        if precision == "float32":
            operations.measure(record, batch=batch, width=8 if settings.dry else 512)
        about = {"precision": precision, "graph": graphs}
        work = partial(profiled, record, about, batch, dry=settings.dry)
        _, error = tried(work)
        free()
        if error:
            record.row("steps", **about, batch=batch, error=error)


def profiled(record: Record, about: dict[str, Any], batch: int, *, dry: bool) -> None:
    """The rows of one way to run."""
    model = paper.config(8, 1, 32) if dry else paper.config(512, 32, 32)
    images = paper.levels(model, batch, report.device())
    glow = paper.new_glow(model, images)
    with training(glow, images, precision=about["precision"], graphs=about["graph"]) as step:
        for _ in range(RECORDED_IN + 1):
            step()
        seconds = statistics.median(wall_seconds(step, budget=1.0))
        found = events(step)
        traffic = None if about["graph"] else traffic_of(step)
    kernels = [
        event for event in found if event["on_gpu"] == (ProfilerActivity.CUDA in ACTIVITIES)
    ]
    launches = [event for event in found if event["name"] in LAUNCHES]
    total = sum(event["us"] for event in kernels)
    record.row(
        "steps",
        **about,
        batch=batch,
        ms=rounded(1e3 * seconds),
        kernels=round(sum(event["calls"] for event in kernels)),
        busy=rounded(total / 1e6 / seconds),
        launches=round(sum(event["calls"] for event in launches)),
        launching=rounded(sum(event["us"] for event in launches) / 1e6 / seconds),
        error="" if kernels else "the profiler saw no kernel",
    )
    for event in sorted(kernels, key=lambda event: event["us"], reverse=True)[:TOP]:
        record.row(
            f"{about['precision']}{', as a graph' if about['graph'] else ''}",
            kernel=event["name"][:NAME_LENGTH],
            calls=round(event["calls"], 1),
            ms=rounded(event["us"] / 1e3),
            share=rounded(event["us"] / total),
        )
    if traffic is not None:
        bytes_of(record, traffic)
        name = max(kernels, key=lambda event: event["us"])["name"] if kernels else "unknown"
        record.headline(f"a step of {batch}: {1e3 * seconds:.1f} ms; most of it {name[:60]}")


def events(step: Callable[[], object]) -> list[dict[str, Any]]:
    """Kernels and CPU's calls by name: how often and how long in a step, microseconds."""
    with torch.profiler.profile(activities=ACTIVITIES) as profile:
        for _ in range(STEPS):
            step()
        wait()
    found = []
    for event in profile.key_averages():
        on_gpu = event.device_type != DeviceType.CPU
        took = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        if not getattr(event, "is_user_annotation", False):
            calls = event.count / STEPS
            found.append({"name": event.key, "calls": calls, "us": took / STEPS, "on_gpu": on_gpu})
    return found


def bytes_of(record: Record, traffic: Traffic) -> None:
    """What each operation reads and writes in a step, the most first."""
    order = sorted(traffic.bytes_of, key=lambda name: traffic.bytes_of[name], reverse=True)
    record.facts(gb_per_step=rounded(traffic.gb), operations_per_step=traffic.calls)
    for name in order[:TOP]:
        record.row(
            "bytes",
            operation=name,
            calls=traffic.calls_of[name],
            gb=rounded(traffic.bytes_of[name] / 1e9),
            share=rounded(traffic.bytes_of[name] / 1e9 / traffic.gb),
        )
