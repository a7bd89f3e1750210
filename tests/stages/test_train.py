"""The train stage: what is stopped goes on and ends in the same bytes; errors are one line."""

import json
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tiny import ROOT
from training import OUTS, UNTRACKED, Training
from waiting import wait_for

from stages.shards import ShardSet

pytestmark = pytest.mark.slow

LONG = {"train.steps": 400, "train.valid_every": 100}


@pytest.fixture(scope="module")
def undisturbed(shards: ShardSet, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The outputs of a training that nothing happens to."""
    training = Training.new(tmp_path_factory.mktemp("undisturbed") / "a", shards.folder)
    training.finish()
    return training.contents()


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
    shards: ShardSet, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    full = Training.new(tmp_path / "a", shards.folder)
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
    room = len(undisturbed["models/glow/model.safetensors"]) + 1000
    assert room < len(before)
    assert "warning: no checkpoint of step" in full.finish(file_bytes=room)
    assert full.contents() == undisturbed


def test_a_damaged_checkpoint_is_named(shards: ShardSet, tmp_path: Path) -> None:
    training = Training.new(tmp_path / "a", shards.folder)
    training.kill_after(2, signal.SIGKILL)
    (checkpoint,) = training.checkpoints()
    checkpoint.write_bytes(checkpoint.read_bytes()[:500])
    output = training.finish()
    assert "trainer.safetensors is damaged" in output
    assert "starts anew" in output


def test_of_two_trainings_at_once_the_second_waits_and_takes_what_the_first_has(
    shards: ShardSet, tmp_path: Path
) -> None:
    first, second = (Training.new(tmp_path / name, shards.folder) for name in "ab")
    root = {"DVC_ROOT": str(first.folder)}  # as two experiments of a queue have it
    one = first.start(**root)
    first.wait_for(1, one)
    with other_waits(one, second, tmp_path / "log", **root) as other:
        pass
    said, _ = one.communicate(timeout=100)
    assert (one.returncode, other.wait(100)) == (0, 0), said
    assert "waits for it" not in said
    assert "goes on from step 40" in (tmp_path / "log").read_text()
    assert second.contents() == first.contents()
    assert not list(first.folder.glob(".cache/checkpoints/*"))


def test_a_training_that_waits_can_be_stopped_and_one_that_is_stopped_is_gone_on_with(
    shards: ShardSet, tmp_path: Path
) -> None:
    changes = {**LONG, "train.steps": 100_000}
    training = Training.new(tmp_path / "a", shards.folder, **changes)
    one = training.start()
    training.wait_for(1, one)
    with other_waits(one, training, tmp_path / "log", processes=2) as other:
        other.terminate()
        assert other.wait(30) == 143
    with other_waits(one, training, tmp_path / "log", processes=2) as other:
        pass
    one.terminate()
    assert one.wait(60) == 143
    log = tmp_path / "log"
    wait_for(lambda: "goes on from step" in log.read_text(), "the other one goes on", 60.0)
    other.terminate()
    assert other.wait(60) == 143


@contextmanager
def other_waits(
    one: "subprocess.Popen[str]", training: Training, log: Path, processes: int = 1, **env: str
) -> "Iterator[subprocess.Popen[str]]":
    """A training that waits for `one`, which stands still meanwhile."""
    one.send_signal(signal.SIGSTOP)
    other = training.start(processes, log=log, **env)
    line = "another process trains with the same params and data and holds"
    wait_for(lambda: line in log.read_text() or other.poll() is not None, line, 60.0)
    assert other.poll() is None, log.read_text()
    yield other
    one.send_signal(signal.SIGCONT)


def test_a_training_is_not_gone_on_with_by_other_code(shards: ShardSet, tmp_path: Path) -> None:
    """As DVC would record it: all of it is of the code that ends it."""
    for package in ("glow", "stages"):
        shutil.copytree(ROOT / package, tmp_path / package)
    code = {"PYTHONPATH": f"{UNTRACKED}{os.pathsep}{tmp_path}"}
    stopped, whole = (Training.new(tmp_path / name, shards.folder) for name in "ab")
    process = stopped.start(**code)
    stopped.wait_for(5, process)
    process.terminate()
    assert process.wait(60) == 143

    schedule = tmp_path / "glow" / "schedule.py"
    before = schedule.read_text()
    schedule.write_text(before.replace("self.learning_rate *", "0.5 * self.learning_rate *"))
    output = stopped.finish(**code)
    (line,) = [line for line in output.splitlines() if "the training starts anew" in line]
    assert "of the same params and data, but of other code" in line
    assert "goes on from step" not in output
    assert "the training starts anew" not in whole.finish(**code)
    assert stopped.contents() == whole.contents()

    schedule.write_text(before)
    assert "goes on from step" in stopped.finish(**code)
    assert stopped.contents() != whole.contents()


def test_stopped_where_it_validates_it_ends_in_the_same_bytes(
    shards: ShardSet, tmp_path: Path
) -> None:
    whole, stopped = (
        Training.new(tmp_path / name, shards.folder, **{"train.valid_every": 1}) for name in "ab"
    )
    whole.finish()
    for number in (signal.SIGTERM, signal.SIGKILL):
        stopped.kill_after(3, number)
    stopped.finish()
    assert stopped.contents() == whole.contents()


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


def test_precision_is_a_matter_of_the_machine(
    shards: ShardSet, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    training = Training.new(tmp_path / "a", shards.folder)
    (line,) = training.errors(training.finish(code=2, GLOW_PRECISION="fp16"))
    assert line == ("error: GLOW_PRECISION is 'fp16', expected one of float32, tf32, bfloat16")
    training.finish(GLOW_PRECISION="bfloat16")
    fine, coarse = undisturbed, training.contents()
    described = [json.loads(found["models/glow/config.json"]) for found in (fine, coarse)]
    for found, about in zip((fine, coarse), described, strict=True):
        number = json.loads(found["results/train.json"])["valid_bits_per_dim"]
        assert about["about"].pop("valid_bits_per_dim") == number
    assert described[0] == described[1]  # with the fingerprint
    assert coarse["models/glow/model.safetensors"] != fine["models/glow/model.safetensors"]


def test_graphs_are_a_matter_of_the_machine(
    shards: ShardSet, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    training = Training.new(tmp_path / "a", shards.folder)
    (line,) = training.errors(training.finish(code=2, GLOW_GRAPHS="yes"))
    assert line == "error: GLOW_GRAPHS is 'yes', expected 1 or 0"
    output = training.finish(GLOW_GRAPHS="1")
    assert output.count("CUDA graphs have no effect on this training") == 1
    assert training.contents() == undisturbed


def test_batch_normalisation_refuses_parts_of_a_batch(shards: ShardSet, tmp_path: Path) -> None:
    training = Training.new(tmp_path / "a", shards.folder, **{"model.normalization": "batchnorm"})
    (line,) = training.errors(training.finish(code=2, GLOW_MICRO_BATCH="4"))
    assert "expected no GLOW_MICRO_BATCH" in line
    (line,) = training.errors(training.finish(2, code=2))
    assert "expected one process" in line
