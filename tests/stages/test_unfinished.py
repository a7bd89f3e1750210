"""Unfinished shards as a damaged disk leaves them: what is not whole is made again."""

from pathlib import Path

import numpy as np
import pytest

from stages.listing import PlannedShard
from stages.looks import LOOK
from stages.unfinished import Made, Unfinished

SHARD = PlannedShard("train", "train-000000.tar", np.arange(2))
MADE = Made(
    count=2,
    sha256="0" * 64,
    size=3,
    skipped={},
    positives={},
    known={},
    together=[],
    comparable=[],
)


@pytest.fixture
def unfinished(tmp_path: Path) -> Unfinished:
    """With one shard that is finished."""
    found = Unfinished.at(tmp_path)
    found.file(SHARD).parent.mkdir()
    found.file(SHARD).write_bytes(b"tar")
    found.keep(SHARD, MADE, np.zeros(2, LOOK))
    assert found.made(SHARD) == MADE
    return found


@pytest.mark.parametrize("left", [b"", b"\0\0\0", b"[]", b"{}", b'{"count": 2'])
@pytest.mark.parametrize("name", [f"{SHARD.name}.json", f"{SHARD.name}.looks.npy"])
def test_a_shard_whose_journal_is_damaged_is_not_finished(
    unfinished: Unfinished, name: str, left: bytes
) -> None:
    (unfinished.journal / name).write_bytes(left)
    assert unfinished.made(SHARD) is None


def test_a_process_that_dies_before_its_first_image_blames_none(unfinished: Unfinished) -> None:
    unfinished.position_file(SHARD).write_bytes(b"")
    assert unfinished.position(SHARD) is None
    assert unfinished.positions() == [0]
