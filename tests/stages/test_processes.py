"""Several processes: the curve of one, one line and one exit code for all, nothing lost."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from training import Training

from glow import load_glow
from stages.shards import ShardSet

pytestmark = pytest.mark.slow

EVERY_STEP = {"train.valid_every": 1}
LONG = {"train.steps": 500, "train.valid_every": 100}


@pytest.fixture(scope="module")
def alone(shards: ShardSet, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The curve of one process."""
    training = Training.new(tmp_path_factory.mktemp("alone") / "a", shards.folder, **EVERY_STEP)
    training.finish()
    return curve(training)


def curve(training: Training) -> pd.DataFrame:
    return pd.read_csv(training.folder / "results" / "curves.csv")


def workers(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """The processes of a training, the first one first."""
    found = psutil.Process(process.pid).children(recursive=True)
    ranks = {int(child.environ()["RANK"]): child for child in found if "RANK" in child.environ()}
    return [ranks[rank] for rank in sorted(ranks)]


@pytest.mark.parametrize("images", [None, "3"], ids=["whole part at once", "3 images at once"])
def test_two_processes_have_the_curve_of_one(
    shards: ShardSet, tmp_path: Path, alone: pd.DataFrame, images: str | None
) -> None:
    two = Training.new(tmp_path / "a", shards.folder, **EVERY_STEP)
    two.finish(2, **({"GLOW_MICRO_BATCH": images} if images else {}))
    found = curve(two)
    assert found["step"].tolist() == alone["step"].tolist() == list(range(1, 41))
    for name in ("bits_per_dim", "valid_bits_per_dim"):
        assert found[name].tolist() == pytest.approx(alone[name].tolist(), abs=1e-4)
    assert load_glow(two.folder / "models" / "glow").initialized


def test_stopped_or_robbed_of_a_process_it_ends_in_the_same_bytes(
    shards: ShardSet, tmp_path: Path
) -> None:
    whole = Training.new(tmp_path / "a", shards.folder, **LONG)
    killed = Training.new(tmp_path / "b", shards.folder, **LONG)
    whole.finish(2)

    assert killed.errors(killed.kill_after(20, signal.SIGTERM, processes=2)) == []
    stopped_at = killed.step()

    process = killed.start(2)
    killed.wait_for(stopped_at + 1, process)
    second = workers(process)[1]
    killed.wait_for(stopped_at + 10, process)
    began = time.monotonic()
    second.kill()
    output, _ = process.communicate(timeout=100)
    assert time.monotonic() - began < 45
    assert process.returncode == 1
    assert f"goes on from step {stopped_at}" in output
    (line,) = killed.errors(output)
    assert "process 1 of 2 was killed by SIGKILL" in line
    assert "from its last checkpoint" in line
    assert "Traceback" not in output

    process = killed.start(2)
    killed.wait_for(killed.step() + 10, process)
    workers(process)[1].send_signal(signal.SIGTERM)  # one is told, all agree
    process.communicate(timeout=100)
    assert process.returncode == 143

    killed.finish(2)
    assert killed.contents() == whole.contents()


def test_workers_end_when_their_parent_is_killed(shards: ShardSet, tmp_path: Path) -> None:
    training = Training.new(tmp_path / "a", shards.folder, **{**LONG, "train.steps": 100_000})
    process = training.start(2)
    training.wait_for(5, process)
    orphans = workers(process)
    process.kill()
    gone, alive = psutil.wait_procs(orphans, timeout=60)
    assert len(gone) == 2
    assert not alive
    process.communicate(timeout=60)


def test_one_process_goes_on_from_the_checkpoint_of_two(
    shards: ShardSet, tmp_path: Path, alone: pd.DataFrame
) -> None:
    training = Training.new(tmp_path / "a", shards.folder, **EVERY_STEP)
    training.kill_after(10, signal.SIGTERM, processes=2)
    assert "goes on from step" in training.finish()
    found = curve(training)["bits_per_dim"].tolist()
    assert found == pytest.approx(alone["bits_per_dim"].tolist(), abs=1e-4)


def test_bad_input_is_one_line_for_all_processes(shards: ShardSet, tmp_path: Path) -> None:
    training = Training.new(tmp_path / "a", shards.folder, **{"train.batch_size": 15})
    output = training.finish(2, code=2)
    (line,) = training.errors(output)
    assert "expected a multiple of the 2 processes" in line
    assert output.strip() == line, "nothing but the line"

    (line,) = training.errors(training.finish(2, code=2, GLOW_NPROC="two"))
    assert "GLOW_NPROC is 'two', expected a whole number" in line


def test_half_of_the_launcher_s_variables_are_refused(shards: ShardSet, tmp_path: Path) -> None:
    training = Training.new(tmp_path / "a", shards.folder)
    env = {name: "" for name in os.environ if name in ("MASTER_ADDR", "MASTER_PORT")}
    (line,) = training.errors(training.finish(1, code=2, RANK="0", **env))
    assert "expected all of torchrun's variables" in line
