"""The folder of fetched shards: bounded, whole, shared by processes."""

import os
import threading
from pathlib import Path

import pytest

from stages.errors import StageError
from stages.shard_cache import ShardCache


def put(content: bytes) -> "object":
    return lambda file: file.write_bytes(content)


def test_what_is_read_stays_and_what_was_read_longest_ago_goes(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 250)
    first = cache.open("first", put(b"1" * 100))
    os.close(cache.open("second", put(b"2" * 100)))
    os.close(cache.open("third", put(b"3" * 100)))
    assert {file.stem for file in tmp_path.glob("*.tar")} == {"first", "third"}
    assert os.read(first, 1) == b"1"
    os.close(first)
    os.close(cache.open("third", put(b"")))
    os.close(cache.open("fourth", put(b"4" * 100)))
    assert {file.stem for file in tmp_path.glob("*.tar")} == {"third", "fourth"}


def test_what_is_read_may_be_too_much_and_goes_afterwards(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 150)
    opened = [cache.open(name, put(b"1" * 100)) for name in ("first", "second")]
    cache.fetch("third", put(b"3" * 100))  # ahead of time, and there is no room
    assert {file.stem for file in tmp_path.glob("*.tar")} == {"first", "second"}
    assert not list(tmp_path.glob("*.partial"))
    for descriptor in opened:
        os.close(descriptor)
    cache.trim()
    assert {file.stem for file in tmp_path.glob("*.tar")} == {"second"}


def test_what_a_killed_process_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "a.partial").write_bytes(b"half")
    (tmp_path / "b.partial").write_bytes(b"half" * 100)
    cache = ShardCache(tmp_path, 300)
    descriptor = cache.open("a", put(b"whole"))
    assert os.read(descriptor, 10) == b"whole"
    os.close(descriptor)
    assert [file.name for file in tmp_path.glob("[ab].*")] == ["a.tar"]


def test_many_at_once_fetch_once_and_read_all(tmp_path: Path) -> None:
    cache, calls, seen = ShardCache(tmp_path, 10), [], []

    def fetch(file: Path) -> None:
        calls.append(file)
        file.write_bytes(b"content")

    def read() -> None:
        descriptor = cache.open("one", fetch)
        seen.append(os.read(descriptor, 10))
        os.close(descriptor)

    readers = [threading.Thread(target=read) for _ in range(20)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(20)
    assert seen == [b"content"] * 20
    assert len(calls) == 1


def test_a_fetch_that_failed_leaves_nothing(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 10)

    def fail(file: Path) -> None:
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(StageError, match=r"cannot be kept in .*No space left.*GLOW_SHARD_CACHE"):
        cache.open("one", fail)
    assert not [file for file in tmp_path.iterdir() if file.name != "lock"]


def test_copies_of_a_checkout_share_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    for wanted, folder in (
        ("", tmp_path / ".cache/shards"),
        ("fetched", tmp_path / "fetched"),
        ("/srv/fetched", Path("/srv/fetched")),
    ):
        monkeypatch.setenv("GLOW_SHARD_CACHE", wanted)
        assert ShardCache.wanted().folder == folder
