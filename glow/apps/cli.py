"""The command line: describe a model, draw samples."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from glow import quantize, read_about, to_pixels
from glow.apps.coding import compress, decompress
from glow.apps.editor.command import editor
from glow.apps.models import TRAINED, ModelFolder, fail, load
from glow.apps.params import config_of_params
from glow.checkpoint import read_config
from glow.size import count_parameters, multiplications

app = typer.Typer(no_args_is_help=True, help="Use a trained Glow.", pretty_exceptions_enable=False)

app.command()(compress)
app.command()(decompress)
app.command()(editor)


@app.command()
def describe(
    model: ModelFolder = TRAINED,
    params: Annotated[
        Path | None, typer.Option(help="a params.yaml, for a model that is not trained yet")
    ] = None,
) -> None:
    """Print what a model is made of, its size and its work.

    Example: python -m glow describe --model models/glow

    Example: python -m glow describe --params params.yaml
    """
    try:
        config = read_config(model) if params is None else config_of_params(params)
        about = read_about(model) if params is None else {}
    except ValueError as error:
        raise fail(str(error), 2) from None
    work = 2 * multiplications(config)
    for name, value in asdict(config).items():
        typer.echo(f"{name}: {value}")
    typer.echo(f"latents, finest first: {config.latent_shapes}")
    typer.echo(f"parameters: {count_parameters(config):,}")
    typer.echo(f"FLOPs per image: {work:,} for log_prob, about {3 * work:,} for a training step")
    for name, value in about.items():
        typer.echo(f"{name}: {value}")


@app.command()
def sample(
    output: Annotated[Path, typer.Option("-o", "--output", help="PNG to write")] = Path(
        "faces.png"
    ),
    model: ModelFolder = TRAINED,
    n: Annotated[int, typer.Option("-n", min=1, max=10_000, help="how many images")] = 64,
    temperature: Annotated[float, typer.Option(min=0.0, help="0.7 is the paper's choice")] = 0.7,
    seed: Annotated[int, typer.Option(help="the same seed gives the same images")] = 0,
) -> None:
    """Draw a grid of new images.

    Example: python -m glow sample --temperature 0.7 -n 64 -o faces.png
    """
    glow = load(model)
    generator = torch.Generator().manual_seed(seed)
    x = glow.sample(n, temperature=temperature, generator=generator).cpu()
    Image.fromarray(_grid(to_pixels(quantize(x, glow.config.n_bits), glow.config.n_bits))).save(
        output
    )
    typer.echo(f"{output}: {n} images at temperature {temperature:g}")


def _grid(images: Tensor) -> NDArray[np.uint8]:
    """Images (N, C, H, W) as one (rows H, columns W, C) array, about as wide as high."""
    columns = int(len(images) ** 0.5 + 0.999)
    rows = -(-len(images) // columns)
    side = images.shape[-1]
    canvas = torch.full((rows * columns, *images.shape[1:]), 255, dtype=torch.uint8)
    canvas[: len(images)] = images
    tiles = canvas.view(rows, columns, -1, side, side).permute(0, 3, 1, 4, 2)
    grid: NDArray[np.uint8] = tiles.reshape(rows * side, columns * side, -1).numpy()
    return grid
