"""What the card can do at best: large products and copies, measured on it."""

from collections.abc import Callable
from functools import partial

import torch

from glow.precision import Float32Products, Precision, type_of_products
from gpu_parts.record import rounded
from gpu_parts.timing import device_seconds, free

PRECISIONS: tuple[Precision, ...] = ("bfloat16", "tf32", "float32")


def peak_tflops(precision: Precision, device: torch.device, side: int) -> float:
    """10^12 FLOP/s of a product of large square matrices of random numbers."""
    a, b = (torch.randn(side, side, device=device) for _ in range(2))
    a, b = (matrix.to(type_of_products(precision, matrix)) for matrix in (a, b))
    out = torch.empty_like(a)
    with Float32Products(a, tf32=precision == "tf32"):
        took = device_seconds(lambda: torch.mm(a, b, out=out), times=10)
    return 2 * side**3 / took / 1e12


def copied_gb_per_second(device: torch.device, size: int) -> float:
    """10^9 bytes per second, read and written, of a copy within the card's memory."""
    source = torch.randint(0, 255, (size,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / device_seconds(lambda: target.copy_(source), times=10) / 1e9


def peaks(device: torch.device, *, dry: bool) -> dict[str, float]:
    """TFLOP/s by precision, and GB/s."""
    side, size = (256, 2**20) if dry else (8192, 2**31)
    works: dict[str, Callable[[], float]] = {
        precision: partial(peak_tflops, precision, device, side) for precision in PRECISIONS
    }
    works["copy_gb_per_s"] = partial(copied_gb_per_second, device, size)
    found = {}
    for name, work in works.items():
        found[name] = rounded(work())
        free()
    return found
