"""Shards on a web server, and a machine that has their dataset.json alone."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fetching import COUNTS
from numbered import numbered
from servers import Server, web_server

from stages import stream
from stages.shards import MANIFEST, ShardSet


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
