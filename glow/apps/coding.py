"""`python -m glow compress` and `decompress`: images coded losslessly with a trained model."""

from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Annotated

import torch
import typer

from glow.apps.errors import fail
from glow.apps.extras import brought_by
from glow.apps.fetch import folder_of
from glow.apps.files import Inputs, find_images
from glow.apps.models import TRAINED, Model, load
from glow.apps.outputs import (
    Overwrite,
    PictureFolder,
    check_free,
    check_output,
    check_picture_names,
    picture_name,
)
from glow.apps.progress import progress
from glow.apps.saying import say
from glow.bits import to_pixels
from glow.weights import weights_hash

SUFFIX = ".glow"


def compress(
    images: Annotated[
        list[Path], typer.Argument(help="images of the model's size, or folders of them")
    ],
    *,
    output: Annotated[Path, typer.Option("-o", "--output", help="file to write")] = Path(
        f"images{SUFFIX}"
    ),
    model: Model = TRAINED,
    batch_size: Annotated[
        int, typer.Option(min=1, max=10_000, help="more is faster, and borrows more bits at first")
    ] = 10,
    quantize: Annotated[
        bool, typer.Option("--quantize", help="drop bits that the model's images do not have")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Code images losslessly, at the model's bits per dimension.

    Decoding needs the same model, and the same torch on the same kind of machine.

    Example: python -m glow compress faces/ -o faces.glow
    """
    files = find_images(images)
    check_output(output, (SUFFIX,), files)
    check_free([output], overwrite=overwrite)
    check_picture_names(list(map(picture_name, files)))
    lossless = _lossless()
    folder = folder_of(model)
    glow = load(folder, device="cpu")
    exact = partial(lossless.exact_levels, quantize=quantize)
    inputs = Inputs(files, glow.config, exact)
    used, read = inputs.all("read")
    names, levels = list(map(picture_name, used)), read.numpy()
    try:
        with progress("compress", len(levels)) as advance:
            coded = lossless.code(glow, levels, batch_size=batch_size, advance=advance)
        size = lossless.write_coded(output, coded, names, weights_hash(folder))
    except ValueError as error:
        raise fail(str(error), 2) from None
    per_dim = 1 / levels.size
    say(
        f"{output}: {len(levels)} images in {size:,} bytes, {8 * size * per_dim:.3f} bits/dim; "
        f"net {coded.net_bits * per_dim:.3f} bits/dim and {coded.initial_bits:,} initial bits"
    )
    inputs.end()


def decompress(
    file: Annotated[Path, typer.Argument(help="file of `compress`")],
    *,
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for PNGs")] = Path(
        "decoded"
    ),
    model: Model = TRAINED,
    overwrite: Overwrite = False,
) -> None:
    """Decode images, and check that they are the very ones that were coded.

    Example: python -m glow decompress faces.glow -o decoded
    """
    lossless = _lossless()
    try:
        stored = lossless.read_coded(file)
    except ValueError as error:
        raise fail(str(error), 2) from None
    pictures = PictureFolder(output, stored.names, overwrite=overwrite)
    folder = folder_of(model)
    glow = load(folder, device="cpu")
    if stored.model != weights_hash(folder):
        raise fail(f"{file} was coded with another model than {model}; give it by --model", 2)
    if stored.torch_version != torch.__version__:
        say(
            f"warning: coded with torch {stored.torch_version}, this is {torch.__version__}; "
            "if its arithmetic differs, decoding fails",
            err=True,
        )
    try:
        with progress("decompress", stored.coded.n_images) as advance:
            levels = lossless.decode(glow, stored.coded, advance=advance)
    except lossless.WrongImages as error:
        raise fail(
            f"{error}: {file} is damaged, or was coded on a machine or torch that computes "
            "otherwise",
            1,
        ) from None
    except ValueError as error:
        raise fail(f"{file} is refused: {error}", 2) from None
    pictures.take(stored.names, to_pixels(torch.from_numpy(levels), glow.config.n_bits))
    say(f"{output}: {len(levels)} images, bit for bit")


def _lossless() -> ModuleType:
    try:
        import glow.apps.lossless
    except ModuleNotFoundError as error:
        raise fail(f"{error}; {brought_by('compress')}", 2) from None
    return glow.apps.lossless
