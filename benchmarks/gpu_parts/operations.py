"""The operations of a coupling's network one by one, in bfloat16: how near to a copy each runs.

Those with few channels on one side are tried in other layouts too: with these filled up to a
multiple of 8, as tensor cores want them, and channels first; each with cuDNN's first choice of a
kernel and with the fastest of those that it tries.
"""

from collections.abc import Callable
from functools import partial

import report
import torch
from torch import Tensor

from glow.products import (
    conv,
    conv_relu,
    linear_relu,
    narrowing_backward,
    product,
    through_relu,
    weight_gradient,
    widening_backward,
)
from gpu_parts.record import Record, rounded
from gpu_parts.timing import device_seconds, free, tried
from gpu_parts.traffic import traffic_of

Work = Callable[[], object]
SEEN, CHANGED = 7, 12  # channels of the first level: half of 12 and an edge; shifts and scales
LAYOUTS = ("as it is", "filled up", "channels first")
TIMES = 10


def measure(record: Record, *, batch: int, width: int) -> None:
    """A row for each, of the first level, where most of the work is."""
    before = torch.backends.cudnn.benchmark
    try:
        for autotune in (False, True):
            torch.backends.cudnn.benchmark = autotune
            for layout in LAYOUTS:
                for name, work in narrow(batch, width, layout).items():
                    row(record, name, work, layout=layout, autotune=autotune)
                free()
        torch.backends.cudnn.benchmark = False
        for name, work in wide(batch, width).items():
            row(record, name, work, layout="as it is", autotune=False)
    finally:
        torch.backends.cudnn.benchmark = before


def row(record: Record, name: str, work: Work, *, layout: str, autotune: bool) -> None:
    """Microseconds, and bytes over them."""
    took, error = tried(partial(device_seconds, work, times=TIMES))
    record.row(
        "operations",
        operation=name,
        layout=layout,
        autotune=autotune,
        us=rounded(1e6 * took) if took else None,
        gb_per_s=rounded(traffic_of(work).gb / took) if took else None,
        error=error,
    )


def narrow(batch: int, width: int, layout: str) -> dict[str, Work]:
    """The 3x3 convolutions and their gradients."""
    seen, changed = SEEN, CHANGED
    if layout == "filled up":
        seen, changed = (8 * -(-channels // 8) for channels in (seen, changed))
    last = layout != "channels first"
    x, hidden = image(batch, seen, last=last), image(batch, width, last=last)
    of_hidden, of_output = image(batch, width, last=last), image(batch, changed, last=last)
    kernel1, kernel3 = kernel(width, seen, last=last), kernel(changed, width, last=last)
    bias = numbers(width)
    return {
        "first 3x3, bias, ReLU": lambda: conv_relu(x, kernel1, bias),
        "last 3x3": lambda: conv(hidden, kernel3),
        "last 3x3 backward": lambda: narrowing_backward(of_output, hidden, kernel3),
        "first 3x3 backward": lambda: widening_backward(of_hidden, x, kernel1),
    }


def wide(batch: int, width: int) -> dict[str, Work]:
    """Those between the hidden activations."""
    h1, h2 = image(batch, width), image(batch, width)
    weight, bias = numbers(width, width), numbers(width)
    return {
        "1x1, bias, ReLU": lambda: linear_relu(h1.movedim(1, -1), weight, bias),
        "1x1 backward, of its input": lambda: product(h2.movedim(1, -1), weight),
        "1x1 backward, of its weight": lambda: weight_gradient(h2, h1),
        "ReLU backward": lambda: through_relu(h2, h1),
        "gradient of a bias": lambda: h2.sum(dim=(0, 2, 3), dtype=torch.float32),
        "copy": h1.clone,
    }


def image(batch: int, channels: int, *, last: bool = True) -> Tensor:
    """Random, 16x16."""
    return laid_out(numbers(batch, channels, 16, 16), last=last)


def kernel(outputs: int, inputs: int, *, last: bool) -> Tensor:
    """Random, 3x3."""
    return laid_out(numbers(outputs, inputs, 3, 3), last=last)


def laid_out(tensor: Tensor, *, last: bool) -> Tensor:
    """Channels last in memory, or first."""
    layout = torch.channels_last if last else torch.contiguous_format
    return tensor.contiguous(memory_format=layout)


def numbers(*shape: int) -> Tensor:
    """Random, bfloat16."""
    return torch.randn(shape, device=report.device()).to(torch.bfloat16)
