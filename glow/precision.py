"""In what precision the networks inside couplings multiply; all else is in that of the weights.

Nearly all the time of a step goes into the three convolutions of these networks, and what they
say is exact whatever they are: a coupling inverts with the same h, and its log-det is that of the
scale that it used. So they may be coarse where the flow around them may not.
"""

from types import TracebackType
from typing import Literal

import torch
from torch import Tensor

Precision = Literal["float32", "tf32", "bfloat16"]


def type_of_products(precision: Precision, like: Tensor) -> torch.dtype:
    """What the tensors inside a network are: bfloat16, or as the flow's own."""
    return torch.bfloat16 if precision == "bfloat16" else like.dtype


class Float32Products:
    """Inside, a GPU multiplies float32 numbers in full, or as TF32: with 10 bits of mantissa.

    By default torch has it one way for matrix products and the other for convolutions. Its
    switches are those of the whole process; they are put back on leaving, also by an error.
    Elsewhere than on an Nvidia GPU nothing changes.

    Args:
        like: a tensor on the device in question.
        tf32: whether as TF32.
    """

    def __init__(self, like: Tensor, *, tf32: bool) -> None:
        self._on = like.is_cuda
        self._wanted = "tf32" if tf32 else "ieee"
        self._before = ("none", "none")

    def __enter__(self) -> None:
        if self._on:
            self._before = _switches()
            _switch(self._wanted, self._wanted)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._on:
            _switch(*self._before)


def _switches() -> tuple[str, str]:
    """Of matrix products and of convolutions."""
    return torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]  # torch sets it later


def _switch(of_products: str, of_convolutions: str) -> None:
    torch.backends.cuda.matmul.fp32_precision = of_products
    torch.backends.cudnn.conv.fp32_precision = of_convolutions  # type: ignore[attr-defined]  # torch sets it later
