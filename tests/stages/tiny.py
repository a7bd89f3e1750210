"""The tiny preset as params, with changes."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from stages.params import Params

ROOT = Path(__file__).resolve().parents[2]


def tiny(**changes: Any) -> Params:  # noqa: ANN401 - values of params.yaml
    """The tiny preset with dotted keys changed: `tiny(**{"train.steps": 3})`."""
    raw = YAML(typ="safe").load((ROOT / "pipeline" / "presets" / "tiny.yaml").read_text())
    for key, value in changes.items():
        *sections, name = key.split(".")
        section = raw
        for part in sections:
            section = section[part]
        section[name] = value
    return Params.model_validate(raw)


SMALL = {
    "data.avatars.n_images": 96,
    "data.image_size": 8,
    "data.shard_size": 40,
    "data.split.valid": 0.2,
    "data.split.test": 0.2,
}
