"""A training that streams learns what one that holds its images does, and can be stopped."""

import os
import signal
from pathlib import Path

import psutil
import pytest
from test_train import OUTS, WHAT, finished, project, start, wait_for_a_checkpoint

from stages.shards import ShardSet

CHANGES = {
    "train.steps": 100,
    "train.flip": True,
    "train.shift": 0.2,
}


@pytest.mark.slow
def test_a_streamed_training_that_was_stopped_ends_in_the_bytes_of_a_held_one(
    shards: ShardSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, streamed = project(tmp_path / "a", **CHANGES), project(tmp_path / "b", **CHANGES)
    finished(held, shards)
    monkeypatch.setenv("GLOW_CACHE_BYTES", "0")
    monkeypatch.setenv("GLOW_WORKERS", "2")
    process = start(streamed, shards)
    wait_for_a_checkpoint(streamed, process)
    workers = psutil.Process(process.pid).children()
    assert len(workers) == 2
    os.kill(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143, output
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive
    assert not (streamed / OUTS[0]).exists()
    assert "goes on from step" in finished(streamed, shards)
    for name in WHAT:
        assert (streamed / name).read_bytes() == (held / name).read_bytes(), name


@pytest.mark.slow
@pytest.mark.parametrize("count", ["0", "1"])
def test_a_damaged_shard_ends_the_stage_with_its_name(
    shards: ShardSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: str
) -> None:
    folder = project(tmp_path / "a", **CHANGES)
    broken = tmp_path / "shards"
    for split in ("train", "valid", "test"):
        (broken / split).mkdir(parents=True)
    for file in shards.folder.rglob("*.*"):
        content = file.read_bytes()
        whole = file.name != "train-000001.tar"
        copy = broken / file.relative_to(shards.folder)
        copy.write_bytes(content if whole else content[: len(content) // 2])
    monkeypatch.setenv("GLOW_CACHE_BYTES", "0")
    monkeypatch.setenv("GLOW_WORKERS", count)
    process = start(folder, ShardSet.open(broken))
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    (line,) = [line for line in output.splitlines() if line.startswith("error:")]
    assert "train-000001.tar" in line
    assert "Traceback" not in output
