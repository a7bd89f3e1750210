"""A tiny data set, made once."""

import pytest
from tiny import SMALL, tiny

from stages.outputs import write_json
from stages.preprocess import preprocess
from stages.shards import MANIFEST, ShardSet


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    """96 avatars of 8x8 pixels, 5 bits."""
    folder = tmp_path_factory.mktemp("shards")
    params = tiny(**SMALL)
    write_json(folder / MANIFEST, preprocess(params.data, params.seed, folder))
    return ShardSet.open(folder)
