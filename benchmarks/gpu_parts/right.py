"""Whether the GPU computes what it should: checks of its own, and the `proof` tests.

The weights are random, then trained. The tests run meanwhile in a process of their own, on the
CPU, where pytest is: those files of them that import no package that is missing.
"""

import copy
import platform
import subprocess
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from typing import Any

import paper
import report
import torch
from paper import SLOWLY
from torch import Tensor

from glow import Glow, GlowConfig
from glow.flat import flatten_parameters
from glow.precision import Precision
from gpu_parts import checks
from gpu_parts.images import some
from gpu_parts.proofs import Proofs
from gpu_parts.record import Record, rounded
from gpu_parts.settings import Settings
from gpu_parts.timing import free, tried
from gpu_parts.training import trained

PACKAGES = ("numpy", "safetensors", "pandas", "pyarrow", "pillow", "matplotlib", "triton")
A_FEW = replace(SLOWLY, steps=8)  # of which the last ones are replayed
BY_MUON = replace(
    SLOWLY,
    steps=50,
    optimizer="muon",
    learning_rate=3e-3,
    muon_learning_rate=1e-2,
    warmup_steps=10,
)
NOISE = 0.01  # of random weights: the couplings do something, and can be inverted in float32


def run(settings: Settings, record: Record) -> None:
    """Facts, checks, tests."""
    with Proofs(settings.out / "proofs.txt", dry=settings.dry) as proofs:
        record.facts(**machine())
        small = GlowConfig(image_size=8, n_levels=2, depth=2, hidden_channels=16)
        real = GlowConfig(image_size=32, n_levels=3, depth=4, hidden_channels=64)
        for model in (small,) if settings.dry else (small, real):
            images = some(settings, model, 32 if settings.dry else 512)
            glow = paper.new_glow(model, images)
            size = f"{model.image_size}x{model.image_size}"
            check(record, f"random, {size}", randomised(glow), images)
            weights = trained(glow, images, BY_MUON).weights
            check(record, f"trained, {size}", with_weights(glow, weights), images)
        record.facts(proofs=proofs.outcome(record.left - 5))
    rows = record.rows("checks")
    failed = [f"{row['check']} ({row['weights']})" for row in rows if not row["holds"]]
    tests = record.content["facts"]["proofs"]
    said = f"{len(rows) - len(failed)} of {len(rows)} checks hold; proof tests: {tests}"
    record.headline("; ".join([said, *(f"fails: {name}" for name in failed[:3])]))


def check(record: Record, weights: str, glow: Glow, images: Tensor) -> None:
    """A row for each check of a model; one that cannot run does not hold."""
    few = images[:8]
    every = chain(checks.likelihood(glow, few), checks.gradients(glow, few), graphs(glow, images))
    for name, measure, limit in every:
        heard = record.listener.heard
        value, error = tried(measure)
        if torch.cuda.is_available() and "graph" in name and record.listener.heard > heard:
            error = error or "no graph was recorded: see the warnings"
        record.row(
            "checks",
            weights=weights,
            check=name,
            value=rounded(value),
            limit=limit,
            holds=value is not None and value <= limit and not error,
            error=error,
        )
    free()


def graphs(glow: Glow, images: Tensor) -> list[checks.Check]:
    """The gradient of a step that a CUDA graph replays, against that of one without."""

    def difference(precision: Precision) -> float:
        replayed, run = (
            trained(glow, images, A_FEW, graphs=graphs, precision=precision).gradients
            for graphs in (True, False)
        )
        return checks.off_by(replayed, run)

    return [
        (f"gradient, {precision}, CUDA graph", partial(difference, precision), limit)
        for precision, (_, _, limit) in checks.LIMITS.items()
    ]


def randomised(glow: Glow) -> Glow:
    """With noise on all parameters."""
    glow, generator = copy.deepcopy(glow), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in glow.parameters():
            parameter += NOISE * torch.randn(parameter.shape, generator=generator).to(parameter)
    return glow


def with_weights(glow: Glow, weights: Tensor) -> Glow:
    """With others, (P,)."""
    glow = copy.deepcopy(glow)
    flatten_parameters(glow).copy_(weights)
    return glow


def machine() -> dict[str, Any]:
    """Card, driver, versions."""
    facts: dict[str, Any] = {
        "device": report.device_name(),
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "packages": {name: version_of(name) for name in PACKAGES},
    }
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        facts |= {
            "cudnn": torch.backends.cudnn.version(),
            "memory_gb": round(card.total_memory / 1e9, 1),
            "multiprocessors": card.multi_processor_count,
            "capability": ".".join(map(str, torch.cuda.get_device_capability(0))),
            "nvidia_smi": nvidia_smi(),
        }
    return facts


def nvidia_smi() -> str | None:
    """Driver, clocks and limits of power; None where the command is not there."""
    asked = "name,driver_version,clocks.max.sm,clocks.max.mem,power.limit"
    command = ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def version_of(package: str) -> str | None:
    """None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
