"""How well a training uses the machine: reported to MLflow, and never in an output."""

import resource
import sys
import time

import torch

from glow import GlowConfig
from glow.parallel import world_size
from glow.precision import Float32Products, Precision, type_of_products
from glow.products import product
from glow.size import multiplications
from stages.distributed import precision

PEAK_SECONDS = 0.5
SIDES = {"cuda": 8192, "cpu": 1024}  # of the matrices: enough work to be at the peak
# products of an update per product of a forward pass; the reversible one runs the network again
PRODUCTS = {"autograd": 3, "balanced": 3, "reversible": 4}


class Speed:
    """Images per second and what they say of the machine, since the last time it was asked.

    Args:
        config: of the model that trains.
        batch_size: of all processes together.
        step: updates that were made before.
        device: of this process.
    """

    def __init__(
        self, config: GlowConfig, *, batch_size: int, step: int, device: torch.device
    ) -> None:
        self._flops_per_image = 2 * multiplications(config) * PRODUCTS[config.backprop]
        self._batch_size, self._device = batch_size, device
        self._peak = peak_flops(device, precision()) * world_size()
        self.go_on(step)

    def go_on(self, step: int) -> None:
        """Starts the clock at an update, after what was no training."""
        self._step, self._since = step, time.perf_counter()

    def metrics(self, step: int) -> dict[str, float]:
        """Images/s; 10^12 FLOP/s and their share of the peak of all processes; MB of this one.

        The peak is that of the precision that GLOW_PRECISION names.
        """
        images = (step - self._step) * self._batch_size
        rate = images / max(time.perf_counter() - self._since, 1e-9)
        flops = rate * self._flops_per_image
        return {
            "images_per_second": rate,
            "tflops": flops / 1e12,
            "utilisation": flops / self._peak,
            "peak_memory_mb": peak_memory(self._device) / 2**20,
        }


def peak_flops(device: torch.device, of: Precision) -> float:
    """FLOP/s of the fastest of some large products in that precision, within half a second."""
    side = SIDES.get(device.type, 1024)
    numbers = torch.full((side, side), 0.5, device=device)
    numbers = numbers.to(type_of_products(of, numbers))
    fastest = float("inf")
    began = time.perf_counter()
    with Float32Products(numbers, tf32=of == "tf32"):
        while time.perf_counter() - began < PEAK_SECONDS:
            start = time.perf_counter()
            float(product(numbers, numbers)[0, 0])  # waits for the device
            fastest = min(fastest, time.perf_counter() - start)
    return 2 * side**3 / fastest


def peak_memory(device: torch.device) -> int:
    """Bytes: of tensors on a GPU, else of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
