"""`python -m glow describe`: what a model is made of."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from glow import read_about
from glow.apps.errors import fail
from glow.apps.fetch import folder_of
from glow.apps.models import TRAINED, Model
from glow.apps.params import config_of_params
from glow.apps.saying import say
from glow.checkpoint import read_config
from glow.size import count_parameters, multiplications
from glow.weights import weights_hash


def describe(
    model: Model = TRAINED,
    params: Annotated[
        Path | None, typer.Option(help="a params.yaml, for a model that is not trained yet")
    ] = None,
) -> None:
    """Print what a model is made of, its size and its work.

    Example: python -m glow describe --model models/glow

    Example: python -m glow describe --params params.yaml
    """
    try:
        if params is None:
            folder = folder_of(model)
            config, about = read_config(folder), read_about(folder)
            about["weights"] = weights_hash(folder)
        else:
            config, about = config_of_params(params), {}
    except (ValueError, FileNotFoundError) as error:
        raise fail(str(error), 2) from None
    work = 2 * multiplications(config)
    for name, value in asdict(config).items():
        say(f"{name}: {value}")
    say(f"latents, finest first: {config.latent_shapes}")
    say(f"parameters: {count_parameters(config):,}")
    say(f"FLOPs per image: {work:,} for log_prob, about {3 * work:,} for a training step")
    for name, value in about.items():
        say(f"{name}: {value}")
