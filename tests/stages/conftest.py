"""A tiny data set and params, made once."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages.outputs import write_json
from stages.params import Params
from stages.preprocess import preprocess
from stages.shards import MANIFEST, ShardSet

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


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    """96 avatars of 8x8 pixels, 5 bits."""
    folder = tmp_path_factory.mktemp("shards")
    params = tiny(**SMALL)
    write_json(folder / MANIFEST, preprocess(params.data, params.seed, folder))
    return ShardSet.open(folder)
