"""Shards on a server are read as those of data/shards are, from a folder of bounded size."""

import json
import re
import shutil
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch
from numbered import SIDE, numbered, numbers
from servers import KEYS, Server, s3_server, upload, web_server, without_account
from waiting import wait_for

from stages import remote, stream
from stages.batches import Batches
from stages.errors import InputError
from stages.remote import Outage, Remote
from stages.shards import MANIFEST, ShardSet

COUNTS = [7, 5, 9, 4, 8, 6, 3, 10, 7, 5]
BATCH = 4
WINDOW_BYTES = 12 * 3 * SIDE**2  # six windows
EPOCH = sum(COUNTS) // BATCH


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    return numbered(tmp_path_factory.mktemp("numbered"), COUNTS)


@pytest.fixture
def server(local: ShardSet, tmp_path: Path) -> Iterator[Server]:
    """A web server of a copy of the shards, in the folder `served`."""
    shutil.copytree(local.folder, tmp_path / "served")
    found = web_server(tmp_path / "served", tmp_path / "requests.log")
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.fixture
def manifest(local: ShardSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with nothing but dataset.json, on a machine that streams and waits for nothing.

    Workers read a batch at a time, so that windows begin and end while they do.
    """
    monkeypatch.setattr(stream, "PORTION_BYTES", 1)
    folder = tmp_path / "manifest"
    folder.mkdir()
    shutil.copy(local.folder / MANIFEST, folder)
    monkeypatch.setenv("GLOW_SHARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GLOW_SHARD_RETRY_S", "0")
    monkeypatch.setenv("GLOW_CACHE_BYTES", "0")
    monkeypatch.setenv("GLOW_WORKERS", "0")
    return folder


@pytest.fixture
def shards(server: Server, manifest: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ShardSet]:
    """The shards on the server."""
    monkeypatch.setenv("GLOW_SHARDS", server.url)
    opened = ShardSet.open(manifest)
    yield opened
    assert opened.remote is not None
    opened.remote.close()


def fetched(server: Server) -> Counter[str]:
    """How often each shard was asked for."""
    return Counter(re.findall(r'"GET /train/(\S+)', server.log.read_text()))


def kept(folder: Path) -> list[Path]:
    return list((folder / "cache").glob("*.tar"))


def open_batches(shards: ShardSet, rank: int = 0, world_size: int = 1, **more: int) -> Batches:
    return Batches.load(
        shards,
        BATCH,
        seed=1,
        rank=rank,
        world_size=world_size,
        device=torch.device("cpu"),
        window_bytes=WINDOW_BYTES,
        **more,
    )


def an_epoch(batches: Batches) -> list[int]:
    return [image for step in range(EPOCH) for image in numbers(batches(step).levels)]


def bytes_of(shards: ShardSet, count: int) -> int:
    """Of the largest shards."""
    sizes = sorted(file.stat().st_size for file in (shards.folder / "train").iterdir())
    return sum(sizes[-count:])


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
    account: bool,  # noqa: FBT001
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


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_shard_that_is_not_there_is_named_with_its_url(
    shards: ShardSet,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: str,
) -> None:
    monkeypatch.setenv("GLOW_WORKERS", workers)
    (tmp_path / "served/train/train-000003.tar").unlink()
    url = re.escape(f"{server.url}/train/train-000003.tar")
    with (
        closing(open_batches(shards)) as batches,
        pytest.raises(InputError, match=rf"^shard train/train-000003.tar is not at {url}.*$"),
    ):
        an_epoch(batches)


def test_another_content_is_fetched_twice_and_refused(
    shards: ShardSet, server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "served/train/train-000000.tar"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    url = re.escape(f"{server.url}/train/train-000000.tar")
    with pytest.raises(InputError, match=rf"^shard {url} has the sha256 .*expected .*upload.*$"):
        shards.load("train", limit=1)
    assert fetched(server)["train-000000.tar"] >= 2
    whole = shards.manifest["splits"]["train"]["shards"]["train-000000.tar"]["sha256"]
    assert whole not in [kept_file.stem for kept_file in kept(tmp_path)]


def test_a_server_that_is_gone_is_tried_for_as_long_as_is_said(
    shards: ShardSet, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    server.stop()
    assert shards.remote is not None
    shards.remote.patience = 2
    with pytest.raises(Outage, match=r"could not be fetched for 2 s \(GLOW_SHARD_RETRY_S\): .+$"):
        shards.load("train")
    assert "waits for shard http" in capfd.readouterr().err


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "s3://bucket"])
def test_a_server_that_says_nothing_is_not_waited_for_for_ever(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    without_account(monkeypatch, tmp_path)
    monkeypatch.setattr(remote, "READ_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("GLOW_SHARDS", url.format(port=port))
        with pytest.raises(Outage, match=r"could not be fetched for [01] s"):
            ShardSet.open(manifest).load("train")


@pytest.mark.parametrize(
    "url", ["data/shards", "ftp://host/shards", "s3://", "https://host/shards?key=1"]
)
def test_a_place_that_shards_cannot_be_fetched_from_is_refused(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("GLOW_SHARDS", url)
    with pytest.raises(InputError, match=r"^GLOW_SHARDS is '.*', expected s3://BUCKET"):
        ShardSet.open(manifest)


@pytest.mark.parametrize("name", ["../../train-000000.tar", "/etc/passwd", "..", "a\\b", ""])
def test_a_name_that_leads_elsewhere_is_refused(manifest: Path, name: str) -> None:
    content = json.loads((manifest / MANIFEST).read_text())
    content["splits"]["train"]["shards"] = {name: {"count": 1, "sha256": "0" * 64}}
    (manifest / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"dataset.json names a shard .*, expected a name such"):
        ShardSet.open(manifest)


def test_a_checksum_that_is_none_is_refused(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = json.loads((manifest / MANIFEST).read_text())
    content["splits"]["train"]["shards"]["train-000000.tar"]["sha256"] = "../" * 22
    (manifest / MANIFEST).write_text(json.dumps(content))
    monkeypatch.setenv("GLOW_SHARDS", "https://host/shards")
    with pytest.raises(InputError, match="expected 64 hexadecimal digits"):
        ShardSet.open(manifest).load("train")
