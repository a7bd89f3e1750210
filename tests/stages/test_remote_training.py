"""A training on a bucket learns what it would on local shards, also if the server is gone."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import KEYS, Server, full_s3_server
from training import Training
from waiting import wait_for

from stages.shards import MANIFEST, ShardSet

LONG = {"train.steps": 120, "train.checkpoint_minutes": 100.0}  # one where it ends

pytestmark = [pytest.mark.slow, pytest.mark.server]


@pytest.fixture
def server(shards: ShardSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """An S3 server with the shards, of which a training keeps no more than one at a time."""
    found = full_s3_server(shards.folder, tmp_path / "s3.log")
    try:
        found.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", found.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS[0])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS[1])
        monkeypatch.setenv("GLOW_SHARD_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("GLOW_SHARD_CACHE_BYTES", "1")
        monkeypatch.setenv("GLOW_WORKERS", "1")
        yield found
    finally:
        found.stop()


def remote(folder: Path, shards: ShardSet, **changes: object) -> Training:
    """A training in a folder whose data/shards has nothing but dataset.json."""
    training = Training.new(folder, folder / "shards", **changes)
    training.shards.mkdir()
    (training.shards / MANIFEST).write_text(json.dumps(shards.manifest))
    return training


def wait_until(said: str, log: Path, process: "subprocess.Popen[str]") -> None:
    """A training has said something, and goes on."""
    wait_for(lambda: said in log.read_text() or process.poll() is not None, said, 120)
    assert process.poll() is None, log.read_text()


WAITS = "waits for shard s3://models/shards/train"
STREAM = {"GLOW_SHARDS": "s3://models/shards", "GLOW_CACHE_BYTES": "0"}


@pytest.fixture(scope="module")
def held(shards: ShardSet, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What is learnt on local shards."""
    training = Training.new(tmp_path_factory.mktemp("held") / "a", shards.folder, **LONG)
    training.finish()
    return training.contents()


def wait_until_it_trains(server: Server, process: "subprocess.Popen[str]") -> None:
    """More is fetched than can be read ahead of the first step."""

    def trains() -> bool:
        return server.log.read_text().count("GET /models/shards/train/") > 16

    wait_for(lambda: trains() or process.poll() is not None, "it trains", 120)
    assert process.poll() is None


def test_an_outage_is_waited_for_and_changes_nothing(
    shards: ShardSet, server: Server, held: dict[str, bytes], tmp_path: Path
) -> None:
    streamed, log = remote(tmp_path / "a", shards, **LONG), tmp_path / "log"
    process = streamed.start(log=log, **STREAM)
    wait_until_it_trains(server, process)
    server.stop()
    wait_until(WAITS, log, process)
    server.start()
    assert process.wait(120) == 0, log.read_text()
    assert "goes on: shard s3://models/shards/train" in log.read_text()
    assert streamed.contents() == held


def test_an_outage_that_is_too_long_or_a_signal_in_it_leaves_a_checkpoint(
    shards: ShardSet, server: Server, held: dict[str, bytes], tmp_path: Path
) -> None:
    streamed, log = remote(tmp_path / "a", shards, **LONG), tmp_path / "log"
    too_long(streamed, server, log, processes=1)
    first = streamed.step()

    server.start()
    process = streamed.start(log=log, **STREAM)
    wait_until(f"goes on from step {first}", log, process)
    server.stop()
    wait_until(WAITS, log, process)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 143, log.read_text()
    assert time.monotonic() - began < 25
    assert "Traceback" not in log.read_text()
    assert first <= streamed.step() < LONG["train.steps"]

    server.start()
    streamed.finish(**STREAM)
    assert streamed.contents() == held


def test_the_first_of_two_processes_leaves_a_checkpoint_whichever_waits_too_long(
    shards: ShardSet, server: Server, tmp_path: Path
) -> None:
    streamed = remote(tmp_path / "a", shards, **LONG)
    too_long(streamed, server, tmp_path / "log", processes=2)


def too_long(streamed: Training, server: Server, log: Path, processes: int) -> None:
    process = streamed.start(processes, log=log, GLOW_SHARD_RETRY_S="1", **STREAM)
    wait_until_it_trains(server, process)
    server.stop()
    assert process.wait(120) == 1, log.read_text()
    (line,) = streamed.errors(log.read_text())
    assert "could not be fetched for 1 s (GLOW_SHARD_RETRY_S)" in line
    assert "Traceback" not in log.read_text()
    assert 0 < streamed.step() < LONG["train.steps"]
