"""`python -m glow reconstruct`: images to latents and back."""

from pathlib import Path
from typing import Annotated

import torch
import typer

from glow.apps.files import Images, find_images, in_batches
from glow.apps.grids import check_tiles, pairs
from glow.apps.models import TRAINED, ClassName, Model, load_actions
from glow.apps.outputs import (
    Overwrite,
    PictureFolder,
    check_output,
    picture_name,
    write_picture,
)
from glow.apps.progress import progress


def reconstruct(
    images: Images,
    *,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="PNG, each image above its like; or a folder of PNGs"),
    ] = Path("reconstructed.png"),
    model: Model = TRAINED,
    class_name: ClassName = None,
    seed: Annotated[int, typer.Option(help="of the noise that fills the bins")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Encode and decode images, and say how much of them is lost.

    The difference is from the pixels that the model was given: the middle square, in its size
    and bits.

    Example: python -m glow reconstruct face.png

    Example: python -m glow reconstruct faces/ -o reconstructed/
    """
    files = find_images(images)
    check_output(output, (".png", ""), files)
    if output.suffix:
        check_tiles(2 * len(files))
    folder = None
    if not output.suffix:
        folder = PictureFolder(output, list(map(picture_name, files)), overwrite=overwrite)
    actions = load_actions(model)
    names = None if class_name is None else [class_name]
    before, after, largest, exact = [], [], 0, 0
    with progress("reconstruct", len(files)) as advance:
        for some, levels in in_batches(files, actions.glow.config):
            labels = actions.labels(names, len(some), needed=True)
            given = actions.pixels(levels)
            back = actions.reconstruct(levels, labels, seed=seed)
            difference = (back.int() - given.int()).abs().flatten(1).amax(dim=1)
            largest = max(largest, int(difference.max()))
            exact += int((difference == 0).sum())
            if folder is None:
                before.append(given)
                after.append(back)
            else:
                folder.take(map(picture_name, some), back)
            advance(len(some))
    if folder is None:
        write_picture(output, pairs(torch.cat(before), torch.cat(after)))
    typer.echo(
        f"{output}: {exact} of {len(files)} images came back exactly; "
        f"the largest difference of a pixel is {largest} of 255"
    )
