"""`python -m glow interpolate`: one image becomes another."""

from pathlib import Path
from typing import Annotated

import typer

from glow.apps.files import Images, Inputs, find_images
from glow.apps.grids import check_tiles, table, write_gif
from glow.apps.models import TRAINED, ClassName, Model, load_actions
from glow.apps.outputs import check_output, write_picture
from glow.apps.saying import say
from glow.apps.uploads import BadRequest
from glow.paths import Kind, between_corners, joined, legs, walk

STEPS, FRAMES = 9, 25  # images on a path, in a PNG and in a GIF
FRAME, STOP = 40, 600  # milliseconds of an image between, and of one that was given


def interpolate(
    images: Images,
    *,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="PNG, a row per path; or GIF, all round")
    ] = Path("morph.png"),
    model: Model = TRAINED,
    kind: Annotated[
        Kind, typer.Option(help="of the path: linear (the paper's), spherical, or norm-preserving")
    ] = "linear",
    steps: Annotated[
        int | None,
        typer.Option(min=2, help="images on a path with its ends; else 9, in a GIF 25"),
    ] = None,
    corners: Annotated[
        bool, typer.Option("--corners", help="a square between four images")
    ] = False,
    class_name: ClassName = None,
    seed: Annotated[int, typer.Option(help="of the noise that fills the bins")] = 0,
) -> None:
    """Morph images into each other through the latents, in the order given.

    A GIF goes over all images and back to the first.

    Example: python -m glow interpolate face.png other.png

    Example: python -m glow interpolate faces/ -o morph.gif --kind norm

    Example: python -m glow interpolate --corners a.png b.png c.png d.png
    """
    files = find_images(images)
    check_output(output, (".png", ".gif"), files)
    moving = output.suffix.lower() == ".gif"
    if corners and moving:
        raise BadRequest("--corners makes a PNG, came a GIF; without it a GIF walks round")
    _check_count(len(files), corners=corners)
    steps = steps or (FRAMES if moving else STEPS)
    instead = "take fewer steps or fewer images"
    check_tiles(steps * (steps if corners else len(files)), instead)

    actions = load_actions(model)
    labelled = actions.labelled(class_name)
    inputs = Inputs(files, actions.glow.config)
    used, levels = inputs.all("read")
    _check_count(len(used), corners=corners)
    stops = actions.encode(levels, labelled(len(used)), seed=seed)
    if corners:
        latents = between_corners(stops, steps, steps, kind)
    elif moving:
        latents = walk(stops, steps, kind, closed=True)
    else:
        latents = joined(legs(stops, steps, kind))
    n = len(latents[0])
    morphed = actions.decode(latents, labelled(n))
    if moving:
        milliseconds = [FRAME if i % (steps - 1) else STOP for i in range(n)]
        write_gif(output, morphed, milliseconds)
    else:
        write_picture(output, table(morphed.split(steps)))
    say(f"{output}: {n} images on {kind} paths between {len(used)}")
    inputs.end()


def _check_count(n_images: int, *, corners: bool) -> None:
    if corners and n_images != 4:
        raise BadRequest(f"--corners is between 4 images, came {n_images}")
    if n_images < 2:
        raise BadRequest(
            f"expected at least 2 images to go from one to the other, came {n_images}"
        )
