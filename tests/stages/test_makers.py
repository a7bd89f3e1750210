"""Images that end the process that reads them: nobody waits, and the image is named."""

from pathlib import Path
from typing import Any

import pytest
from deadly import DeadlySource
from tiny import SMALL, tiny

from stages.errors import InputError
from stages.listing import Listing
from stages.preprocess import make_dataset
from stages.shards import SPLITS, ShardSet
from stages.unfinished import Unfinished

KILLERS = frozenset({"0007", "0008", "0123"})


def make(folder: Path, source: DeadlySource, **changes: Any) -> ShardSet:  # noqa: ANN401
    data = tiny(**SMALL, **changes).data
    into = Unfinished.at(folder)
    return ShardSet(
        into.shards, make_dataset(source, Listing.of(source.entries(), data), data, into)
    )


def names(shards: ShardSet) -> set[str]:
    return {sample.name for split in SPLITS for sample in shards.samples(split)}


def test_an_image_that_ends_its_reader_is_skipped_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOW_WORKERS", "3")
    source = DeadlySource(200, KILLERS)
    shards = make(tmp_path / "a", source, **{"data.on_error": "skip"})
    assert shards.manifest["skipped"].keys() == KILLERS
    assert all("is ended by SIGSEGV" in why for why in shards.manifest["skipped"].values())
    assert names(shards) == {entry.name for entry in source.entries()} - KILLERS
    monkeypatch.setenv("GLOW_WORKERS", "1")
    assert make(tmp_path / "b", source, **{"data.on_error": "skip"}).manifest == shards.manifest


def test_an_image_that_ends_its_reader_stops_the_stage_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^0123: .* is ended by SIGSEGV; remove it, or set"):
        make(tmp_path, DeadlySource(200, frozenset({"0123"})))


def test_a_process_that_was_ended_once_blames_no_image(tmp_path: Path) -> None:
    shards = make(tmp_path, DeadlySource(200, KILLERS, tmp_path / "weapon"))
    assert shards.manifest["skipped"] == {}
    assert len(names(shards)) == 200


def test_too_many_of_them_are_too_many(tmp_path: Path) -> None:
    changes = {"data.on_error": "skip", "data.max_bad": 0.01}
    with pytest.raises(InputError, match=r"at least 3 of 200 .* data.max_bad = 0.01 of them: 3 x"):
        make(tmp_path, DeadlySource(200, KILLERS), **changes)
