"""Memory and time of a pass forward and back at 256x256, by depth and by what is kept for it.

Memory is what log p(x) and its gradient need above parameters and gradients, in float32. Then a
whole step of training of the CelebA-HQ preset, of 40 images.
"""

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import paper
import report
import torch

from glow import Glow, GlowConfig
from glow.chain import Backprop
from glow.precision import Precision
from gpu_parts.checks import BACKPROPS
from gpu_parts.record import Record, rounded
from gpu_parts.settings import Settings
from gpu_parts.timing import free, peak_gb, start_peak, tried, wall_seconds
from gpu_parts.training import training

DEPTHS, DRY_DEPTHS = (4, 8, 16, 32, 64), (1, 2)
BATCH, DRY_BATCH = 8, 2
PRESET_BATCH = 40
PRESET_GB = 40.0  # what its step is to fit in


def config(depth: int, backprop: Backprop, *, dry: bool) -> GlowConfig:
    """The CelebA-HQ preset's, at another depth."""
    return GlowConfig(
        image_size=16 if dry else 256,
        n_bits=5,
        n_levels=2 if dry else 6,
        depth=depth,
        hidden_channels=8 if dry else 512,
        coupling="additive",
        backprop=backprop,
    )


def run(settings: Settings, record: Record) -> None:
    """The preset first, then all depths."""
    for precision in ("float32", "bfloat16"):
        preset(record, precision, dry=settings.dry)
    batch = DRY_BATCH if settings.dry else BATCH
    beyond: set[str] = set()  # what has run out of memory will at more depth
    for depth in DRY_DEPTHS if settings.dry else DEPTHS:
        if record.left < 0.2 * settings.seconds:
            record.facts(cut=f"no time for depth {depth} and more")
            break
        model = config(depth, "autograd", dry=settings.dry)
        glow = paper.new_glow(model, paper.levels(model, batch, report.device())).train()
        for backprop in BACKPROPS:
            if backprop in beyond:
                continue
            found, error = tried(partial(one_pass, glow, backprop, batch))
            free()
            if error:
                beyond.add(backprop)
            row(record, "depths", found, error, backprop=backprop, depth=depth, batch=batch)


def preset(record: Record, precision: Precision, *, dry: bool) -> None:
    """A row, and the headline."""
    model = config(2 if dry else 32, "reversible", dry=dry)
    batch = 2 if dry else PRESET_BATCH
    found, error = tried(partial(step, model, batch, precision))
    free()
    row(record, "preset", found, error, precision=precision, batch=batch)
    if found and precision == "float32":
        verdict = "within" if found["peak_gb"] <= PRESET_GB else "not within"
        record.headline(
            f"a step of the CelebA-HQ preset takes {found['peak_gb']:.1f} GB, "
            f"{verdict} {PRESET_GB:.0f}"
        )


def row(
    record: Record,
    table: str,
    found: dict[str, float] | None,
    error: str,
    **about: Any,  # noqa: ANN401 - JSON
) -> None:
    """Of numbers to four digits."""
    numbers = {name: rounded(value) for name, value in (found or {}).items()}
    record.row(table, **about, **numbers, error=error)


def one_pass(glow: Glow, backprop: Backprop, batch: int) -> dict[str, float]:
    """Peak above what was there before, and seconds."""
    for chain in glow._chains:
        chain.backprop = backprop
    model = glow.config
    shape = (batch, model.channels, model.image_size, model.image_size)
    x = torch.rand(shape, device=report.device()) - 0.5

    def work() -> None:
        with glow.full_products():
            glow.log_prob(x).mean().backward()

    work()  # makes the gradients, warms up
    before = allocated_gb()
    start_peak()
    work()
    peak = peak_gb() - before
    return {"peak_gb": peak, "seconds": statistics.median(repeated(work))}


def step(model: GlowConfig, batch: int, precision: Precision) -> dict[str, float]:
    """Peak of all of a training, and seconds of a step."""
    images = paper.levels(model, batch, report.device())
    start_peak()
    glow = paper.new_glow(model, images)
    with training(glow, images, precision=precision) as one:
        one()
        return {"seconds": statistics.median(repeated(one)), "peak_gb": peak_gb()}


def repeated(work: Callable[[], object]) -> list[float]:
    """Three times: one takes up to a second."""
    return wall_seconds(work, budget=0.0)


def allocated_gb() -> float:
    """Of tensors now; where there is no GPU, nothing."""
    return torch.cuda.memory_allocated() / 1e9 if torch.cuda.is_available() else 0.0
