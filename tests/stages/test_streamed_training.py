"""A training that streams learns what one that holds its images does, and can be stopped."""

import shutil
import signal
from pathlib import Path

import psutil
import pytest
from training import Training

from stages.shards import ShardSet

MOVES = {"train.flip": True, "train.shift": 0.2}

pytestmark = pytest.mark.slow


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing fits on the device."""
    monkeypatch.setenv("GLOW_CACHE_BYTES", "0")


@pytest.mark.usefixtures("streamed")
def test_a_streamed_training_that_was_stopped_ends_in_the_bytes_of_a_held_one(
    shards: ShardSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOW_WORKERS", "2")
    held = Training.new(tmp_path / "a", shards.folder, **MOVES)
    streamed = Training.new(tmp_path / "b", shards.folder, **MOVES)
    held.finish(GLOW_CACHE_BYTES=str(10**9))
    process = streamed.start()
    streamed.wait_for(5, process)
    workers = psutil.Process(process.pid).children()
    assert len(workers) == 2
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143, output
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive
    assert "goes on from step" in streamed.finish()
    assert streamed.contents() == held.contents()


@pytest.mark.usefixtures("streamed")
@pytest.mark.parametrize("count", ["0", "1"])
def test_a_damaged_shard_ends_the_stage_with_its_name(
    shards: ShardSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: str
) -> None:
    monkeypatch.setenv("GLOW_WORKERS", count)
    broken = tmp_path / "shards"
    shutil.copytree(shards.folder, broken)
    shard = broken / "train" / "train-000001.tar"
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) // 2])
    training = Training.new(tmp_path / "a", broken, **{"train.initialize_images": 16})
    (line,) = training.errors(training.finish(code=2))
    assert "train-000001.tar" in line
