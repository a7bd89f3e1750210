"""Shards on a server are read as those of data/shards are, from a folder of bounded size."""

from contextlib import closing
from pathlib import Path

import pytest
import torch
from fetching import COUNTS, EPOCH, bytes_of, fetched, kept, open_batches
from numbered import numbers
from servers import KEYS, Server, s3_server, upload, without_account
from waiting import wait_for

from stages.errors import InputError
from stages.remote import Remote
from stages.shards import ShardSet


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("ranks", [1, 2])
def test_batches_are_those_of_local_shards_from_a_cache_smaller_than_the_split(
    local: ShardSet,
    shards: ShardSet,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: str,
    ranks: int,
) -> None:
    monkeypatch.setenv("GLOW_WORKERS", workers)
    bound = bytes_of(local, 6)  # of two windows
    monkeypatch.setenv("GLOW_SHARD_CACHE_BYTES", str(bound))
    parts = [open_batches(shards, rank, ranks) for rank in range(ranks)]
    with closing(open_batches(local)) as whole:
        for step in range(2 * EPOCH):
            drawn = torch.cat([part(step).levels for part in parts])
            assert torch.equal(drawn, whole(step).levels), step
    for part in parts:
        part.close()
    assert 0 < sum(file.stat().st_size for file in kept(tmp_path)) <= bound
    if workers == "0":  # else some read ahead of others, by more windows than are kept
        assert fetched(server).total() <= 3 * len(COUNTS)  # two epochs, and a part of the third


def test_all_ranks_and_workers_fetch_each_shard_once(
    shards: ShardSet, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOW_WORKERS", "2")
    parts = [open_batches(shards, rank, 2, steps=2 * EPOCH) for rank in range(2)]
    for step in range(2 * EPOCH):
        for part in parts:
            part(step)
    for part in parts:
        part.close()
    assert fetched(server) == dict.fromkeys(shards.manifest["splits"]["train"]["shards"], 1)
    assert len(kept(tmp_path)) == len(COUNTS)
    assert not list((tmp_path / "cache").glob("*.partial"))


def test_the_shards_of_the_next_window_are_fetched_before_they_are_needed(
    shards: ShardSet, server: Server
) -> None:
    names = list(shards.manifest["splits"]["train"]["shards"])
    with closing(open_batches(shards, steps=2)) as batches:
        two = [batches.source.order.part(step) for step in range(2)]
        numbers_of = torch.tensor(COUNTS).cumsum(0)
        needed = set(torch.searchsorted(numbers_of, torch.cat(two), right=True).tolist())
        coming = set(batches.source.order.shards_from(1))
        assert needed < coming < set(range(len(COUNTS)))
        batches(0)
        wait_for(lambda: {names[shard] for shard in coming} <= set(fetched(server)), "fetching")
    assert set(fetched(server)) == {names[shard] for shard in coming}


def test_a_stream_that_begins_in_the_middle_fetches_nothing_before(
    local: ShardSet, shards: ShardSet, server: Server
) -> None:
    middle = EPOCH - 2
    with (
        closing(open_batches(shards, steps=EPOCH)) as batches,
        closing(open_batches(local)) as whole,
    ):
        for step in (middle, middle + 1):
            assert numbers(batches(step).levels) == numbers(whole(step).levels)
    assert 0 < len(fetched(server)) < len(COUNTS)


def test_every_reader_of_a_split_reads_the_same(
    local: ShardSet, shards: ShardSet, server: Server
) -> None:
    for one, other in zip(shards.load("train"), local.load("train"), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(shards.attributes("train"), local.attributes("train"))
    streams = [list(source.samples("train", epoch_seed="0")) for source in (shards, local)]
    assert [sample.name for sample in streams[0]] == [sample.name for sample in streams[1]]
    assert max(fetched(server).values()) == 1


def test_nothing_is_fetched_beyond_a_limit(shards: ShardSet, server: Server) -> None:
    shards.load("train", limit=COUNTS[0])
    wanted = {f"train-{shard:06d}.tar" for shard in range(3)}  # two ahead
    assert set(fetched(server)) <= wanted


@pytest.mark.server
@pytest.mark.parametrize("account", [True, False], ids=["with keys", "anonymous"])
def test_a_bucket(
    local: ShardSet,
    manifest: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    account: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    without_account(monkeypatch, tmp_path)
    bucket = s3_server(tmp_path / "s3.log")
    try:
        bucket.start()
        upload(bucket.url, local.folder, "data/shards")
        monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.url)
        if account:
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS[0])
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS[1])
        monkeypatch.setenv("GLOW_SHARDS", "s3://models/data/shards/")
        there = ShardSet.open(manifest)
        assert torch.equal(there.load("train")[0], local.load("train")[0])
        (wrong := Remote("s3://models/elsewhere", 0)).patience = 60  # it is no outage
        with pytest.raises(InputError, match=r"^shard train/train-000000.tar is not at s3://mod"):
            wrong.fetch("train/train-000000.tar", tmp_path / "nothing")
        wrong.close()
        assert there.remote is not None
        there.remote.close()
    finally:
        bucket.stop()
