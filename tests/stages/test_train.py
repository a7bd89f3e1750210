"""The train stage: what is stopped goes on and ends in the same bytes; errors are one line."""

import json
import random
import signal
from pathlib import Path

import pytest
from training import OUTS, Training

from stages.shards import ShardSet

pytestmark = pytest.mark.slow

LONG = {"train.steps": 400, "train.valid_every": 100}


def test_ten_kills_end_in_the_same_bytes(shards: ShardSet, tmp_path: Path) -> None:
    whole = Training.new(tmp_path / "a", shards.folder, **LONG)
    killed = Training.new(tmp_path / "b", shards.folder, **LONG)
    whole.finish()
    steps = random.Random(0)
    numbers = [signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGTERM] * 2
    for count, number in enumerate(numbers):
        output = killed.kill_after(steps.randrange(1, 20), number)
        assert ("goes on from step" in output) == (count > 0)
        assert killed.step() > 0
        assert not (killed.folder / OUTS[0]).exists()
    assert "goes on from step" in killed.finish()
    assert killed.contents() == whole.contents()
    assert not list(killed.folder.glob(".cache/checkpoints/*"))


def test_a_full_disk_leaves_the_checkpoint_and_loses_no_training(
    shards: ShardSet, tmp_path: Path
) -> None:
    whole = Training.new(tmp_path / "a", shards.folder)
    full = Training.new(tmp_path / "b", shards.folder)
    whole.finish()
    full.kill_after(3, signal.SIGTERM)
    (checkpoint,) = full.checkpoints()
    before = checkpoint.read_bytes()

    output = full.finish(code=1, file_bytes=1000)
    assert "warning: no checkpoint of step" in output
    assert "File too large" in output
    (line,) = full.errors(output)
    assert "the trained model cannot be written" in line
    assert "make room" in line
    assert checkpoint.read_bytes() == before
    assert [file.name for file in checkpoint.parent.iterdir() if "tmp" in file.name] == []
    assert not (full.folder / OUTS[0]).exists()

    # room for the model, but not for a checkpoint with all that the optimiser knows
    room = len((whole.folder / OUTS[0] / "model.safetensors").read_bytes()) + 1000
    assert room < len(before)
    assert "warning: no checkpoint of step" in full.finish(file_bytes=room)
    assert full.contents() == whole.contents()


def test_a_damaged_checkpoint_is_named(shards: ShardSet, tmp_path: Path) -> None:
    training = Training.new(tmp_path / "a", shards.folder)
    training.kill_after(2, signal.SIGKILL)
    (checkpoint,) = training.checkpoints()
    checkpoint.write_bytes(checkpoint.read_bytes()[:500])
    output = training.finish()
    assert "trainer.safetensors is damaged" in output
    assert "starts anew" in output


def test_two_trainings_of_the_same_params_do_not_mix(shards: ShardSet, tmp_path: Path) -> None:
    training = Training.new(tmp_path / "a", shards.folder, **{**LONG, "train.steps": 100_000})
    first = training.start()
    training.wait_for(1, first)
    (line,) = training.errors(training.finish(code=1))
    assert "another training of these very params and data runs" in line
    first.terminate()
    first.communicate(timeout=60)
    assert first.returncode == 143


def test_a_loss_that_is_not_finite_stops_and_keeps_the_weights(
    shards: ShardSet, tmp_path: Path
) -> None:
    changes = {"train.learning_rate": 1e12, "train.max_grad_norm": 1e30, "train.warmup_steps": 0}
    training = Training.new(tmp_path / "a", shards.folder, **changes)
    (line,) = training.errors(training.finish(code=1))
    assert line.startswith("error: training stopped: loss")
    assert "at step" in line
    assert list(training.folder.glob(".cache/checkpoints/*/before_non_finite.safetensors"))
    assert not (training.folder / OUTS[0]).exists()


def test_precision_is_a_matter_of_the_machine(shards: ShardSet, tmp_path: Path) -> None:
    training = Training.new(tmp_path / "a", shards.folder)
    (line,) = training.errors(training.finish(code=2, GLOW_PRECISION="fp16"))
    assert line == ("error: GLOW_PRECISION is 'fp16', expected one of float32, tf32, bfloat16")
    training.finish()
    fine = training.contents()
    training.finish(GLOW_PRECISION="bfloat16")
    coarse = training.contents()
    described = [json.loads(found["models/glow/config.json"]) for found in (fine, coarse)]
    for found, about in zip((fine, coarse), described, strict=True):
        number = json.loads(found["results/train.json"])["valid_bits_per_dim"]
        assert about["about"].pop("valid_bits_per_dim") == number
    assert described[0] == described[1]  # with the fingerprint
    assert coarse["models/glow/model.safetensors"] != fine["models/glow/model.safetensors"]


def test_graphs_are_a_matter_of_the_machine(shards: ShardSet, tmp_path: Path) -> None:
    training = Training.new(tmp_path / "a", shards.folder)
    (line,) = training.errors(training.finish(code=2, GLOW_GRAPHS="yes"))
    assert line == "error: GLOW_GRAPHS is 'yes', expected 1 or 0"
    training.finish()
    expected = training.contents()
    output = training.finish(GLOW_GRAPHS="1")
    assert output.count("CUDA graphs have no effect on this training") == 1
    assert training.contents() == expected


def test_batch_normalisation_refuses_parts_of_a_batch(shards: ShardSet, tmp_path: Path) -> None:
    training = Training.new(tmp_path / "a", shards.folder, **{"model.normalization": "batchnorm"})
    (line,) = training.errors(training.finish(code=2, GLOW_MICRO_BATCH="4"))
    assert "expected no GLOW_MICRO_BATCH" in line
    (line,) = training.errors(training.finish(2, code=2))
    assert "expected one process" in line
