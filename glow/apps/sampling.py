"""`python -m glow sample`: new images, and what they are nearest to."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from glow.apps.actions import Actions
from glow.apps.files import Inputs, find_images
from glow.apps.grids import check_tiles, pairs, table, tiles
from glow.apps.models import TRAINED, ClassName, Model, load_actions
from glow.apps.neighbours import nearest
from glow.apps.outputs import Overwrite, check_free, check_output, write_picture
from glow.apps.progress import progress
from glow.apps.saying import say
from glow.apps.uploads import BadRequest, to_picture

OF_ONE_TEMPERATURE, OF_EACH = 64, 12


def sample(
    *,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="PNG for a grid, or a folder for a PNG of each")
    ] = Path("faces.png"),
    model: Model = TRAINED,
    n: Annotated[
        int | None,
        typer.Option("-n", min=1, help="how many, at each temperature; else 64, or 12 of several"),
    ] = None,
    temperature: Annotated[
        list[float] | None,
        typer.Option(min=0.0, help="0.7 is the paper's choice; several give a row each"),
    ] = None,
    seed: Annotated[int, typer.Option(help="the same seed gives the same images")] = 0,
    class_name: ClassName = None,
    neighbours: Annotated[
        Path | None,
        typer.Option(help="folder of images; below each sample, the nearest of them"),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw new images: a grid, or a folder of any number.

    A model with classes takes them in turn where none is given.

    Example: python -m glow sample --temperature 0.7 -n 64 -o faces.png

    Example: python -m glow sample -n 100 -o samples/

    Example: python -m glow sample --temperature 0.5 --temperature 1.0 -n 8

    Example: python -m glow sample -n 12 --neighbours faces/ -o nearest.png
    """
    temperatures = temperature or [0.7]
    others = find_images([neighbours]) if neighbours else []
    check_output(output, (".png",) if neighbours else (".png", ""), others)
    if neighbours and len(temperatures) > 1:
        raise BadRequest("neighbours are of one temperature, came several")
    n = n or (OF_ONE_TEMPERATURE if len(temperatures) == 1 else OF_EACH)
    if output.suffix:
        check_tiles(n * len(temperatures))
    else:
        folders = {value: output / f"temperature-{value}" for value in temperatures}
        if len(folders) == 1:
            folders = dict.fromkeys(folders, output)
        there = filter(Path.is_dir, folders.values())
        check_free((_file(folder, i) for folder in there for i in range(n)), overwrite=overwrite)
    actions = load_actions(model)
    if not output.suffix:
        _write_each(folders, actions, n, class_name, seed)
        said = ", ".join(f"{value:g}" for value in folders)
        say(f"{output}: {n * len(folders)} images at temperature {said}")
        return
    with progress("sample", n * len(temperatures)) as advance:
        rows = []
        for value in temperatures:
            parts = []
            for part in _drawn(actions, n, value, class_name, seed):
                parts.append(part)
                advance(len(part))
            rows.append(torch.cat(parts))
    said = ", ".join(f"{value:g}" for value in temperatures)
    line = f"{output}: {sum(map(len, rows))} images at temperature {said}"
    if neighbours:
        inputs = Inputs(others, actions.glow.config)
        found = nearest(rows[0], inputs, actions.glow.config.n_bits)
        closest = int(found.distance.argmin())
        line += (
            f", below each the nearest of {inputs.n_used} in {neighbours}; differences of pixels "
            f"(root mean square, of 255): median {float(found.distance.median()):.1f}, least "
            f"{float(found.distance[closest]):.1f}, number {closest + 1} from "
            f"{found.files[closest].name}"
        )
        write_picture(output, pairs(rows[0], found.images))
    elif len(rows) == 1:
        write_picture(output, tiles(rows[0]))
    else:
        write_picture(output, table(rows, [f"T = {value:g}" for value in temperatures]))
    say(line)
    if neighbours:
        inputs.end()


def _drawn(
    actions: Actions, n: int, temperature: float, class_name: str | None, seed: int
) -> Iterator[Tensor]:
    names = None if class_name is None else [class_name]
    labels = actions.labels(names, n, needed=False)
    return actions.samples(n, labels, temperature=temperature, seed=seed)


def _write_each(
    folders: dict[float, Path], actions: Actions, n: int, class_name: str | None, seed: int
) -> None:
    """`00000.png` and so on in the folder of each temperature, each written when it is drawn."""
    with progress("sample", n * len(folders)) as advance:
        for value, folder in folders.items():
            number = 0
            for part in _drawn(actions, n, value, class_name, seed):
                for image in part:
                    write_picture(_file(folder, number), to_picture(image))
                    number += 1
                advance(len(part))


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:05}.png"
