"""Shards on a server that are not there, or not those: a line each, and no endless wait."""

import json
import re
import socket
from contextlib import closing
from pathlib import Path

import pytest
from fetching import an_epoch, fetched, kept, open_batches
from servers import Server, without_account

from stages import remote
from stages.errors import InputError
from stages.remote import Outage
from stages.shards import MANIFEST, ShardSet


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
        with pytest.raises(Outage, match=r"could not be fetched for [0-9] s"):
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
