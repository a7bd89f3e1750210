"""Many images in one: tiles, rows with labels, pairs of rows, GIFs."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from glow.apps.outputs import write
from glow.apps.uploads import BadRequest, to_picture

TARGET = 64  # pixels that a small image is enlarged to in rows, by whole factors
GIF_TARGET = 128
GAP, LINE = 2, 14  # pixels between images, and of a line of text
COLUMNS = 12  # of pairs of rows
MAX_TILES = 10_000


def check_tiles(n: int, instead: str = "give a folder as output instead of a PNG") -> None:
    """BadRequest where so many images are more than one picture should hold."""
    if n > MAX_TILES:
        raise BadRequest(f"{n} images, expected at most {MAX_TILES} in one picture; {instead}")


def tiles(images: Tensor) -> Image.Image:
    """Images (N, C, H, W), uint8, close together in about as many rows as columns."""
    columns = int(len(images) ** 0.5 + 0.999)
    rows = -(-len(images) // columns)
    side = images.shape[-1]
    canvas = torch.full((rows * columns, *images.shape[1:]), 255, dtype=torch.uint8)
    canvas[: len(images)] = images
    tiled = canvas.view(rows, columns, -1, side, side).permute(0, 3, 1, 4, 2)
    grid: NDArray[np.uint8] = tiled.reshape(rows * side, columns * side, -1).numpy()
    return Image.fromarray(grid[..., 0] if grid.shape[-1] == 1 else grid)


def table(
    rows: Sequence[Tensor],
    labels: Sequence[str] = (),
    captions: Sequence[Sequence[str]] = (),
) -> Image.Image:
    """Rows of images (N, C, H, W), uint8.

    Args:
        rows: of images of one size.
        labels: a text left of each row.
        captions: a text under each image of each row.
    """
    font = ImageFont.load_default(size=11)
    factor = max(1, TARGET // rows[0].shape[-1])
    side = rows[0].shape[-1] * factor
    height = side + GAP + (LINE if captions else 0)
    margin = max((10 + round(font.getlength(label)) for label in labels), default=0)
    width = margin + (side + GAP) * max(len(row) for row in rows) + GAP
    canvas = Image.new("RGB", (width, height * len(rows) + GAP), "white")
    draw = ImageDraw.Draw(canvas)
    for r, row in enumerate(rows):
        top = r * height + GAP
        if labels:
            draw.text((5, top + side // 2 - 6), labels[r], fill="black", font=font)
        for c, image in enumerate(row):
            left = margin + c * (side + GAP) + GAP
            canvas.paste(enlarged(image, factor), (left, top))
            if captions:
                draw.text((left + 2, top + side), captions[r][c], fill="black", font=font)
    return canvas


def pairs(above: Tensor, below: Tensor) -> Image.Image:
    """Two rows, the images of the one above those of the other; as often as the width needs."""
    both = zip(above.split(COLUMNS), below.split(COLUMNS), strict=True)
    return table([row for pair in both for row in pair])


def write_gif(file: Path, images: Tensor, milliseconds: Sequence[int]) -> None:
    """Frames (N, C, H, W), uint8, each shown so long, again and again."""
    factor = max(1, GIF_TARGET // images.shape[-1])
    frames = [
        enlarged(image, factor).convert("RGB").quantize(255, dither=Image.Dither.NONE)
        for image in images
    ]
    stream = io.BytesIO()
    frames[0].save(
        stream,
        "GIF",
        save_all=True,
        append_images=frames[1:],
        duration=list(milliseconds),
        loop=0,
    )
    write(file, stream.getvalue())


def enlarged(image: Tensor, factor: int) -> Image.Image:
    """An image (C, H, W) with every pixel as a square of that many."""
    width, height = image.shape[-1] * factor, image.shape[-2] * factor
    return to_picture(image).resize((width, height), Image.Resampling.NEAREST)
