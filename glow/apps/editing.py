"""`python -m glow edit`: attributes of images, more or less of each."""

from pathlib import Path
from typing import Annotated

import torch
import typer

from glow.apps.actions import Actions
from glow.apps.files import IMAGES, Inputs, find_images
from glow.apps.grids import check_tiles, table
from glow.apps.methods import Method
from glow.apps.models import TRAINED, ClassName, Model, load_actions
from glow.apps.outputs import (
    Overwrite,
    PictureFolder,
    check_output,
    picture_name,
    write_picture,
)
from glow.apps.saying import say
from glow.apps.uploads import BadRequest
from glow.paths import joined

EXAMPLE = "--add Smiling=1.0"


def edit(
    images: Annotated[list[Path] | None, IMAGES] = None,
    *,
    add: Annotated[
        list[str] | None,
        typer.Option(help=f"so much of an attribute, as in {EXAMPLE}; less than 0 removes"),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="PNG, a row per image; or a folder of PNGs")
    ] = Path("edited.png"),
    steps: Annotated[
        int, typer.Option(min=2, max=100, help="columns of the PNG, from none of it to all")
    ] = 5,
    model: Model = TRAINED,
    class_name: ClassName = None,
    method: Annotated[
        Method | None,
        typer.Option(help="by default the first that the model has files for"),
    ] = None,
    seed: Annotated[int, typer.Option(help="of the noise that fills the bins")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Add attributes to images, several at once, or take them away.

    Without --add it lists the attributes that the model knows. With a guide, each image is moved
    in a direction of its own, 1 being all of it: what else it shows stays as it is.

    Example: python -m glow edit

    Example: python -m glow edit face.png --add Smiling=1.0 --add Beard=-0.5

    Example: python -m glow edit faces/ --add Eyeglasses=1.5 -o edited/
    """
    if not add:
        _list_attributes(load_actions(model))
        return
    if not images:
        raise BadRequest(f"no images came; `python -m glow edit face.png {EXAMPLE}` edits one")
    amounts = _amounts(add)
    files = find_images(images)
    check_output(output, (".png", ""), files)
    if output.suffix:
        check_tiles(steps * len(files))
    folder = None
    if not output.suffix:
        folder = PictureFolder(output, list(map(picture_name, files)), overwrite=overwrite)
    actions = load_actions(model)
    actions.change(amounts)  # refuses what is wrong with them, before any image is read
    labelled = actions.labelled(class_name)
    alphas = torch.linspace(0.0, 1.0, steps).tolist() if folder is None else [1.0]
    rows: list[torch.Tensor] = []

    def move(some: list[Path], levels: torch.Tensor) -> None:
        labels = labelled(len(some))
        latents = actions.encode(levels, labels, seed=seed)
        change = actions.changes(latents, labels, amounts, method)
        strip = joined([latents + alpha * change for alpha in alphas])
        edited = actions.decode(strip, labelled(len(strip[0])))
        by_alpha = edited.unflatten(0, (len(alphas), len(some)))
        if folder is None:
            rows.extend(by_alpha.transpose(0, 1))
        else:
            folder.take(map(picture_name, some), by_alpha[0])

    inputs = Inputs(files, actions.glow.config)
    inputs.each("edit", move)
    if folder is None:
        write_picture(output, table(rows))
    said = ", ".join(f"{name} {amount:+g}" for name, amount in amounts.items())
    say(f"{output}: {inputs.n_used} images with {said}")
    inputs.end()


def _amounts(add: list[str]) -> dict[str, float]:
    """By attribute, whose name may have any `=`, as `age>=40` has."""
    amounts: dict[str, float] = {}
    for text in add:
        name, _, amount = text.rpartition("=")
        if name in amounts:
            raise BadRequest(f"--add names {name!r} twice, expected each attribute once")
        try:
            amounts[name] = float(amount)
        except ValueError:
            raise BadRequest(f"--add is {text!r}, expected as in {EXAMPLE}") from None
    return amounts


def _list_attributes(actions: Actions) -> None:
    if not actions.vectors:
        raise BadRequest("this model has no attribute vectors; `dvc repro attributes` makes them")
    for name in sorted(actions.vectors):
        say(name)
