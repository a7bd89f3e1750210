"""`python -m glow score`: which of these images is odd."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from torch import Tensor

from glow.apps.actions import MAX_DEQUANTIZATIONS, Actions
from glow.apps.files import (
    Images,
    check_output,
    find_images,
    in_batches,
    read_images,
    write,
    write_picture,
)
from glow.apps.grids import table
from glow.apps.models import TRAINED, ClassName, Model, load_actions
from glow.apps.progress import progress

SHOWN = 8  # images in a row of the contact sheet
ORDER = "bits_per_dim"  # the column by which images are odd, the higher the odder

Row = dict[str, float]


def score(
    images: Images,
    *,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="CSV, the oddest image first")
    ] = Path("scores.csv"),
    sheet: Annotated[
        Path | None,
        typer.Option(help="PNG of the oddest and the most typical; else beside the CSV"),
    ] = None,
    model: Model = TRAINED,
    class_name: ClassName = None,
    n_dequantizations: Annotated[
        int, typer.Option(min=1, max=MAX_DEQUANTIZATIONS, help="draws of noise to average over")
    ] = 1,
    seed: Annotated[int, typer.Option(help="of the noise that fills the bins")] = 0,
) -> None:
    """Score images by their likelihood: log_prob in nats, and bits per dimension.

    The oddest cost the most bits; the most typical cost what the one in the middle does. Few
    bits say that an image is simple, whether or not it is like what the model has seen.

    Example: python -m glow score faces/ -o scores.csv

    Example: python -m glow score face.png other.png --n-dequantizations 4
    """
    files = find_images(images)
    check_output(output, (".csv",), files)
    sheet = sheet or output.with_suffix(".png")
    check_output(sheet, (".png",), files)
    actions = load_actions(model)
    names = None if class_name is None else [class_name]
    rows: list[tuple[Path, Row]] = []
    with progress("score", len(files)) as advance:
        for some, levels in in_batches(files, actions.glow.config):
            labels = actions.labels(names, len(some), needed=True)
            found = _columns(actions, levels, labels, n_dequantizations, seed)
            for index, file in enumerate(some):
                rows.append((file, {name: float(column[index]) for name, column in found.items()}))
            advance(len(some))
    rows.sort(key=lambda row: _oddness(row[1]), reverse=True)
    write(output, _csv(rows).encode())
    _draw(sheet, actions, rows)
    worst, middle = rows[0], rows[len(rows) // 2]
    typer.echo(
        f"{output}: {len(rows)} images, median {middle[1][ORDER]:.3f} bits/dim, "
        f"the oddest {worst[1][ORDER]:.3f}, {worst[0].name}; {sheet} shows them"
    )


def _columns(
    actions: Actions, levels: Tensor, labels: Tensor | None, n_dequantizations: int, seed: int
) -> Mapping[str, Tensor]:
    """The columns of the CSV, each (N,): where another score of images is added."""
    found = actions.score(levels, labels, n_dequantizations=n_dequantizations, seed=seed)
    return {"log_prob": found.log_prob, "bits_per_dim": found.bits_per_dim}


def _oddness(row: Row) -> float:
    value = row[ORDER]
    return value if value == value else float("inf")  # what is no number is as odd as can be


def _csv(rows: list[tuple[Path, Row]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["file", *rows[0][1]])
    for file, row in rows:
        writer.writerow([str(file), *(f"{value:.6f}" for value in row.values())])
    return stream.getvalue()


def _draw(sheet: Path, actions: Actions, rows: list[tuple[Path, Row]]) -> None:
    middle = max(0, len(rows) // 2 - SHOWN // 2)
    drawn, captions = [], []
    for some in (rows[:SHOWN], rows[middle : middle + SHOWN]):
        levels = read_images([file for file, _ in some], actions.glow.config)
        drawn.append(actions.pixels(levels))
        captions.append([f"{row[ORDER]:.3f}" for _, row in some])
    write_picture(sheet, table(drawn, ["oddest", "typical"], captions))
