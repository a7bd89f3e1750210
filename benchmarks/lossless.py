"""The evaluated bits per dimension as a file: test images coded, decoded, and weighed.

Beside it, what PNG, WebP and JPEG XL make of the same levels, one file per image and as one
mosaic; their whole files count.

    pip install -c constraints.txt -e '.[benchmark]'
    python benchmarks/lossless.py data/shards models/glow
"""

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pillow_jxl  # noqa: F401 - teaches Pillow JPEG XL
import report
import torch
import typer
from PIL import Image

from glow import load_glow
from glow.apps.lossless import code, decode, write_coded
from glow.apps.lossless.codec import Levels
from glow.weights import weights_hash
from stages.likelihood import measure
from stages.shards import ShardSet

Encode = Callable[[Image.Image], bytes]


def encoder(kind: str, **options: Any) -> Encode:  # noqa: ANN401 - Pillow's options
    """Of a picture to the bytes of its file."""

    def encode(image: Image.Image) -> bytes:
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        return stream.getvalue()

    return encode


ENCODERS: dict[str, Encode] = {
    "PNG": encoder("PNG", optimize=True),
    "WebP": encoder("WebP", lossless=True, quality=100, method=6),
    "JPEG XL": encoder("JXL", lossless=True, effort=9),
}


def mosaic(levels: Levels) -> Image.Image:
    """All images in one, 40 in a row."""
    rows = [np.concatenate(list(row), axis=2) for row in np.array_split(levels, len(levels) // 40)]
    width = max(row.shape[2] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, 0), (0, width - row.shape[2]))) for row in rows]
    return picture(np.concatenate(padded, axis=1))


def picture(image: Levels) -> Image.Image:
    """Levels (C, H, W) as they are: formats gain nothing from empty lower bits."""
    return Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))


def command(
    shards: Annotated[Path, typer.Argument(help="folder of shards, of preprocess")],
    model: Annotated[Path, typer.Argument(help="folder of the trained model")],
    *,
    n: Annotated[int, typer.Option(help="test images")] = 1000,
    batch_size: Annotated[int, typer.Option(help="images coded at once")] = 10,
    out: Annotated[Path, typer.Option(help="JSON to write, and Markdown beside it")] = Path(
        "benchmarks/results/lossless.json"
    ),
) -> None:
    """Code test images with the model and with the formats that everyone has."""
    glow, data = load_glow(model), ShardSet.open(shards)
    loaded, _ = data.load("test", n)
    levels = loaded.numpy()
    generator = torch.Generator().manual_seed(0)
    found = measure(glow, loaded, None, n_draws=8, batch_size=100, generator=generator)
    began = time.perf_counter()
    coded = code(glow, levels, batch_size=batch_size)
    middle = time.perf_counter()
    assert np.array_equal(decode(glow, coded), levels)
    end = time.perf_counter()
    file = out.with_suffix(".glow")
    size = write_coded(file, coded, [f"{i}.png" for i in range(len(levels))], weights_hash(model))
    file.unlink()
    bits, error = found.mean_and_error()
    found_by_code = {
        "Glow, evaluated (mean of 8 draws)": f"{bits:.4f} ± {error:.4f}",
        "Glow, net rate of the coded images": f"{coded.net_bits / levels.size:.4f}",
        "Glow, whole file with initial bits": f"{8 * size / levels.size:.4f}",
    }
    for name, encode in ENCODERS.items():
        single = sum(len(encode(picture(image))) for image in levels)
        whole = len(encode(mosaic(levels)))
        found_by_code[f"{name}, a file per image"] = f"{8 * single / levels.size:.4f}"
        found_by_code[f"{name}, one mosaic"] = f"{8 * whole / levels.size:.4f}"
    about = report.about(
        f"python benchmarks/lossless.py {shards} {model} --n {n}",
        seed=0,
        images=f"{len(levels)} test images of {levels.shape[1:]}, {data.n_bits} bits",
        bit_exact=len(levels),
        initial_bits=coded.initial_bits,
        compressed_per_second=round(len(levels) / (middle - began), 1),
        decompressed_per_second=round(len(levels) / (end - middle), 1),
        data=data.checksum,
    )
    rows = [{"code": name, "bits_per_dim": value} for name, value in found_by_code.items()]
    report.save(out, about, rows)


if __name__ == "__main__":
    typer.run(command)
