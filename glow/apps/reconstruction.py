"""`python -m glow reconstruct`: images to latents and back."""

from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from glow.apps.files import Images, Inputs, find_images
from glow.apps.grids import check_tiles, pairs
from glow.apps.models import TRAINED, ClassName, Model, load_actions
from glow.apps.outputs import (
    Overwrite,
    PictureFolder,
    check_output,
    picture_name,
    write_picture,
)
from glow.apps.saying import say


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
    labelled = actions.labelled(class_name)
    before: list[Tensor] = []
    after: list[Tensor] = []
    differences: list[Tensor] = []

    def there_and_back(some: list[Path], levels: Tensor) -> None:
        given = actions.pixels(levels)
        back = actions.reconstruct(levels, labelled(len(some)), seed=seed)
        differences.append((back.int() - given.int()).abs().flatten(1).amax(dim=1))
        if folder is None:
            before.append(given)
            after.append(back)
        else:
            folder.take(map(picture_name, some), back)

    inputs = Inputs(files, actions.glow.config)
    inputs.each("reconstruct", there_and_back)
    if folder is None:
        write_picture(output, pairs(torch.cat(before), torch.cat(after)))
    difference = torch.cat(differences)
    say(
        f"{output}: {int((difference == 0).sum())} of {len(difference)} images came back exactly; "
        f"the largest difference of a pixel is {int(difference.max())} of 255"
    )
    inputs.end()
