"""The trained model that a command works with."""

from pathlib import Path
from typing import Annotated

import torch
import typer

from glow import Glow, load_glow
from glow.apps.actions import Actions
from glow.apps.errors import fail
from glow.apps.fetch import DEFAULT, folder_of

Model = Annotated[
    str,
    typer.Option(
        "--model",
        help="a folder; models:/glow@champion or runs:/ID of MLflow; REPO::models/glow of DVC",
    ),
]
ClassName = Annotated[
    str | None, typer.Option("--class", help="of the images, for a model with classes")
]
TRAINED = DEFAULT
REMEDY = "`dvc pull` fetches one, `dvc repro train` makes one"


def best_device() -> str:
    """The GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def load(folder: Path, *, device: str | None = None) -> Glow:
    """The model in a folder; exit code 2 where it holds none."""
    try:
        return load_glow(folder, device=device or best_device())
    except ValueError as error:
        raise fail(f"{error}; {REMEDY}", 2) from None


def load_actions(model: str) -> Actions:
    """What a model does on request; exit code 2 where there is none."""
    folder = folder_of(model)
    try:
        return Actions.load(folder, device=best_device())
    except ValueError as error:
        raise fail(f"{error}; {REMEDY}", 2) from None
