"""The trained model that a command works with."""

from pathlib import Path
from typing import Annotated

import torch
import typer

from glow import Glow, load_glow

ModelFolder = Annotated[Path, typer.Option("--model", help="folder of a trained model")]
TRAINED = Path("models/glow")


def fail(message: str, code: int) -> typer.Exit:
    """Says one line of what is wrong; to be raised."""
    typer.echo(f"error: {message}", err=True)
    return typer.Exit(code)


def load(folder: Path, *, device: str | None = None) -> Glow:
    """The model, on the GPU where there is one; exit code 2 where the folder holds none."""
    try:
        return load_glow(folder, device=device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except ValueError as error:
        raise fail(f"{error}; `dvc repro train` makes one", 2) from None
