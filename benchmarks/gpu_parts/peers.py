"""Normflows and Jet on the same card, beside ours: trained and sampled images per second.

normflows is built to our architecture (peer.py) and trained as its examples do. Jet is another
one, a transformer's, at its default width and 32 couplings: its speed is that of its own model.
Both are as they come, in float32 and, Jet's own way to train, under bfloat16's autocast.
"""

import importlib.util
import statistics
import sys
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import paper
import report
import torch
from torch import Tensor, nn

from glow import GlowConfig, dequantize
from glow.precision import Precision
from gpu_parts.record import Record, Skipped, rounded
from gpu_parts.settings import Settings
from gpu_parts.timing import free, peak_gb, start_peak, tried, wall_seconds
from gpu_parts.training import RECORDED_IN, training

PACKAGES = {"normflows": ["normflows"], "jet": ["jet_pytorch", "einops"]}
BATCH, DRY_BATCH = 128, 4
SECONDS = 0.7  # for each number


def run(settings: Settings, record: Record) -> None:
    """A row for each that is there, and ours."""
    with TemporaryDirectory() as folder:
        if settings.wheels is not None:
            sys.path[:0] = unpacked(settings.wheels, Path(folder))
        here = [
            name for name, needs in PACKAGES.items() if all(map(importlib.util.find_spec, needs))
        ]
        if not here:
            raise Skipped("needs --wheels, a folder with normflows' or jet-pytorch's")
        batch = DRY_BATCH if settings.dry else BATCH
        model = paper.config(8, 1, 32) if settings.dry else paper.config(512, 32, 32)
        images = paper.levels(model, batch, report.device())
        works: dict[str, Callable[[], dict[str, Any]]] = {}
        if "jet" in here:  # first: it has torch's switches of precision its own way
            works["jet, bfloat16"] = partial(of_jet, images, dry=settings.dry)
        if "normflows" in here:
            works["normflows, float32"] = partial(of_normflows, model, images)
        works["glow, float32"] = partial(of_glow, model, images, "float32")
        works["glow, bfloat16"] = partial(of_glow, model, images, "bfloat16")
        for name, work in works.items():
            found, error = tried(work)
            free()
            found = {key: rounded(value) for key, value in (found or {}).items()}
            record.row("peers", model=name, batch=batch, **found, error=error)
        rates = {r["model"]: r["trained_per_s"] for r in record.rows("peers") if not r["error"]}
        record.headline(", ".join(f"{name}: {rate:,.0f}/s" for name, rate in rates.items()))


def unpacked(wheels: Path, folder: Path) -> list[str]:
    """Where the wheels' modules are, if they are of Python alone."""
    for number, wheel in enumerate(sorted(wheels.glob("*.whl"))):
        with zipfile.ZipFile(wheel) as content:
            content.extractall(folder / str(number))
    return [str(path) for path in sorted(folder.iterdir())]


def of_glow(model: GlowConfig, images: Tensor, precision: Precision) -> dict[str, Any]:
    """Ours, as one graph."""
    glow = paper.new_glow(model, images)
    start_peak()
    with training(glow, images, precision=precision, graphs=True) as step:
        found = timed(step, len(images))
    glow.eval()
    glow.set_precision(precision)
    with glow.frozen():
        return found | sampled(lambda: glow.sample(len(images)), len(images)) | size_of(glow)


def of_normflows(model: GlowConfig, images: Tensor) -> dict[str, Any]:
    """Normflows' Glow."""
    from peer import loss_of_peer, peer, sample_of_peer

    flow = peer(model).to(images.device)
    x = dequantize(images, model.n_bits)
    with torch.no_grad():
        loss_of_peer(flow, x)  # initialises its ActNorms
    start_peak()
    step = stepping(flow, lambda: loss_of_peer(flow, dequantize(images, model.n_bits)))
    found = timed(step, len(images))
    flow.eval()
    sampling = partial(sample_of_peer, flow, len(images))
    return found | sampled(sampling, len(images)) | size_of(flow)


def of_jet(images: Tensor, *, dry: bool) -> dict[str, Any]:
    """Jet, of patches of 4x4 pixels."""
    from jet_pytorch import Jet

    small = {"coupling_layers": 5, "block_depth": 1, "block_width": 16, "num_heads": 2}
    flow: nn.Module = Jet(n_patches=64, img_dims=(32, 32), **(small if dry else {})).to(
        images.device
    )
    kind = images.device.type

    def loss() -> Tensor:
        x = dequantize(images, 8).permute(0, 2, 3, 1)
        with torch.autocast(kind, dtype=torch.bfloat16):
            z, log_det = flow(x)
        squares = 0.5 * z.float().square().flatten(1).sum(dim=1)
        return (squares - log_det.float().flatten()).mean()

    start_peak()
    found = timed(stepping(flow, loss), len(images))
    latents = torch.randn(len(images), 64, 48, device=images.device)

    @torch.no_grad()
    def sample() -> object:
        with torch.autocast(kind, dtype=torch.bfloat16):
            return flow.inverse(latents)

    return found | sampled(sample, len(images)) | size_of(flow)


def stepping(flow: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], object]:
    """One step of Adamax."""
    optimizer = torch.optim.Adamax(flow.parameters(), lr=1e-5)

    def step() -> float:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        return float(value.detach())

    return step


def timed(step: Callable[[], object], batch: int) -> dict[str, Any]:
    """Of training, once it is warm, or recorded."""
    for _ in range(RECORDED_IN + 1):
        step()
    median = statistics.median(wall_seconds(step, budget=SECONDS))
    return {"trained_per_s": batch / median, "ms": 1e3 * median, "peak_gb": peak_gb()}


def sampled(work: Callable[[], object], batch: int) -> dict[str, Any]:
    """Of sampling."""
    work()
    return {"sampled_per_s": batch / statistics.median(wall_seconds(work, budget=SECONDS))}


def size_of(model: nn.Module) -> dict[str, Any]:
    """Learned numbers."""
    return {"parameters": sum(parameter.numel() for parameter in model.parameters())}
