"""`python -m glow score`: which of these images is odd."""

import csv
import io
import json
import math
import os
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from glow import scores as oddness
from glow.apps.actions import MAX_DEQUANTIZATIONS, Actions
from glow.apps.errors import fail
from glow.apps.files import Images, Inputs, find_images, read_images
from glow.apps.grids import table
from glow.apps.models import TRAINED, ClassName, Model, load_actions
from glow.apps.outputs import check_output, write, write_picture
from glow.apps.saying import say
from glow.apps.uploads import BadRequest

SHOWN = 8  # images in a row of the contact sheet
BY = "norm"  # the score that held best, docs/scores.md
CALIBRATION = Path("results/scores.csv")  # of the default model

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
    by: Annotated[str, typer.Option(help="the score to sort by: a column of the CSV")] = BY,
    calibration: Annotated[
        Path | None,
        typer.Option(help="scores.csv of `evaluate`, for percentiles; the default model has its"),
    ] = None,
) -> None:
    """Score how odd images are: log_prob in nats, bits per dimension, and what corrects it.

    Every score but log_prob is higher for odder images. With a calibration, `<score>_percentile`
    says how many of a hundred held-out images are less odd. Few bits per dimension say that an
    image is simple, whether or not it is like what the model has seen: so `norm` sorts.

    Example: python -m glow score faces/ -o scores.csv

    Example: python -m glow score face.png other.png --by bits_per_dim --n-dequantizations 4
    """
    files = find_images(images)
    given = calibration is not None
    if not given and model == TRAINED and CALIBRATION.is_file():
        calibration = CALIBRATION
    check_output(output, (".csv",), [*files, calibration] if calibration else files)
    beside = output.with_suffix(".png")
    check_output(sheet or beside, (".png",), files)
    if sheet is None and beside.exists() and not output.exists():  # no sheet of an earlier call
        raise BadRequest(f"{beside} is there already; --sheet names another picture")
    sheet = sheet or beside
    actions = load_actions(model)
    if calibration is not None and _is_of_others(calibration, actions.weights):
        line = f"{calibration} is of other weights than the model's; `dvc repro` makes it anew"
        if given:
            raise fail(line, 2)
        say(f"warning: {line}, and until then there are no percentiles", err=True)
        calibration = None
    ordinary = None if calibration is None else _calibration(calibration)
    labelled = actions.labelled(class_name)
    rows: list[tuple[Path, Row]] = []

    def measure(some: list[Path], levels: Tensor) -> None:
        evidence = actions.evidence(
            levels, labelled(len(some)), n_dequantizations=n_dequantizations, seed=seed
        )
        found = _columns(actions, evidence, ordinary)
        if by not in found or by == "log_prob":
            there = ", ".join(name for name in found if name != "log_prob")
            raise fail(f"--by is {by}, expected one of {there}", 2)
        for index, file in enumerate(some):
            rows.append((file, {name: float(column[index]) for name, column in found.items()}))

    inputs = Inputs(files, actions.glow.config)
    inputs.each("score", measure)
    rows.sort(key=lambda row: _oddness(row[1][by]), reverse=True)
    write(output, _csv(rows).encode())
    _draw(sheet, actions, rows, by)
    worst, middle = rows[0], rows[len(rows) // 2]
    say(
        f"{output}: {len(rows)} images, median {by} {middle[1][by]:.3f}, "
        f"the oddest {worst[1][by]:.3f}, {worst[0].name}; {sheet} shows them"
    )
    inputs.end()


def _oddness(score: float) -> float:
    """What has no likelihood at all is the oddest."""
    return math.inf if math.isnan(score) else score


def _columns(
    actions: Actions, evidence: oddness.Evidence, ordinary: oddness.Calibration | None
) -> dict[str, Tensor]:
    """The columns of the CSV, each (N,)."""
    config = actions.glow.config
    nats = (config.n_bits - evidence.bits) * config.n_dims * math.log(2)
    if ordinary is None:
        found = oddness.scores(evidence, math.nan)
        del found["typicality"]  # it is a distance from what is ordinary
        return {"log_prob": nats, **found}
    found = ordinary.scores(evidence)
    percentiles = ordinary.percentiles(found)
    return {"log_prob": nats, **found} | {f"{k}_percentile": v for k, v in percentiles.items()}


def _is_of_others(file: Path, weights: str) -> bool:
    """Whether `evaluate` says beside its scores.csv that it measured other weights."""
    try:
        described = json.loads(file.with_name("evaluate.json").read_bytes())
        return bool(described["weights"] != weights)
    except (OSError, ValueError, KeyError, TypeError):  # an earlier version said nothing
        return False


def _calibration(file: Path) -> oddness.Calibration:
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            valid = [row for row in csv.DictReader(stream) if row["split"] == "valid"]
        columns = {
            name: torch.tensor([float(row[name]) for row in valid], dtype=torch.float64)
            for name in (valid[0] if valid else {"bits_per_dim": ""})
            if name not in ("split", "name") and not name.endswith("_percentile")
        }
        return oddness.Calibration.of_scores(columns)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise fail(
            f"--calibration {file}: expected scores.csv as `dvc repro evaluate` writes it, "
            f"came {error}",
            2,
        ) from None


def _csv(rows: list[tuple[Path, Row]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["file", *rows[0][1]])
    for file, row in rows:
        name = os.fsencode(file).decode(errors="backslashreplace")  # Latin-1, for example
        writer.writerow([name, *(f"{value:.6f}" for value in row.values())])
    return stream.getvalue()


def _draw(sheet: Path, actions: Actions, rows: list[tuple[Path, Row]], by: str) -> None:
    middle = max(0, len(rows) // 2 - SHOWN // 2)
    drawn, captions = [], []
    for some in (rows[:SHOWN], rows[middle : middle + SHOWN]):
        levels = read_images([file for file, _ in some], actions.glow.config)
        drawn.append(actions.pixels(levels))
        captions.append([f"{row[by]:.3f}" for _, row in some])
    write_picture(sheet, table(drawn, ["oddest", "typical"], captions))
