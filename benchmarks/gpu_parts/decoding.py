"""Parquet files of encoded images, as Hugging Face's hub has CIFAR-10, as pixels.

Many images are decoded by all cores, in processes that import nothing but what is here.
"""

import io
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

CHUNK = 500  # images that a process decodes at a time
SIDE = 32
NAMES = ("image", "img")  # of the column; the hub has had both


def files_of(folder: Path, split: str) -> list[Path]:
    """Those of a split, by name; some of them may be elsewhere."""
    return sorted(folder.glob(f"{split}*.parquet"))


def decoded(files: Sequence[Path], most: int | None = None) -> NDArray[np.uint8]:
    """Their images, (N, 3, H, W), the first ones if not all are wanted.

    Raises:
        ValueError: a file has no column of 32x32 images; says which.
    """
    encoded: list[bytes] = []
    for file in files:
        encoded += _encoded(file)
    encoded = encoded[:most]
    chunks = [encoded[start : start + CHUNK] for start in range(0, len(encoded), CHUNK)]
    cores = min(len(chunks), os.cpu_count() or 1)
    if cores < 2:
        return np.concatenate([_pixels(chunk) for chunk in chunks])
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(cores, mp_context=context) as pool:
        return np.concatenate(list(pool.map(_pixels, chunks)))


def _encoded(file: Path) -> list[bytes]:
    schema = pq.read_schema(file)
    name = next((name for name in NAMES if name in schema.names), None)
    if name is None or not pa.types.is_struct(schema.field(name).type):
        found = ", ".join(schema.names)
        raise ValueError(f"{file} has columns {found}, expected one of encoded images, 'image'")
    column = pq.read_table(file, columns=[name]).column(name).combine_chunks()
    return column.field("bytes").to_pylist()


def _pixels(encoded: Sequence[bytes]) -> NDArray[np.uint8]:
    images = []
    for content in encoded:
        with Image.open(io.BytesIO(content)) as image:
            if image.size != (SIDE, SIDE):
                raise ValueError(f"an image is {image.size}, expected {SIDE}x{SIDE}")
            images.append(np.asarray(image.convert("RGB")))
    return np.stack(images).transpose(0, 3, 1, 2)
