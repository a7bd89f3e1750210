"""Image grids, saved as PNG with the same bytes each time."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from glow import quantize, to_pixels

TARGET = 64  # pixels that a small image is enlarged to, by whole factors
GAP = 2


def to_bytes(x: Tensor, n_bits: int) -> Tensor:
    """Continuous images (N, C, H, W) to 8-bit pixels (N, C, H, W), as they are shown and saved."""
    return to_pixels(quantize(x, n_bits), n_bits)


def save_grid(file: Path, rows: Sequence[Tensor], labels: Sequence[str] = ()) -> None:
    """Rows of images (N, 3, H, W), uint8, one label left of each row."""
    side = rows[0].shape[-1]
    factor = max(1, TARGET // side)
    cell = side * factor + GAP
    margin = 10 + max((round(_font().getlength(label)) for label in labels), default=-10)
    width = margin + cell * max(len(row) for row in rows) + GAP
    canvas = Image.new("RGB", (width, cell * len(rows) + GAP), "white")
    draw = ImageDraw.Draw(canvas)
    for r, row in enumerate(rows):
        if labels:
            draw.text((5, r * cell + cell // 2 - 6), labels[r], fill="black", font=_font())
        for c, image in enumerate(row):
            picture = Image.fromarray(image.permute(1, 2, 0).contiguous().cpu().numpy())
            enlarged = picture.resize((side * factor, side * factor), Image.Resampling.NEAREST)
            canvas.paste(enlarged, (margin + c * cell + GAP, r * cell + GAP))
    file.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(file, optimize=True)


def square(images: Tensor) -> list[Tensor]:
    """Images in rows, about as many rows as columns."""
    return list(images.split(int(np.ceil(len(images) ** 0.5))))


def clipped_share(x: Tensor) -> float:
    """Share of values that a sample has outside [-0.5, 0.5), where clipping changes them."""
    return float(((x < -0.5) | (x >= 0.5)).to(torch.float64).mean())


def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=12)
