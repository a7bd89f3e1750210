"""Images per second sampled, and how long one image and one edit take, weights standing still."""

import statistics
from collections.abc import Callable
from functools import partial

import report
import torch

from glow import Glow, Latents
from glow.precision import Precision
from gpu_parts.record import Record
from gpu_parts.timing import tried, wall_seconds

CALLS = 30


@torch.no_grad()
def measure(record: Record, glow: Glow, precision: Precision, batch: int) -> None:
    """A row: a batch, one image, and one edit, which is to encode, move and decode."""
    glow.eval()
    glow.set_precision(precision)
    shape = (1, glow.config.channels, glow.config.image_size, glow.config.image_size)
    image = torch.rand(shape, device=report.device()) - 0.5

    def edit() -> object:
        latents = glow.encode(image)
        return glow.decode(Latents([level * 0.9 for level in latents]))

    works: dict[str, Callable[[], object]] = {
        "batch": lambda: glow.sample(batch),
        "one": lambda: glow.sample(1),
        "edit": edit,
    }
    medians: dict[str, float | None] = {}
    errors = []
    with glow.frozen():
        for name, work in works.items():
            calls = 5 if name == "batch" else CALLS
            for _ in range(2):  # warms up
                tried(work)
            times, error = tried(partial(wall_seconds, work, budget=0.5, most=calls))
            medians[name] = statistics.median(times) if times else None
            errors += [error] if error else []
    whole, one, of_edit = (medians[name] for name in works)
    record.row(
        "sampling",
        precision=precision,
        batch=batch,
        images_per_second=round(batch / whole, 1) if whole else None,
        one_image_p50_ms=round(1e3 * one, 2) if one else None,
        one_edit_p50_ms=round(1e3 * of_edit, 2) if of_edit else None,
        error=", ".join(errors),
    )
