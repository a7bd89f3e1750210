"""The config that a params.yaml describes, for commands that need no trained model."""

from pathlib import Path
from typing import Any

from glow.config import GlowConfig


def config_of_params(file: Path) -> GlowConfig:
    """The model of a params.yaml as the pipeline would build it.

    Raises:
        ValueError: the file is missing, no YAML, or its model is impossible.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        params: Any = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
        model = dict(params["model"])
        conditional = model.pop("conditional")
        if isinstance(conditional, str):
            conditional = (f"not {conditional}", conditional)
        data = params["data"]
        return GlowConfig(
            image_size=data["image_size"],
            n_bits=data["n_bits"],
            classes=tuple(conditional or ()),
            backprop=params["train"]["backprop"],
            **model,
        )
    except FileNotFoundError:
        raise ValueError(f"{file} is not there") from None
    except (YAMLError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is no params.yaml of this project: {error!r}") from None
